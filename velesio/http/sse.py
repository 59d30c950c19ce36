"""Server-sent events: writes what has come in one go, keeps silent connections alive, ends with an error event."""

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import structlog
from aiohttp import web

from velesio.errors import VelesioError
from velesio.http.families import unexpected
from velesio.http.gateway import GATEWAY, REQUEST_ID
from velesio.http.recording import Outlet, outlet

log = structlog.get_logger("velesio.http")

HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}
DONE = b"data: [DONE]\n\n"
COMMENT = b":\n\n"


_PATIENCE = 10
_LATE = 1.25
"""Times its length that a pause may take."""

_E = TypeVar("_E")
_E_contra = TypeVar("_E_contra", contravariant=True)


class Framing(Protocol[_E_contra]):
    """What one family's stream looks like. Each `bytes` is one whole event."""

    one_by_one: bool
    """Whether each event needs a write, and so an HTTP chunk, of its own."""

    def frames(self, index: int, event: _E_contra) -> Sequence[bytes]:
        """What the client gets for an event of the job with that index."""

    def ping(self) -> bytes:
        """What keeps a silent connection alive."""

    def failure(self, error: VelesioError) -> Sequence[bytes]:
        """What ends a stream that cannot go on."""

    def end(self) -> Sequence[bytes]:
        """What follows the last event."""


def event(data: bytes) -> bytes:
    """A JSON document as an event."""
    return b"data: %b\n\n" % data


async def respond(
    request: web.Request,
    answers: AsyncIterable[Sequence[tuple[int, _E]]],
    framing: Framing[_E],
    ping_interval: float | None = None,
    headers: Mapping[str, str] = HEADERS,
    *,
    pause: float = 0.0,
) -> web.StreamResponse:
    """Streams `answers`, whose first event has come; `ping_interval` is in seconds, the server's if None, 0 or less
    for no pings. `pause`: seconds that lie between two events at least, each of them then written alone. What is
    recorded goes on to its end when the client leaves.

    Nothing is raised but the cancellation of the caller: once headers are sent, an error is an event.
    """
    response = web.StreamResponse(headers=headers)
    if ping_interval is None:
        ping_interval = request.app[GATEWAY].server.sse_ping_interval
    written = outlet(request, response)
    stream = _Stream(written, pause, one_by_one=framing.one_by_one)
    try:
        await written.prepare(request)
        async with _pinging(stream, framing, ping_interval):
            await _copy(request, answers, framing, stream)
        await written.write_eof()
    except ConnectionError:
        # The client has left; leaving the answers' context cancels their jobs.
        log.debug("client left")
    return response


async def _copy(
    request: web.Request, answers: AsyncIterable[Sequence[tuple[int, _E]]], framing: Framing[_E], stream: "_Stream"
) -> None:
    try:
        async for batch in answers:
            await stream.write([frame for index, event in batch for frame in framing.frames(index, event)])
        await stream.write(framing.end())
    except ConnectionError:
        raise
    except VelesioError as error:
        log.info("stream failed", code=error.code)
        await stream.write(framing.failure(error))
    except Exception:
        log.exception("stream failed", code=VelesioError.code)
        await stream.write(framing.failure(unexpected(request[REQUEST_ID])))


class _Stream:
    """The connection, and since when it is silent."""

    def __init__(self, response: Outlet, pause: float, *, one_by_one: bool) -> None:
        self.spoke = time.monotonic()
        self._response = response
        self._pause = pause
        self._turn = asyncio.Lock()
        self._one_by_one = one_by_one

    async def write(self, frames: Sequence[bytes]) -> None:
        if not frames:
            return
        if self._pause:
            await self._write_apart(frames)
            return
        self.spoke = time.monotonic()
        if self._one_by_one:
            for frame in frames:
                await self._response.write(frame)
        else:
            await self._response.write(b"".join(frames))

    async def _write_apart(self, frames: Sequence[bytes]) -> None:
        async with self._turn:  # a ping keeps its distance too
            for frame in frames:
                await _calm(self._pause)
                await self._response.write(frame)
                self.spoke = time.monotonic()


async def _calm(pause: float) -> None:
    """Lets `pause` seconds pass in which this process kept time, as far as patience goes: where the whole machine
    stands still, who is to read meanwhile does not come to it either."""
    for _ in range(_PATIENCE):
        began = time.monotonic()
        await asyncio.sleep(pause)
        if time.monotonic() - began < pause * _LATE:
            return


@asynccontextmanager
async def _pinging(stream: _Stream, framing: Framing[_E], interval: float) -> AsyncIterator[None]:
    """Pings after each `interval` of silence. A task of its own costs nothing for each token, a timeout around each
    wait would."""
    if interval <= 0:
        yield
        return
    task = asyncio.create_task(_ping(stream, framing, interval))
    try:
        yield
    finally:
        task.cancel()


async def _ping(stream: _Stream, framing: Framing[_E], interval: float) -> None:
    while True:
        left = stream.spoke + interval - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)
        else:
            try:
                await stream.write([framing.ping()])
            except ConnectionError:
                return
