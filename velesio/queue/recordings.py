"""Recordings: the bytes of a streamed answer, kept for a while so that a client that lost its connection goes on.

A recording is a stream of the broker whose entries are pieces of the answer, each under the place of its first byte, so
that a reader can begin at any of them. Its writer is one gateway; readers are anywhere.
"""

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec

from velesio.errors import BrokerUnavailable, VelesioError
from velesio.queue import wire
from velesio.queue.broker import Broker
from velesio.queue.line import OUTAGES

_BLOCK = 2.0
_SPARE = 60.0
"""Seconds beyond the deadline of its jobs for which an unfinished recording is kept."""


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one from its beginning."""

    run: str
    """Its own name; a conversation's next answer is another recording."""
    gateway: str
    """Its writer."""
    jobs: tuple[str, ...]
    started: float
    """Unix seconds."""


class Size(msgspec.Struct, frozen=True):
    """How much of a recording there is."""

    total: int = 0
    """Bytes written so far."""
    dropped: int = 0
    """Bytes that are not kept any more, from the beginning."""
    ended: float = 0.0
    """When it was complete, in unix seconds; 0: it goes on."""


class Lost(Exception):
    """Bytes that were asked for are not there: they were dropped, or their writer died."""


_decode: Callable[[bytes], Recording] = wire.reader(Recording)


class Shelf:
    """The recordings of one owner, who cannot reach those of others."""

    def __init__(self, broker: Broker, owner: str, *, keep: float, longest: int, most: int) -> None:
        """Each is kept for `keep` s after its end, with at least its last `longest` bytes; of more than `most` the
        oldest goes."""
        self._broker = broker
        self._root = broker.keys.recordings(hashlib.sha256(owner.encode()).hexdigest()[:32])
        self._keep = keep
        self._longest = longest
        self._most = most

    async def begin(self, name: str, jobs: Sequence[str], gateway: str, seconds: float) -> "Recorder":
        """A new recording under a name, for an answer that takes up to `seconds`. Drop what is there first."""
        recording = Recording(run=secrets.token_hex(8), gateway=gateway, jobs=tuple(jobs), started=time.time())
        life = round(seconds + self._keep + _SPARE)
        ask, body = self._broker.command, msgspec.msgpack.encode(recording)
        await asyncio.gather(
            ask("SET", self._place(name), body, "EX", life),
            ask("ZADD", self._root, recording.started, name),
            ask("EXPIRE", self._root, 7 * 86400),
        )
        for oldest in (await self.names())[: -self._most]:
            await self.drop(oldest)
        return Recorder(self._broker, self._bytes(recording), life=life, longest=self._longest)

    async def end(self, name: str, recorder: "Recorder") -> None:
        """The recording is complete: the time for which it is kept begins. One without a byte is dropped."""
        await recorder.end(self._keep)
        recording = await self.find(name)
        if recording is None or self._bytes(recording) != recorder.key:
            return  # dropped, or followed by another
        if recorder.empty:
            await self.drop(name)
        else:
            await self._broker.command("EXPIRE", self._place(name), round(self._keep))

    async def find(self, name: str) -> Recording | None:
        """The recording under a name.

        Raises:
            Unreadable, BrokerUnavailable
        """
        body = await self._broker.command("GET", self._place(name))
        return _decode(body) if body else None

    async def names(self) -> list[str]:
        """Those under which there may be one, the oldest first."""
        found: list[bytes] = await self._broker.command("ZRANGE", self._root, 0, -1)
        return [name.decode() for name in found]

    async def size(self, recording: Recording) -> Size:
        """How much there is of it."""
        key = self._bytes(recording)
        first, last = await asyncio.gather(
            self._broker.command("XRANGE", key, "-", "+", "COUNT", 1),
            self._broker.command("XREVRANGE", key, "+", "-", "COUNT", 1),
        )
        if not last:
            return Size()
        place, data, ended = _piece(last[0])
        return Size(place + len(data), _piece(first[0])[0], ended)

    async def drop(self, name: str) -> Recording | None:
        """Forget the recording under a name; answers which it was."""
        recording = await self.find(name)
        keys = [self._place(name), *([self._bytes(recording)] if recording else [])]
        await asyncio.gather(self._broker.command("DEL", *keys), self._broker.command("ZREM", self._root, name))
        return recording

    async def read(self, name: str, recording: Recording, start: int) -> AsyncGenerator[bytes, None]:
        """Its bytes from a place on, as they come, up to its end.

        Raises:
            Lost: some are not kept any more, or will never come.
            BrokerUnavailable
        """
        key = self._bytes(recording)
        line = self._broker.address.blocking(_BLOCK)
        try:
            place, last = start, await self._before(key, start)
            while True:
                found = await line.ask("XREAD", "COUNT", 64, "BLOCK", round(_BLOCK * 1000), "STREAMS", key, last)
                entries = next(iter(found.values())) if found else ()
                if not entries:
                    await self._check(name, recording)
                for entry in entries:
                    begin, data, ended = _piece(entry)
                    if begin > place:
                        raise Lost
                    if rest := data[place - begin :]:
                        place += len(rest)
                        yield rest
                    if ended:
                        return
                    last = entry[0]
        except OUTAGES as error:
            raise BrokerUnavailable from error
        finally:
            await line.close()

    async def _before(self, key: str, start: int) -> bytes | str:
        """The entry before the one that holds the byte at `start`."""
        held = await self._broker.command("XREVRANGE", key, f"{start + 1}-0", "-", "COUNT", 1)
        return f"{int(held[0][0].partition(b'-')[0]) - 1}-0" if held else "0-0"

    async def _check(self, name: str, recording: Recording) -> None:
        """Whether more can come.

        Raises:
            Lost: it was dropped, or its writer has died.
        """
        alive = await self._broker.command("EXISTS", self._broker.keys.gateway(recording.gateway))
        if not alive or await self.find(name) != recording:
            raise Lost

    def _place(self, name: str) -> str:
        return f"{self._root}:{hashlib.sha256(name.encode()).hexdigest()[:32]}"

    def _bytes(self, recording: Recording) -> str:
        return f"{self._root}:{recording.run}"


