"""Blobs: large inputs and results, kept beside the job's record, which then holds a reference.

In the broker a blob travels with the very script that writes the reference, so both stand or fall together and the
scripts delete it with what refers to it. A file is written before its reference and deleted after it: what a crash
leaves is a file that no record names, which the sweep finds.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import structlog

from velesio.config import BlobSection
from velesio.errors import BodyTooLarge, OutOfMemory, QueueFull, Unreadable, VelesioError
from velesio.jobs import Failed, Final
from velesio.queue import wire

if TYPE_CHECKING:
    from velesio.queue.broker import Broker

log = structlog.get_logger(__name__)

INPUT, REQUEST, RESULT = "", ".q", ".r"
"""What a blob is: its name is the job's id and this."""
_FIELDS = {INPUT: "p", REQUEST: "req", RESULT: "r"}
_FILE = re.compile(r"([A-Za-z0-9_-]{1,64})(|\.q|\.r)-([0-9a-f]{64})")
_OURS = re.compile(rf"{_FILE.pattern}|\.new-[0-9a-f]{{16}}")
_GRACE = 600.0
"""Seconds in which a file may wait for the record that refers to it."""
_PAUSE = 60.0
FULL = "Large inputs and results take as much room as blobs.budget allows; try again later."

NO_ROOM = Failed(OutOfMemory.code, f"There is no room for the result. {FULL}")
"""The end of a job whose result cannot be kept."""
GONE = Failed("job_failed", "The result of this job is not kept any more.")
"""Told to a reader that comes too late."""


class BlobGone(Exception):
    """What a reference names has expired, is damaged, or lies where this process cannot reach it."""


class Parcel(NamedTuple):
    """A body on its way into a record."""

    body: bytes
    """For the record: the body itself, or a reference."""
    carried: bytes = b""
    """For the script that writes the record: what the reference names, if the script is to store it."""


class Fitted(NamedTuple):
    """A final event as it can be kept."""

    final: Final
    event: Final | wire.Stored
    """For the listener: without a traceback, and perhaps only a reference."""
    result: Parcel


class Store(Protocol):
    """A place for blobs; `wire.Stored.store` is its name."""

    async def put(self, name: str, data: bytes) -> tuple[wire.Stored, bytes]:
        """What names the data from now on, and what is left to the script.

        Raises:
            QueueFull: the budget is used up.
        """

    async def get(self, blob: wire.Stored) -> bytes | None:
        """The data; None: gone."""

    async def drop(self, blob: wire.Stored) -> None:
        """Nothing refers to it any more."""

    async def sweep(self) -> None:
        """Delete what nothing refers to."""


