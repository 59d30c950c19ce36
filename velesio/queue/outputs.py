"""Outputs: the log of a job that no gateway watches, readable from any place, by any number of readers."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from velesio.errors import BrokerUnavailable, JobNotFound
from velesio.queue import wire
from velesio.queue.blobs import GONE
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue, JobRecord
from velesio.queue.line import OUTAGES, Line
from velesio.queue.playback import Playback, Restarted, Said

__all__ = ["Restarted", "Said", "follow"]

_BLOCK = 2.0
_PATIENCE = 30.0
"""Seconds that a reader waits for a broker that went away."""
_T = TypeVar("_T")


async def follow(broker: Broker, job_id: str, after: int = 0) -> AsyncGenerator[list[Said], None]:
    """What a background job says, from the beginning or after the id `after`, in batches that are not empty, up to its
    final event; nothing if the reader has that already.

    Every reader is told the same text once, whichever attempts wrote it. Holds a connection until it is closed.

    Raises:
        JobNotFound: unknown, or neither its log nor its result is kept any more.
        BrokerUnavailable: go on after the last id when it is back.
    """
    line = broker.address.blocking(_BLOCK)
    try:
        async for batch in _Reader(broker, line, job_id).batches(after):
            yield batch
    finally:
        await line.close()


class _Reader:
    def __init__(self, broker: Broker, line: Line, job_id: str) -> None:
        self._queue = JobQueue(broker)
        self._blobs = broker.blobs
        self._key = broker.keys.output(job_id)
        self._line = line
        self._job_id = job_id
        self._last = b"0-0"

    async def batches(self, after: int) -> AsyncIterator[list[Said]]:
        # The record before the log: what it says of the job's life is then never newer than what the log says.
        record = await self._record()
        playback = Playback(after, record.life)
        while not playback.ended:
            said: list[Said] = []
            entries = await self._insist(self._peek if record.state.final else self._next)
            for identity, fields in entries:
                self._last = identity
                for note in wire.read_message(fields[1]):
                    said += playback.read(await self._whole(note))
            if not entries and record.state.final:
                said = _end(playback, record)  # the log is read and has no end: it has expired
            elif not entries:
                record = await self._insist(self._record)
            if said:
                yield said

    async def _next(self) -> Sequence[tuple[bytes, list[bytes]]]:
        return await self._read("BLOCK", round(_BLOCK * 1000))

    async def _peek(self) -> Sequence[tuple[bytes, list[bytes]]]:
        return await self._read()

    async def _read(self, *options: str | int) -> Sequence[tuple[bytes, list[bytes]]]:
        found = await self._line.ask("XREAD", "COUNT", 256, *options, "STREAMS", self._key, self._last)
        return next(iter(found.values())) if found else ()

    async def _whole(self, note: wire.Note) -> wire.Note:
        """The note with its event, if that lies in a blob."""
        if not isinstance(note.event, wire.Stored):
            return note
        body = wire.reference(note.event)
        final = await self._insist(lambda: self._blobs.final(body))
        if final is None:
            raise JobNotFound(GONE.message)
        return wire.Note(note.job, note.attempt, note.seq, final)

    async def _record(self) -> JobRecord:
        record = await self._queue.record(self._job_id)
        if record is None:
            raise JobNotFound
        return record

    async def _insist(self, call: Callable[[], Awaitable[_T]]) -> _T:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                return await call()
            except (*OUTAGES, BrokerUnavailable) as error:
                if time.monotonic() > until:
                    raise BrokerUnavailable from error
                await asyncio.sleep(random.uniform(0.1, 0.5))  # noqa: S311 - spreads the readers' return


def _end(playback: Playback, record: JobRecord) -> list[Said]:
    if record.result is None:
        raise JobNotFound(GONE.message)
    return playback.end(record.life, record.result)
