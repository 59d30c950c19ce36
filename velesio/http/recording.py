"""Recording: a streamed answer with an `X-Conversation-Id` goes on when its client leaves, and can be read again."""

import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from velesio.errors import BadRequest, BrokerUnavailable
from velesio.http.families import A1111, OLLAMA, family_of
from velesio.http.gateway import CREDENTIAL, GATEWAY, RECORDER
from velesio.jobs import Job
from velesio.queue.recordings import Recorder, Recording, Shelf

log = structlog.get_logger("velesio.http")

HEADER = "X-Conversation-Id"
_NAME = re.compile(r"[ -~]{1,256}")


def shelf_of(request: web.Request) -> Shelf:
    """The recordings of the request's key; nobody else's can be reached."""
    gateway, credential = request.app[GATEWAY], request[CREDENTIAL]
    server = gateway.server
    return Shelf(
        gateway.broker,
        f"{credential.tenant}\0{credential.id}",
        keep=server.stream_ttl,
        longest=server.stream_bytes,
        most=server.stream_limit,
    )


def checked(name: str) -> str:
    """The name of a conversation.

    Raises:
        BadRequest: it is none.
    """
    if not _NAME.fullmatch(name):
        raise BadRequest("a conversation's id has 1 to 256 printable ASCII characters", param=HEADER)
    return name


@web.middleware
async def outlive(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets a request with a conversation be answered to its end when its client leaves: it may come back."""
    if request.method != "POST" or HEADER not in request.headers:
        return await handler(request)
    return await request.app[GATEWAY].see_through(_handled(request, handler))


async def _handled(request: web.Request, handler: Handler) -> web.StreamResponse:
    return await handler(request)


@asynccontextmanager
async def recorded(request: web.Request, jobs: Sequence[Job]) -> AsyncIterator[None]:
    """Has what is streamed inside the block recorded, if the request names a conversation. It takes the place of the
    conversation's earlier answer, which is cancelled if it goes on.

    Raises:
        BadRequest: the name cannot be used.
    """
    name = request.headers.get(HEADER, "")
    if not name or not jobs[0].stream or family_of(request.path) in {OLLAMA, A1111}:
        yield
        return
    gateway, shelf = request.app[GATEWAY], shelf_of(request)
    await forget(request, checked(name))
    ids = [job.id for job in jobs]
    recorder = await shelf.begin(name, ids, gateway.inbox.gateway_id, gateway.server.request_timeout)
    request[RECORDER] = recorder
    try:
        yield
    finally:
        with contextlib.suppress(BrokerUnavailable):  # it expires
            await gateway.see_through(shelf.end(name, recorder))


class Outlet(Protocol):
    """Where a stream is written to."""

    async def prepare(self, request: web.Request, /) -> object:
        """Send the headers."""

    async def write(self, data: bytes, /) -> None:
        """Send bytes."""

    async def write_eof(self) -> None:
        """End it."""


def outlet(request: web.Request, response: web.StreamResponse) -> Outlet:
    """The response, and the recording with it if there is one."""
    return _Both(response, request[RECORDER]) if RECORDER in request else response


class _Both:
    """A response that goes on in its recording when the client leaves."""

    def __init__(self, response: web.StreamResponse, recorder: Recorder) -> None:
        self._response = response
        self._recorder = recorder
        self._deserted = False

    async def prepare(self, request: web.Request) -> None:
        with self._leaving():
            await self._response.prepare(request)

    async def write(self, data: bytes) -> None:
        self._recorder.write(data)
        if not self._deserted:
            with self._leaving():
                await self._response.write(data)

    async def write_eof(self) -> None:
        if not self._deserted:
            with self._leaving():
                await self._response.write_eof()

    @contextmanager
    def _leaving(self) -> Iterator[None]:
        try:
            yield
        except ConnectionError:
            self._deserted = True


async def forget(request: web.Request, name: str) -> Recording | None:
    """Drops a recording, and cancels the jobs whose answer it is."""
    recording = await shelf_of(request).drop(name)
    for job in recording.jobs if recording else ():
        await request.app[GATEWAY].queue.cancel(job, "its client has stopped the stream")
    return recording