class Blobs:
    """The blobs of one installation, as one process reaches them."""

    def __init__(self, broker: "Broker", section: BlobSection, folder: Path | None = None) -> None:
        """`folder`, if there is one, is where new blobs go: a directory that all processes share."""
        self._section = section
        self._stores: dict[str, Store] = {"broker": _InBroker(broker)}
        if folder is not None:
            self._stores["files"] = _InFiles(broker, folder, section.budget)
        self._store = self._stores["files" if folder is not None else "broker"]

    async def pack_input(self, job_id: str, kind: str, body: bytes, inline: int) -> Parcel:
        """A job's params or request; up to `inline` bytes stay as they are.

        Raises:
            BodyTooLarge, QueueFull
        """
        if len(body) <= inline and not wire.is_reference(body):
            return Parcel(body)
        if len(body) > self._section.max_bytes:
            raise BodyTooLarge(
                f"The request is {len(body)} bytes; jobs of more than {self._section.max_bytes} bytes "
                "(blobs.max_bytes) are not queued."
            )
        return await self._pack(job_id + kind, body)

    async def fit(self, job_id: str, final: Final, inline: int) -> Fitted:
        """A final event of which at most `inline` bytes go into the record; a failure if the rest has no room."""
        body = wire.encode(final)
        if isinstance(final, Failed):
            if len(body) > inline:
                final = Failed(final.code, final.message[: max(1000, inline // 8)], final.retry)
                body = wire.encode(final)
            return Fitted(final, msgspec.structs.replace(final, traceback=""), Parcel(body))
        if len(body) <= inline:
            return Fitted(final, final, Parcel(body))
        if len(body) > self._section.max_bytes:
            said = f"The result is {len(body)} bytes; blobs.max_bytes allows {self._section.max_bytes}."
            return await self.fit(job_id, Failed(OutOfMemory.code, said), inline)
        try:
            parcel = await self._pack(job_id + RESULT, body)
        except QueueFull:
            return await self.fit(job_id, NO_ROOM, inline)
        return Fitted(final, wire.read_reference(parcel.body), parcel)

    async def unpack(self, body: bytes) -> bytes:
        """A record's body, or what it refers to.

        Raises:
            BlobGone, BrokerUnavailable
        """
        if not wire.is_reference(body):
            return body
        try:
            blob = wire.read_reference(body)
        except Unreadable as error:
            raise BlobGone(
                "What belongs to this job was stored by another release, which this one cannot read."
            ) from error
        store = self._stores.get(blob.store)
        data = await store.get(blob) if store else None
        if data is None:
            where = "" if store else "; it lies in files that this process does not share (see blobs.store)"
            raise BlobGone(f"The {blob.size} bytes that belong to this job are not there any more{where}.")
        return data

    async def unpack_all(self, bodies: Sequence[bytes]) -> Sequence[bytes | BlobGone | VelesioError]:
        """As `unpack`, all at once; what goes wrong with one stands in its place."""
        if not any(map(wire.is_reference, bodies)):
            return bodies
        return await asyncio.gather(*map(self._try, bodies))

    async def _try(self, body: bytes) -> bytes | BlobGone | VelesioError:
        try:
            return await self.unpack(body)
        except (BlobGone, VelesioError) as error:
            return error

    async def final(self, body: bytes) -> Final | None:
        """A stored result; None: gone."""
        try:
            return wire.read_final(await self.unpack(body))
        except BlobGone:
            return None

    async def drop(self, *bodies: bytes) -> None:
        """Delete what references name that no record holds (any more)."""
        for body in bodies:
            blob = _named(body)
            if blob is not None and (store := self._stores.get(blob.store)):
                await store.drop(blob)

    async def sweep(self) -> None:
        """Delete what was left behind; call it often, it knows when it is time."""
        for store in self._stores.values():
            await store.sweep()

    async def _pack(self, name: str, body: bytes) -> Parcel:
        blob, carried = await self._store.put(name, body)
        return Parcel(wire.reference(blob), carried)


def _named(body: bytes) -> wire.Stored | None:
    """What a record's body refers to; None: nothing, or nothing that can be read."""
    with contextlib.suppress(Unreadable):
        return wire.read_reference(body) if wire.is_reference(body) else None
    return None


class _InBroker:
    """`b:<name>`; `lua/common.lua` stores, counts and deletes."""

    def __init__(self, broker: "Broker") -> None:
        self._broker = broker

    async def put(self, name: str, data: bytes) -> tuple[wire.Stored, bytes]:
        return wire.Stored("broker", name, len(data)), data

    async def get(self, blob: wire.Stored) -> bytes | None:
        data: bytes | None = await self._broker.command("GET", self._broker.keys.blob(blob.id))
        return data

    async def drop(self, blob: wire.Stored) -> None:
        """The scripts have done it."""

    async def sweep(self) -> None:
        """Keys expire by themselves."""


class _InFiles:
    """`<folder>/<job id><kind>-<SHA-256 of the content>`: private, whole or not there, checked when read."""

    def __init__(self, broker: "Broker", folder: Path, budget: int) -> None:
        self._broker = broker
        self._folder = folder
        self._budget = budget
        self._swept = 0.0

    async def put(self, name: str, data: bytes) -> tuple[wire.Stored, bytes]:
        return await asyncio.to_thread(self._write, name, data), b""

    async def get(self, blob: wire.Stored) -> bytes | None:
        return await asyncio.to_thread(self._read, blob.id)

    async def drop(self, blob: wire.Stored) -> None:
        await asyncio.to_thread(self._delete, blob.id)

    async def sweep(self) -> None:
        if time.monotonic() - self._swept < _PAUSE:
            return
        self._swept = time.monotonic()
        for name in await asyncio.to_thread(self._old):
            match = _FILE.fullmatch(name)
            if match is None or not await self._referred(name, match[1], match[2]):
                await asyncio.to_thread(self._delete, name)

    async def _referred(self, name: str, job_id: str, kind: str) -> bool:
        body: bytes = await self._broker.command("HGET", self._broker.keys.job(job_id), _FIELDS[kind]) or b""
        blob = _named(body)
        return blob is not None and blob.id == name

    def _old(self) -> list[str]:
        """Files that were written long enough ago; other people's are left alone."""
        before = time.time() - _GRACE
        return [
            entry.name for entry in self._entries() if _OURS.fullmatch(entry.name) and _stat(entry).st_mtime < before
        ]

    def _delete(self, file: str) -> None:
        if _OURS.fullmatch(file):
            with contextlib.suppress(OSError):  # what cannot be deleted now is swept later
                (self._folder / file).unlink()

    def _entries(self) -> list[os.DirEntry[str]]:
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            return [entry for entry in entries if entry.is_file(follow_symlinks=False)]
        return []

    def _write(self, name: str, data: bytes) -> wire.Stored:
        file = f"{name}-{hashlib.sha256(data).hexdigest()}"
        if not _FILE.fullmatch(file):
            raise ValueError(f"no name for a file: {name!r}")
        try:
            with self._locked():
                if sum(_stat(entry).st_size for entry in self._entries()) + len(data) > self._budget:
                    raise QueueFull(FULL, retry_after=5)
                self._place(file, data)
        except OSError as error:
            # A full disk, say: the request is refused, and whoever runs the server reads why.
            log.error("a blob cannot be written", folder=str(self._folder), error=str(error))  # noqa: TRY400
            raise QueueFull("Large inputs and results cannot be stored; try again later.", retry_after=5) from error
        return wire.Stored("files", file, len(data))

    def _place(self, file: str, data: bytes) -> None:
        new = self._folder / f".new-{secrets.token_hex(8)}"
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as target:
                target.write(data)
            new.replace(self._folder / file)
        except BaseException:
            new.unlink(missing_ok=True)
            raise

    def _read(self, file: str) -> bytes | None:
        match = _FILE.fullmatch(file)
        if match is None:
            return None
        try:
            with os.fdopen(os.open(self._folder / file, os.O_RDONLY | os.O_NOFOLLOW), "rb") as source:
                data = source.read()
        except OSError:
            return None
        return data if hashlib.sha256(data).hexdigest() == match[3] else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Counting and writing are one step for all processes that share the folder."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with os.fdopen(os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _stat(entry: "os.DirEntry[str]") -> os.stat_result:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:  # deleted since the directory was read
        return os.stat_result((0,) * 10)
