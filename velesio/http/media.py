"""Media: pictures and sounds in requests, whose bytes travel beside the text that they stand in."""

import base64
import binascii
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from velesio.backends.base import ModelCard
from velesio.errors import BodyTooLarge, Unsupported
from velesio.http.wire import bad_field
from velesio.jobs import Chat, Completion, Embed, Params, Render, TextParams
from velesio.pictures.pixels import pixels_of

MARKER = "<__media__>"
"""Stands in a prompt for a picture or sound."""
MOST = 64
"""Of one prompt."""

Sense = Literal["vision", "audio", "video"]
"""As a model's card has it in `modalities`."""

_SIGNS: tuple[tuple[int, bytes, Sense], ...] = (
    (8, b"WAVE", "audio"),
    (0, b"ID3", "audio"),
    (0, b"\xff\xfb", "audio"),
    (0, b"\xff\xf3", "audio"),
    (0, b"\xff\xf2", "audio"),
    (0, b"fLaC", "audio"),
    (0, b"OggS", "audio"),
    (4, b"ftyp", "video"),
    (0, b"\x1aE\xdf\xa3", "video"),
)
"""(offset, bytes of a file there, what it is)."""
_CANNOT = {"vision": "see pictures", "audio": "hear", "video": "watch videos"}


class Media:
    """The files of one prompt, in their order."""

    def __init__(self) -> None:
        self._files: list[bytes] = []

    def add(self, data: bytes, path: str) -> dict[str, Any]:
        """Take a file; returns the part of a message that stands for it.

        Raises:
            BadRequest: there are too many.
        """
        if len(self._files) >= MOST:
            raise bad_field(path, f"is one too many: at most {MOST} pictures and sounds are accepted")
        self._files.append(data)
        return {"type": "media", "media": len(self._files) - 1}

    @property
    def files(self) -> tuple[bytes, ...]:
        """As params have them."""
        return tuple(self._files)


def file_of(address: Any, path: str) -> bytes:
    """The bytes in a `data:` address.

    Raises:
        BadRequest: it is another address, or not base64.
    """
    if not isinstance(address, str) or not address:
        raise bad_field(path, "expected an address like data:image/png;base64,iVBORw0…")
    if not address.startswith("data:"):
        scheme = address.partition(":")[0] if ":" in address[:16] else "this"
        raise bad_field(
            path,
            f"{scheme!r} addresses are not fetched (fetch.hosts); send the file itself, as "
            "data:image/png;base64,iVBORw0…",
        )
    head, comma, data = address.partition(",")
    if not comma or not head.endswith(";base64"):
        raise bad_field(path, "expected base64 after the comma: data:image/png;base64,iVBORw0…")
    return decoded(data, path)


def decoded(data: Any, path: str) -> bytes:
    """The bytes that base64 stands for.

    Raises:
        BadRequest: it is none, or nothing.
    """
    if not isinstance(data, str):
        raise bad_field(path, "expected a string in base64")
    try:
        found = base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise bad_field(path, f"is not base64: {error}") from None
    if not found:
        raise bad_field(path, "is empty")
    return found


def sense_of(data: bytes) -> Sense:
    """What a file is for; what is not known to be heard or watched is taken for a picture."""
    return next((sense for place, sign, sense in _SIGNS if data.startswith(sign, place)), "vision")


def files_of(params: Params) -> tuple[bytes, ...]:
    """The files that belong to a job."""
    if isinstance(params, Render):
        params = params.chat
    return params.media if isinstance(params, Chat | Completion | Embed) else ()


def check_pixels(params: Params, most: int) -> None:
    """Nothing, if no picture of the job has more pixels than that, whatever its file's size.

    Raises:
        BodyTooLarge
    """
    # Files stand in one place of a text's params; to look at each of their forty fields takes longer than all the rest.
    for data in files_of(params) if isinstance(params, TextParams) else _bytes_in(params):
        pixels = pixels_of(data)
        if pixels is not None and pixels > most:
            raise BodyTooLarge(f"a picture has {pixels} pixels; at most {most} are accepted (server.max_pixels)")


def _bytes_in(value: Any) -> Iterator[bytes]:
    """Files, wherever they stand in params."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            if isinstance(item, bytes | tuple | list | msgspec.Struct):
                yield from _bytes_in(item)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from _bytes_in(getattr(value, name))


def check(card: ModelCard, params: Params) -> None:
    """Nothing, if the model takes what the job brings.

    Raises:
        Unsupported: naming what it cannot do.
    """
    senses = card.meta.get("modalities") or {}
    for data in files_of(params):
        sense = sense_of(data)
        if not senses.get(sense):
            raise Unsupported(
                f"the model {card.name!r} cannot {_CANNOT[sense]}; choose one whose modalities (GET /props) "
                f"have {sense!r}, or give it a projector with its option `mmproj`",
                param="messages" if isinstance(params, Chat) else "prompt",
            )
