"""Slots: what each has cached, kept in files from one conversation to the next.

A file is tied to the model's weights and to what else decides its cached values, and carries a digest: a damaged file,
or one of another model, is refused before llama.cpp sees it. Whoever can write into the folder is trusted not to forge
digests; llama.cpp itself checks shapes and sizes, and the positions are looked at after a restore, so that a forged
file gives wrong text at worst.
"""

import contextlib
import hashlib
import os
import re
import stat
import struct
import time
from array import array
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from velesio.backends.llama.binding import Context, Model
from velesio.backends.llama.options import Options
from velesio.backends.llama.sequence import Sequence
from velesio.errors import BadRequest, NotFound, Unsupported
from velesio.jobs import Slots, SlotsResult

_HEAD = struct.Struct("<8sI32sIQ")
"""Magic, version, fingerprint, tokens, bytes of the state; then the tokens, the state, and the digest of all that."""
_MAGIC, _VERSION = b"VELSLOT\n", 1
_DIGEST = 32
_NAME = re.compile(r"\w[\w.\- ]{0,127}")
_SAMPLES, _SAMPLE = 64, 4096
"""Blocks of the model's file, and their bytes, that tell its weights from others."""
_PART = ".part"


class Held(NamedTuple):
    """What a slot's last sequence left: the id whose cells hold exactly these tokens."""

    cell: int
    tokens: "array[int]"


class Shelf(Protocol):
    """The slots of an engine, and what is cached for them."""

    @property
    def count(self) -> int:
        """How many slots there are."""

    def slots(self) -> list[dict[str, Any]]:
        """Each slot as llama.cpp's server describes it."""

    def is_busy(self, slot: int) -> bool:
        """Whether a job has the slot."""

    def held(self, slot: int, tenant: str) -> Held | None:
        """What the slot's last sequence left, if it is still there and `tenant` may have it."""

    def vacate(self, slot: int) -> int:
        """The id of an empty sequence to restore a state into; it is not given away until `adopt` or `give_up`.

        Raises:
            Unavailable: if all are in use.
        """

    def adopt(self, slot: int, cell: int, tokens: "array[int]", tenant: str) -> None:
        """Sequence `cell` holds `tokens`, which the slot left."""

    def give_up(self, slot: int, cell: int) -> None:
        """Nothing was restored into `cell`, which is empty."""

    def erase(self, slot: int) -> int:
        """Forgets what the slot left; answers how many tokens that were."""


def describe(*, id: int, n_ctx: int, sequence: Sequence | None) -> dict[str, Any]:  # noqa: A002 - llama.cpp's names
    """A slot as llama.cpp's server describes it: what it computes now, or that it is idle."""
    facts = {"id": id, "n_ctx": n_ctx, "speculative": sequence is not None and sequence.drafts}
    if sequence is None:
        return facts | {"is_processing": False}
    params = sequence.params
    return facts | {
        "is_processing": True,
        "id_task": sequence.number,
        "n_prompt_tokens": sequence.prompt_tokens,
        "n_prompt_tokens_processed": max(0, min(sequence.computed, sequence.prompt_tokens) - (sequence.cached or 0)),
        "n_prompt_tokens_cache": sequence.cached or 0,
        "params": {
            **msgspec.structs.asdict(params.sampling),
            "n_predict": params.max_tokens,
            "max_tokens": params.max_tokens,
            "n_keep": params.n_keep,
            "n_discard": params.n_discard,
            "n_probs": params.n_probs,
            "stream": sequence.work.job.stream,
            "lora": [{"id": number, "scale": scale} for number, scale in sequence.adapters],
        },
        "next_token": [
            {
                "has_next_token": sequence.ending is None,
                "has_new_line": "\n" in sequence.text,
                "n_remain": sequence.room,
                "n_decoded": sequence.predicted,
            }
        ],
    }


