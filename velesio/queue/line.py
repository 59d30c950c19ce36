"""Line: one connection to the server; commands go out at once, answers come back in their order.

redis-py connects (addresses, TLS, sentinels, passwords); then the bytes belong to this module, because its client
spends more on a command than the server does: a timer and three turns of the event loop.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import hiredis
import redis
import redis.asyncio
from redis import exceptions

OUTAGES = (exceptions.RedisError, OSError, asyncio.TimeoutError)
"""What a connection raises when it fails, or when the server cannot serve now (loading, failing over). Nobody knows
then whether the command was run."""

Argument = str | bytes | int | float
Heard = Callable[[list[Any] | BaseException], None]
"""Called once in the event loop: with the answers, error answers among them, or with one of `OUTAGES`."""

_NOTHING = object()
_KINDS: dict[str, type[exceptions.RedisError]] = {
    "LOADING": exceptions.BusyLoadingError,
    "NOAUTH": exceptions.AuthenticationError,
    "NOPERM": exceptions.NoPermissionError,
    "NOSCRIPT": exceptions.NoScriptError,
    "OOM": exceptions.OutOfMemoryError,
    "READONLY": exceptions.ReadOnlyError,
}


def pack(command: Sequence[Argument]) -> bytes:
    """A command as the server reads it."""
    parts = [b"*%d\r\n" % len(command)]
    for argument in command:
        body = argument if isinstance(argument, bytes) else str(argument).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(body), body))
    return b"".join(parts)


class Line:
    """One connection, made when it is needed and again when it is lost."""

    def __init__(self, client: "redis.asyncio.Redis", patience: float) -> None:
        """`patience` in seconds: a server that is silent for longer, with a command before it, is given up."""
        self._client = client
        self._patience = patience
        self._connection: Any = None
        self._link: _Link | None = None

    @property
    def up(self) -> bool:
        """Whether the connection stands, so that `send` may be called."""
        return self._link is not None and self._link.up

    async def connect(self) -> None:
        """Return when the connection stands; sentinels are asked for the master anew.

        Raises:
            OUTAGES
        """
        if self.up:
            return
        if self._connection is None:
            self._connection = await self._client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        elif self._link is not None:
            self._link = None
            await self._connection.disconnect(nowait=True)
        await self._connection.connect()
        self._link = _Link(self._connection, self._patience)

    def send(self, commands: Sequence[bytes], heard: Heard) -> None:
        """Send packed commands; `heard` gets their answers."""
        assert self._link is not None  # noqa: S101 - the caller has looked at `up`
        self._link.send(commands, heard)

    async def exchange(self, commands: Sequence[bytes]) -> list[Any]:
        """The answers to several packed commands, sent at once; error answers are among them.

        Raises:
            OUTAGES: if the connection fails; the next call makes a new one.
        """
        await self.connect()
        future = asyncio.get_running_loop().create_future()
        self.send(commands, lambda found: _settle(future, found))
        try:
            answers: list[Any] = await future
        except asyncio.CancelledError:
            self.drop()  # a command that blocks would keep the next one waiting
            raise
        return answers

    async def ask(self, *command: Argument) -> Any:
        """The answer to one command.

        Raises:
            ResponseError: if the answer is one.
            OUTAGES: if the connection fails; the next call makes a new one.
        """
        [answer] = await self.exchange([pack(command)])
        if isinstance(answer, exceptions.RedisError):
            raise answer
        return answer

    def drop(self) -> None:
        """Hang up; whoever waits for an answer hears of it."""
        if self._link is not None:
            self._link.lose(ConnectionResetError("this process hung up"))

    async def close(self) -> None:
        """Hang up for good."""
        self.drop()
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)
        await self._client.aclose()


class _Exchange:
    __slots__ = ("answers", "count", "heard", "since")

    def __init__(self, count: int, heard: Heard, since: float) -> None:
        self.count = count
        self.heard = heard
        self.since = since
        self.answers: list[Any] = []


class _Link(asyncio.Protocol):
    """The protocol of one connection from its handshake to its loss."""

    def __init__(self, connection: Any, patience: float) -> None:
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(
            protocolError=exceptions.InvalidResponse, replyError=_error, notEnoughData=_NOTHING
        )
        self._expected: deque[_Exchange] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._transport: asyncio.WriteTransport = connection._writer.transport
        self._handshake = self._transport.get_protocol()
        """redis-py's, which wants to hear of the end."""
        self._transport.set_protocol(self)
        self.up = not self._transport.is_closing()

    def send(self, commands: Sequence[bytes], heard: Heard) -> None:
        self._expected.append(_Exchange(len(commands), heard, self._loop.time()))
        if self._alarm is None:
            self._alarm = self._loop.call_later(self._patience, self._look_at_the_clock)
        self._transport.write(commands[0] if len(commands) == 1 else b"".join(commands))

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (answer := self._reader.gets()) is not _NOTHING:
                self._hear(answer)
        except exceptions.RedisError as error:  # what came is no answer of such a server
            self.lose(error)

    def _hear(self, answer: Any) -> None:
        if isinstance(answer, hiredis.PushNotification) or not self._expected:
            return
        first = self._expected[0]
        first.answers.append(answer)
        if len(first.answers) == first.count:
            self._expected.popleft()
            first.heard(first.answers)

    def eof_received(self) -> None:
        self.lose(ConnectionResetError("the server closed the connection"))

    def connection_lost(self, error: Exception | None) -> None:
        self.lose(error or ConnectionResetError("the connection was closed"))
        self._handshake.connection_lost(error)

    def pause_writing(self) -> None:
        """Nothing to do: callers wait for answers before they send more."""

    def lose(self, error: BaseException) -> None:
        """Give the connection up; nobody gets an answer any more."""
        self.up = False
        if self._alarm is not None:
            self._alarm.cancel()
        self._transport.abort()
        expected, self._expected = self._expected, deque()
        for exchange in expected:
            exchange.heard(error)

    def _look_at_the_clock(self) -> None:
        self._alarm = None
        if not self._expected:
            return
        left = self._expected[0].since + self._patience - self._loop.time()
        if left <= 0:
            self.lose(exceptions.TimeoutError("the server does not answer"))
        else:
            self._alarm = self._loop.call_later(left, self._look_at_the_clock)


def _settle(future: "asyncio.Future[list[Any]]", found: list[Any] | BaseException) -> None:
    if future.done():
        return
    if isinstance(found, BaseException):
        future.set_exception(found)
    else:
        future.set_result(found)


def _error(text: str) -> exceptions.RedisError:
    """An error answer; it keeps the server's words."""
    return _KINDS.get(text.partition(" ")[0], exceptions.ResponseError)(text)
