"""Replay: a background job's log as server-sent events, from any of its ids on."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from velesio.errors import VelesioError
from velesio.http import sse
from velesio.http.dispatch import error_of
from velesio.http.families import OPENAI
from velesio.http.forms import answer_of
from velesio.http.wire import encode
from velesio.jobs import Completed, Delta, Failed, Final, Preview, Progress, Started
from velesio.queue.client import JobRecord
from velesio.queue.outputs import Restarted, Said


class Replay:
    """A log on its way to a client: batches of what it says, with the index that streams of several jobs have."""

    def __init__(self, batches: AsyncGenerator[list[Said], None]) -> None:
        self._batches = batches
        self._first: list[Said] | None = None
        self._aborted: asyncio.Future[VelesioError] = asyncio.get_running_loop().create_future()

    async def begin(self) -> bool:
        """Read the first batch. False: there is none."""
        self._first = await anext(self._batches, None)
        return self._first is not None

    def abort(self, error: VelesioError) -> None:
        """Make the iteration raise `error`, now or at its next step."""
        if not self._aborted.done():
            self._aborted.set_result(error)

    def __aiter__(self) -> "Replay":
        return self

    async def __anext__(self) -> list[tuple[int, Said]]:
        batch, self._first = self._first, None
        if batch is None:
            batch = await self._next()
        if batch is None:
            raise StopAsyncIteration
        return [(0, said) for said in batch]

    async def _next(self) -> list[Said] | None:
        reading = asyncio.create_task(self._read())
        either: set[asyncio.Future[Any]] = {reading, self._aborted}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
            await asyncio.wait({reading})
        if self._aborted.done():
            reading.cancelled() or reading.exception()  # whatever it was, the stream is over
            raise self._aborted.result()
        return reading.result()

    async def _read(self) -> list[Said] | None:
        return await anext(self._batches, None)


class Frames:
    """Server-sent events with a name and an id each; `data` is JSON. The last one is `completed`, whose data is what
    `/result` gives, `failed` or `cancelled`."""

    one_by_one = False

    def __init__(self, record: JobRecord, kept: bytes) -> None:
        """`kept` is the job's origin."""
        self._record = record
        self._kept = kept

    def frames(self, _: int, said: Said) -> list[bytes]:
        """One event."""
        name, data = self._told(said)
        return [b"id: %d\nevent: %b\n%b" % (said.id, name.encode(), sse.event(encode(data)))]

    def _told(self, said: Said) -> tuple[str, Any]:
        event = said.event
        if isinstance(event, Delta):
            return "delta", {"text": event.text}
        if isinstance(event, Started):
            return "started", {"prompt_tokens": event.prompt_tokens}
        if isinstance(event, Progress):
            return "progress", {"done": event.done, "total": event.total}
        if isinstance(event, Preview):
            return "preview", {"index": event.index, "done": event.done, "total": event.total}
        if isinstance(event, Restarted):
            return "restarted", {"reason": "the job began anew; what was said before is void"}
        return self._end(event)

    def _end(self, final: Final) -> tuple[str, Any]:
        if isinstance(final, Completed):
            return "completed", answer_of(self._kept, self._record, final) or {}
        return "failed" if isinstance(final, Failed) else "cancelled", OPENAI.body(error_of(final))

    def ping(self) -> bytes:
        """A comment."""
        return sse.COMMENT

    def failure(self, error: VelesioError) -> list[bytes]:
        """An event without an id: it is of the connection, not of the job, which can be followed elsewhere."""
        return [b"event: error\n" + sse.event(encode(OPENAI.body(error)))]

    def end(self) -> list[bytes]:
        """Nothing; the last event says that it is the last."""
        return []