class SlotFiles:
    """Answers `Slots` jobs."""

    def __init__(self, model: Model, context: Context, options: Options, shelf: Shelf) -> None:
        self._model = model
        self._context = context
        self._options = options
        self._shelf = shelf
        self._folder = Path(options.slot_save_path)

    def must_wait(self, params: Slots) -> bool:
        """Whether a job has the slot that is to be changed or saved."""
        return params.action != "list" and self._shelf.is_busy(params.id_slot)

    def check(self, params: Slots) -> None:
        """Looks whether it can be done at all.

        Raises:
            BadRequest: for a slot that there is not, or a name that is not a plain one.
            Unsupported: if slots cannot be saved.
        """
        if params.action == "list":
            return
        if not 0 <= params.id_slot < self._shelf.count:
            raise BadRequest(
                f"there is no slot {params.id_slot}; ids are 0 to {self._shelf.count - 1}", param="id_slot"
            )
        if not self._options.slot_save_path:
            raise Unsupported("this server does not save slots; give the model a slot_save_path")
        if params.action != "erase" and not _NAME.fullmatch(params.filename):
            raise BadRequest(
                "filename must be a plain name of at most 128 letters, digits, and ._- or spaces", param="filename"
            )
        if params.action != "erase" and not self._context.can_generate:
            raise Unsupported("this model keeps nothing that could be saved")

    def perform(self, params: Slots, tenant: str) -> SlotsResult:
        """Does what `params`, which were checked, ask for.

        Raises:
            VelesioError: saying why it cannot be done.
        """
        if params.action == "list":
            return SlotsResult(slots=tuple(self._shelf.slots()))
        began = time.perf_counter()
        if params.action == "erase":
            tokens, size = self._shelf.erase(params.id_slot), 0
        elif params.action == "save":
            tokens, size = self._save(params, tenant)
        else:
            tokens, size = self._restore(params, tenant)
        return SlotsResult(tokens=tokens, bytes=size, ms=round((time.perf_counter() - began) * 1000, 3))

    @cached_property
    def _fingerprint(self) -> bytes:
        """Of the weights, by samples of their file, and of the options that change cached values but not shapes."""
        options = self._options
        positions = (
            options.rope_scaling, options.rope_freq_base, options.rope_freq_scale, options.yarn_ext_factor,
            options.yarn_attn_factor, options.yarn_beta_fast, options.yarn_beta_slow, options.yarn_orig_ctx,
        )  # fmt: skip
        adapters = [(Path(file.path).name, file.scale) for file in options.lora]
        digest = hashlib.sha256(repr((positions, adapters)).encode())
        with self._model.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(size.to_bytes(8, "little"))
            for number in range(_SAMPLES):
                file.seek(max(0, size - _SAMPLE) * number // (_SAMPLES - 1))
                digest.update(file.read(_SAMPLE))
        return digest.digest()

    def _save(self, params: Slots, tenant: str) -> tuple[int, int]:
        held = self._shelf.held(params.id_slot, tenant)
        if held is None or not held.tokens:
            raise BadRequest(f"slot {params.id_slot} holds nothing to save", param="id_slot")
        size = _HEAD.size + 4 * len(held.tokens) + self._context.state_size(held.cell) + _DIGEST
        path = self._folder / params.filename
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            taken = sum(entry.stat().st_size for entry in os.scandir(self._folder) if entry.name != path.name)
            if taken + size > self._options.slot_save_bytes:
                raise BadRequest(
                    f"saving {size} bytes would exceed slot_save_bytes ({self._options.slot_save_bytes}); "
                    f"{taken} are taken in the folder of saved slots"
                )
            written = _write(path, self._fingerprint, held.tokens, self._context.state(held.cell))
        except OSError as error:
            raise BadRequest(f"slot cannot be saved to {path.name}: {error.strerror}", param="filename") from error
        return len(held.tokens), written

    def _restore(self, params: Slots, tenant: str) -> tuple[int, int]:
        data = self._read(params.filename)
        tokens, state = _parse(data, params.filename, self._fingerprint, self._model.n_vocab, self._context.n_context)
        cell = self._shelf.vacate(params.id_slot)
        if not (self._context.restore(cell, state) and self._context.spans(cell, len(tokens))):
            self._context.remove(cell)
            self._shelf.give_up(params.id_slot, cell)
            raise BadRequest(
                f"{params.filename}: does not fit this model's cache; it was saved with other options, or is damaged",
                param="filename",
            )
        self._shelf.adopt(params.id_slot, cell, tokens, tenant)
        return len(tokens), len(data)

    def _read(self, name: str) -> bytes:
        """A file that is one: not a link elsewhere, not a device."""
        path = self._folder / name
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                facts = os.fstat(file.fileno())
                if not stat.S_ISREG(facts.st_mode) or facts.st_size > self._options.slot_save_bytes:
                    raise BadRequest(f"{name}: not a saved slot", param="filename")
                return file.read()
        except FileNotFoundError:
            raise NotFound(f"there is no saved slot {name}", param="filename") from None
        except OSError as error:
            raise BadRequest(f"{name}: cannot be read: {error.strerror}", param="filename") from error


def _write(path: Path, fingerprint: bytes, tokens: "array[int]", state: bytes) -> int:
    """Writes beside the file and renames, so that a crash leaves the old one or the new one."""
    head = _HEAD.pack(_MAGIC, _VERSION, fingerprint, len(tokens), len(state))
    part = path.with_name(f".{path.name}{_PART}")
    digest = hashlib.sha256()
    written = 0
    try:
        with part.open("wb") as file:
            for piece in (head, tokens.tobytes(), state):
                digest.update(piece)
                written += file.write(piece)
            written += file.write(digest.digest())
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    return written


def _parse(data: bytes, name: str, fingerprint: bytes, n_vocab: int, context: int) -> "tuple[array[int], bytes]":
    """The tokens and the state of a file.

    Raises:
        BadRequest: unless it is whole, of this model, and fits a context of `context` tokens.
    """
    if len(data) < _HEAD.size + _DIGEST or not data.startswith(_MAGIC):
        raise BadRequest(f"{name}: not a saved slot", param="filename")
    _, version, maker, count, length = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise BadRequest(f"{name}: saved by another version", param="filename")
    if maker != fingerprint:
        raise BadRequest(f"{name}: saved with another model, adapters or rope options", param="filename")
    if len(data) != _HEAD.size + 4 * count + length + _DIGEST or not count or not length:
        raise BadRequest(f"{name}: damaged: {len(data)} bytes are not what its head says", param="filename")
    if hashlib.sha256(data[:-_DIGEST]).digest() != data[-_DIGEST:]:
        raise BadRequest(f"{name}: damaged: its digest is wrong", param="filename")
    if count > context:
        raise BadRequest(f"{name}: holds {count} tokens, more than the context of {context}", param="filename")
    tokens = array("i", data[_HEAD.size : _HEAD.size + 4 * count])
    if min(tokens) < 0 or max(tokens) >= n_vocab:
        raise BadRequest(f"{name}: damaged: it holds tokens that there are not", param="filename")
    return tokens, data[_HEAD.size + 4 * count : -_DIGEST]
