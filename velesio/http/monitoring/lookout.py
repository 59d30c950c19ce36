"""Lookout: looks at the whole installation once a second while anybody watches, for all who watch."""

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import structlog

from velesio.errors import BrokerUnavailable
from velesio.http.monitoring.dashboard import MINUTE, Document, changes, document
from velesio.queue import overview
from velesio.queue.broker import Broker
from velesio.queue.overview import Overview
from velesio.queue.registry import Registry
from velesio.queue.series import SPANS, STEP, Point, Span, point
from velesio.queue.tasks import spawn

log = structlog.get_logger("velesio.http")

PAUSE = 1.0
"""Seconds between two looks."""
_JOBS = 50
"""Of each queue and state."""
_LATE = 3
"""Spans that may still grow: workers add to them a little later."""


class Lookout:
    """One gateway's view, as a document and as the events that lead from one look to the next."""

    def __init__(self, broker: Broker, registry: Registry) -> None:
        self._broker = broker
        self._registry = registry
        self._spans: dict[int, Span] = {}
        self._points: dict[int, Point] = {}
        self._document: Document = {}
        self._seen: Overview | None = None
        self._change = b""
        """What leads from the look before to the last one."""
        self._looks = 0
        self._looked = float("-inf")
        self._next: asyncio.Future[None] | None = None
        self._watchers = 0
        self._turn = asyncio.Lock()
        self._looking: asyncio.Task[None] | None = None

    async def current(self) -> Document:
        """What there is, not older than a second.

        Raises:
            BrokerUnavailable
        """
        await self._look(PAUSE)
        return self._document

    async def overview(self) -> Overview:
        """The look behind it, for whoever tells of the same in other words.

        Raises:
            BrokerUnavailable
        """
        await self._look(PAUSE)
        assert self._seen is not None  # noqa: S101 - narrows for the type checker: there was a look
        return self._seen

    async def watch(self) -> AsyncGenerator[list[bytes], None]:
        """A `snapshot`, then a `change` for each look, as events for a stream. Who is slower than that gets another
        snapshot.

        Raises:
            BrokerUnavailable: at the beginning; a broker that leaves later is waited for.
        """
        await self.current()
        self._watchers += 1
        self._looking = self._looking or spawn(self._look_on(), "lookout")
        seen = -1
        try:
            while True:
                if seen == self._looks:
                    await self._following()
                frame = self._change if seen == self._looks - 1 else event(b"snapshot", self._document)
                seen = self._looks
                yield [frame]
        finally:
            self._watchers -= 1
            if not self._watchers and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _following(self) -> None:
        if self._next is None or self._next.done():
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._next)

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            try:
                await self._look(PAUSE / 2)
            except BrokerUnavailable:
                continue
            except Exception:  # a defect in one look must not end all later ones
                log.exception("a look failed")

    async def _look(self, age: float) -> None:
        """Look, unless somebody did within so many seconds."""
        async with self._turn:
            now = asyncio.get_running_loop().time()
            if now - self._looked > age:
                await self._renew(now)

    async def _renew(self, now: float) -> None:
        missed = min(SPANS + 1, (now - self._looked) / STEP + _LATE) if self._points else SPANS + 1
        found = await overview.look(self._broker, _JOBS, int(missed))
        self._looked, self._seen = now, found
        self._learn(found)
        points = [self._points[number] for number in sorted(self._points)]
        after = document(found, self._registry.workers(), self._spans, points)
        self._change = event(b"change", changes(self._document, after)) if self._document else b""
        self._document = after
        self._looks += 1
        if self._next is not None and not self._next.done():
            self._next.set_result(None)

    def _learn(self, found: Overview) -> None:
        last = int(found.at // STEP)
        self._points |= {number: point(number * STEP, [span]) for number, span in found.spans.items()}
        self._points = {number: each for number, each in self._points.items() if number > last - SPANS}
        recent = self._spans | found.spans
        self._spans = {number: span for number, span in recent.items() if number > last - MINUTE}


def event(name: bytes, data: Document) -> bytes:
    """An event of a stream."""
    return b"event: %b\ndata: %b\n\n" % (name, msgspec.json.encode(data))
