"""Connections: a client that sends its request too slowly, or does not read the answer, loses its connection.

aiohttp bounds the pause between two requests, not the time that a head takes, nor that for which an answer lies unread:
thousands of connections that send a byte now and then, or never read one, would stay for ever.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

from aiohttp import web

_LATE = b'{"error":{"code":408,"message":"the head of the request did not come in time","type":"timeout_error"}}'
_ANSWER = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b" % (len(_LATE), _LATE)
)


class Patience(NamedTuple):
    """Seconds that a client has."""

    head: float
    """For the head of a request."""
    reading: float
    """For some of what lies unread."""


class _Alarm:
    """Something that happens unless it is stopped in time. It refers to nobody while it is not set."""

    __slots__ = ("_handle",)

    def __init__(self) -> None:
        self._handle: asyncio.TimerHandle | None = None

    def __bool__(self) -> bool:
        return self._handle is not None

    def start(self, seconds: float, ring: Callable[[], None]) -> None:
        self._handle = asyncio.get_running_loop().call_later(seconds, ring)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Connection(web.RequestHandler):
    """One connection, with a clock for each head and one for what is not read."""

    __slots__ = ("_clock", "_patience", "_stuck")

    def __init__(self, server: "Server", patience: "Patience", **options: Any) -> None:
        super().__init__(server, **options)
        self._patience = patience
        self._clock = _Alarm()
        self._stuck = _Alarm()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The first head begins with the connection."""
        super().connection_made(transport)
        self._clock.start(self._patience.head, self._give_up)

    def data_received(self, data: bytes) -> None:
        """A later head begins with its first byte; a whole one stops the clock."""
        known = self._request_count
        super().data_received(data)
        if self._request_count > known:
            self._clock.stop()
        elif not self._clock and self._waiter is not None:
            self._clock.start(self._patience.head, self._give_up)

    def pause_writing(self) -> None:
        """More lies unread than there is room for: it has to become less in time."""
        super().pause_writing()
        self._stuck.start(self._patience.reading, self._hang_up)

    def resume_writing(self) -> None:
        """The client reads."""
        self._stuck.stop()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing is waited for any more."""
        self._clock.stop()
        self._stuck.stop()
        super().connection_lost(exc)

    def _hang_up(self) -> None:
        self._stuck.stop()
        if self.transport is not None:
            self.transport.abort()  # nothing more would be read, so nothing is told

    def _give_up(self) -> None:
        self._clock.stop()
        if self.transport is not None:
            self.transport.write(_ANSWER)
        self.force_close()


class Server(web.Server):
    """Makes connections with clocks."""

    def __init__(self, handler: Any, *, patience: Patience, **options: Any) -> None:
        super().__init__(handler, **options)
        self._patience = patience

    def __call__(self) -> Connection:
        """A connection."""
        return Connection(self, self._patience, loop=self._loop, **self._kwargs)


class Runner(web.AppRunner):
    """An application's runner whose connections have that patience."""

    def __init__(self, app: web.Application, *, patience: Patience, **options: Any) -> None:
        super().__init__(app, **options)
        self._patience = patience

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        return Server(
            plain.request_handler,
            patience=self._patience,
            request_factory=plain.request_factory,
            handler_cancellation=plain.handler_cancellation,
            **plain._kwargs,
        )