class Recorder:
    """Writes one recording. Nobody waits for the broker: a recording that cannot be written is given up."""

    def __init__(self, broker: Broker, key: str, *, life: int, longest: int) -> None:
        self.key = key
        self._broker = broker
        self._life = life
        self._longest = longest
        self._total = 0
        self._largest = 0
        self._last: asyncio.Future[Any] | None = None
        self._broken = False

    @property
    def empty(self) -> bool:
        """Whether nothing was written."""
        return not self._total

    def write(self, data: bytes) -> None:
        """Add bytes."""
        if self._broken or not data:
            return
        self._add("b", data)
        if not self._total:
            self._send("EXPIRE", self.key, self._life)
        self._total += len(data)
        self._largest = max(self._largest, len(data))

    async def end(self, keep: float) -> None:
        """It is complete, and kept for so many seconds."""
        if self._total:
            # Also after a piece that could not be written: readers then find a gap instead of waiting.
            self._add("e", repr(time.time()).encode())
            self._send("EXPIRE", self.key, round(keep))
        if self._last is not None:
            await asyncio.wait({self._last})

    def _add(self, field: str, data: bytes) -> None:
        # The place of a piece is its number, so that one that went missing is missed. What was dropped stays so.
        options: list[str | int] = ["NOMKSTREAM"] if self._total else []
        # A piece that begins before the last bytes to be kept may have some of them.
        if (oldest := self._total - self._longest - self._largest) > 0:
            options += ["MINID", "~", oldest]
        self._send("XADD", self.key, *options, f"{self._total + 1}-0", field, data)

    def _send(self, *command: str | bytes | float) -> None:
        try:
            self._last = self._broker.command(*command, retry=False)
        except VelesioError:
            self._broken = True
        else:
            self._last.add_done_callback(self._note)

    def _note(self, answer: "asyncio.Future[Any]") -> None:
        if answer.cancelled() or answer.exception():
            self._broken = True


def _piece(entry: tuple[bytes, list[bytes]]) -> tuple[int, bytes, float]:
    """The place of an entry's first byte, its bytes, and the time if it is the end."""
    identity, (field, data) = entry
    place = int(identity.partition(b"-")[0]) - 1
    return (place, b"", float(data)) if field == b"e" else (place, data, 0.0)
