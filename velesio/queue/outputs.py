"""Outputs: the log of a job that no gateway watches, readable from any place, by any number of readers."""

from collections.abc import AsyncIterator

from msgspec import Struct

from velesio.errors import BrokerUnavailable, JobNotFound
from velesio.jobs import Event, is_final
from velesio.queue import wire
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.connections import OUTAGES, Line
from velesio.queue.transcript import Transcript

_BLOCK = 2.0


class Piece(Struct, frozen=True):
    """Events that follow one another, and the id after which to go on."""

    id: str
    events: list[Event]


async def follow(broker: Broker, job_id: str, after: str = "") -> AsyncIterator[Piece]:
    """What a background job says, from the beginning or after the piece `after`, up to its final event.

    Every reader sees the same text once, whichever attempts wrote it.

    Raises:
        JobNotFound: unknown, or its log has expired.
        BrokerUnavailable: go on with `after` when it is back.
    """
    line = broker.address.blocking(_BLOCK)
    try:
        async for piece in _Reader(broker, line, job_id, after).pieces():
            yield piece
    finally:
        await line.close()


class _Reader:
    def __init__(self, broker: Broker, line: Line, job_id: str, after: str) -> None:
        self._queue = JobQueue(broker)
        self._key = broker.keys.output(job_id)
        self._line = line
        self._job_id = job_id
        self._after = _order(after)
        self._transcript = Transcript(stream=True)
        self._trimmed: bool | None = None
        """Whether the beginning is gone: then the text before `after` is unknown here, and only the end is told."""

    async def pieces(self) -> AsyncIterator[Piece]:
        last = b"0-0"
        while not self._transcript.ended:
            entries = await self._next(last)
            if not entries and (final := await self._end_without_log()):
                yield final
            for identity, fields in entries:
                last = identity
                if piece := self._piece(identity, fields[1]):
                    yield piece

    async def _next(self, last: bytes) -> list[tuple[bytes, list[bytes]]]:
        try:
            found = await self._line.ask(
                "XREAD", "COUNT", 64, "BLOCK", round(_BLOCK * 1000), "STREAMS", self._key, last
            )
        except OUTAGES as error:
            raise BrokerUnavailable(str(error)) from error
        return next(iter(found.values())) if found else []

    def _piece(self, identity: bytes, body: bytes) -> Piece | None:
        # Read from the beginning even if the reader has a part of it: what it has decides what it still gets.
        events: list[Event] = []
        notes = wire.read_message(body)
        if self._trimmed is None and notes:
            self._trimmed = notes[0].seq > 0
        for note in notes:
            if isinstance(note.event, wire.Recall):
                self._transcript.recall(note.attempt)
            else:
                events += self._transcript.accept(note.attempt, note.seq, note.event)
        if self._trimmed and self._after > (0,):
            events = [event for event in events if is_final(event)]
        name = identity.decode()
        return Piece(name, events) if events and _order(name) > self._after else None

    async def _end_without_log(self) -> Piece | None:
        """Silence: is the job still alive, or did its log expire before its record?"""
        record = await self._queue.record(self._job_id)
        if record is None:
            raise JobNotFound
        if not record.state.final or record.result is None:
            return None
        events = self._transcript.accept(record.attempts + record.crashes + 1, 0, record.result)
        return Piece("", [event for event in events if is_final(event)])


def _order(identity: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in identity.split("-")) if identity else (0,)
    except ValueError:
        return (0,)
