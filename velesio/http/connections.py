"""Connections: a client that sends its request too slowly, or does not read the answer, loses its connection.

aiohttp bounds the pause between two requests, not the time that a head takes, nor that for which an answer lies unread:
thousands of connections that send a byte now and then, or never read one, would stay for ever.
"""

import asyncio
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


class Connection(web.RequestHandler):
    """One connection, with a clock for each head and one for what is not read."""

    __slots__ = ("_clock", "_patience", "_stuck")

    def __init__(self, server: "Server", patience: "Patience", **options: Any) -> None:
        super().__init__(server, **options)
        self._patience = patience
        self._clock: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The first head begins with the connection."""
        super().connection_made(transport)
        self._start()

    def data_received(self, data: bytes) -> None:
        """A later head begins with its first byte; a whole one stops the clock."""
        known = self._request_count
        super().data_received(data)
        if self._request_count > known:
            self._stop()
        elif self._clock is None and self._waiter is not None:
            self._start()

    def pause_writing(self) -> None:
        """More lies unread than there is room for: it has to become less in time."""
        super().pause_writing()
        self._stuck = asyncio.get_running_loop().call_later(self._patience.reading, self._hang_up)

    def resume_writing(self) -> None:
        """The client reads."""
        self._read()
        super().resume_writing()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing is waited for any more."""
        self._stop()
        self._read()
        super().connection_lost(exc)

    def _read(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _hang_up(self) -> None:
        self._stuck = None
        if self.transport is not None:
            self.transport.abort()  # nothing more would be read, so nothing is told

    def _start(self) -> None:
        self._clock = asyncio.get_running_loop().call_later(self._patience.head, self._give_up)

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _give_up(self) -> None:
        self._clock = None
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
