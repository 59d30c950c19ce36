"""Broker: one process's connections to its Redis or Valkey server, and calls of the scripts.

Calls that are made while an earlier batch is under way go out together as the next one: no timer, so a lone call waits
for nothing, and a busy process pays for few round trips. No task either: the connection calls back with the answers.
"""

import asyncio
import random
import re
import time
from collections import deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import redis
import structlog
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from velesio import metrics
from velesio.config import BlobSection, QueueSection, RedisSection
from velesio.errors import BrokerUnavailable, ConfigError, QueueFull, VelesioError
from velesio.queue import scripts
from velesio.queue.blobs import Blobs
from velesio.queue.connections import Address
from velesio.queue.keys import Keys
from velesio.queue.line import OUTAGES, Argument, pack
from velesio.queue.tasks import spawn, stop

log = structlog.get_logger(__name__)

_BATCH = 128
_MINIMUM = (7, 0)
_DOWN = (
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "UNKILLABLE",
    "BUSY ",
    "MISCONF",  # its disk is full
    "NOREPLICAS",
)
"""Answers of a server that cannot serve now but may later."""


class _Call:
    __slots__ = ("command", "deadline", "failure", "future", "op", "retry", "since")

    def __init__(
        self,
        op: str,
        command: bytes,
        *,
        retry: bool,
        timeout: float,
        future: "asyncio.Future[Any]",
    ) -> None:
        self.op = op
        self.command = command
        self.retry = retry
        self.since = time.perf_counter()
        self.deadline = self.since + timeout
        self.future = future
        self.failure: BaseException | None = None
        """Why it has no answer yet."""

    def end(self, answer: Any) -> None:
        """Hand the answer, or the error that it is, to the caller, if it still waits."""
        if self.future.done():
            return
        error = _translate(answer) if isinstance(answer, Exception) else None
        if error is None:
            metrics.child(metrics.broker_call_seconds, self.op).observe(time.perf_counter() - self.since)
        else:
            metrics.child(metrics.broker_errors, self.op).inc()
        if error is None:
            self.future.set_result(answer)
        else:
            self.future.set_exception(error)


class Broker:
    """All connections of one process to the server. Make it with `connect`."""

    def __init__(
        self,
        address: Address,
        redis_section: RedisSection,
        queue: QueueSection,
        blobs: BlobSection,
        folder: Path | None = None,
    ) -> None:
        self.address = address
        self.keys = Keys(redis_section.prefix)
        self.settings = queue
        self.scripts = scripts.load(queue, blobs)
        self.blobs = Blobs(self, blobs, folder)
        self.timeout = redis_section.timeout
        """Seconds in which every call is answered or fails."""
        self._line = address.commands()
        self.doubtful: set[str] = set()
        """Jobs whose enqueue or cancellation got no answer: nobody waits for them, so they are to be cancelled."""
        self._waiting: deque[_Call] = deque()
        self._sending: list[_Call] = []
        self._stirred = False
        self._mender: asyncio.Task[None] | None = None
        """Connects, or teaches the scripts, while calls wait."""
        self._failures = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._closed = False

    @classmethod
    async def connect(
        cls,
        redis_section: RedisSection,
        queue: QueueSection,
        *,
        url: str | None = None,
        blobs: BlobSection | None = None,
        folder: Path | None = None,
    ) -> "Broker":
        """A broker whose server was found fit; `url` takes the place of `redis.url` (the embedded server's socket).
        With a `folder`, which all processes must share, blobs are files there; without one they are in the broker.

        Raises:
            BrokerUnavailable: if no server answers within `redis.timeout`.
            ConfigError: if the server is too old, drops keys when memory is short, or refuses the password.
        """
        address = Address(url or redis_section.url, redis_section.password, redis_section.timeout)
        broker = cls(address, redis_section, queue, blobs or BlobSection(), folder)
        try:
            await broker._check()
        except BaseException:
            await broker.close()
            raise
        return broker

    async def ping(self) -> bool:
        """Whether the server answers."""
        try:
            return bool(await self.command("PING"))
        except VelesioError:
            return False

    async def close(self) -> None:
        """Fail what is under way and close the connections."""
        self._closed = True
        await stop(self._mender)
        if self._alarm:
            self._alarm.cancel()
        self._fail(lambda _: True)
        await self._line.close()

    def run(self, name: str, *arguments: Argument, retry: bool = True) -> "asyncio.Future[Any]":
        """Call a script; calls made before the next await go out together.

        `retry` sends it again after a lost connection: only for scripts that may run twice.

        Raises:
            BrokerUnavailable: no answer within `redis.timeout`; the script may have run.
            QueueFull: the server is out of memory.
        """
        script = self.scripts[name]
        return self._submit(name, ("EVALSHA", script.sha, 1, self.keys.root, *arguments), retry=retry)

    def command(self, *arguments: Argument, retry: bool = True) -> "asyncio.Future[Any]":
        """Call a command of the server, with the same rules as `run`."""
        return self._submit(str(arguments[0]).lower(), arguments, retry=retry)

    def _submit(self, op: str, arguments: tuple[Argument, ...], *, retry: bool) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        if self._closed:
            raise BrokerUnavailable("This process is closing its connection to the broker.")
        call = _Call(op, pack(arguments), retry=retry, timeout=self.timeout, future=loop.create_future())
        self._waiting.append(call)
        self._stir()
        if self._alarm is None:
            self._alarm = loop.call_later(self.timeout, self._expire)
        return call.future

    def _expire(self) -> None:
        """Fail the calls that waited too long, under way or behind a batch that gets no answer."""
        self._alarm = None
        now = time.perf_counter()
        self._fail(lambda call: call.deadline <= now)
        if self._waiting or self._sending:
            self._alarm = asyncio.get_running_loop().call_later(self.timeout / 8, self._expire)

    def _fail(self, which: Callable[[_Call], bool]) -> None:
        for call in [call for call in self._waiting if which(call)]:
            self._waiting.remove(call)
            call.end(call.failure or BrokerUnavailable())
        for call in self._sending:
            if which(call):
                call.end(call.failure or BrokerUnavailable())  # an answer that comes now is too late

    def _stir(self) -> None:
        """Have what waits sent in the next turn of the event loop, unless something is under way."""
        if self._waiting and not self._stirred and not self._sending and self._mender is None:
            self._stirred = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._stirred = False
        if self._closed or self._sending or self._mender is not None or not self._waiting:
            return
        if not self._line.up:
            self._mend(self._reach())
            return
        self._sending = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
        self._line.send([call.command for call in self._sending], self._hear)

    def _hear(self, found: list[Any] | BaseException) -> None:
        """What became of the batch under way."""
        if isinstance(found, BaseException):
            self._lose(found)
        elif any(isinstance(answer, NoScriptError) for answer in found):
            self._mend(self._teach(found))
        else:
            self._end(found)

    def _end(self, answers: list[Any]) -> None:
        batch, self._sending = self._sending, []
        if self._failures:
            log.info("the broker answers again", address=self.address.public)
            self._failures = 0
        for call, answer in zip(batch, answers, strict=True):
            if isinstance(answer, BusyLoadingError):
                self._again([call], answer)
            else:
                call.end(answer)
        if any(isinstance(answer, BusyLoadingError | ReadOnlyError) for answer in answers):
            self._line.drop()  # starting, or a demoted master: look the address up again
            self._failures += 1
        self._stir()

    def _lose(self, error: BaseException) -> None:
        batch, self._sending = self._sending, []
        self._miss(error)
        self._again(batch, error)
        self._stir()

    def _miss(self, error: BaseException) -> None:
        self._failures += 1
        if self._failures == 1 and not self._closed:
            log.warning("the broker does not answer", address=self.address.public, error=str(error))

    def _again(self, batch: list[_Call], error: BaseException) -> None:
        now = time.perf_counter()
        for call in reversed(batch):
            call.failure = error
            if call.retry and now < call.deadline and not call.future.done():
                self._waiting.appendleft(call)
            else:
                call.end(error)

    def _mend(self, work: Coroutine[Any, Any, None]) -> None:
        self._mender = spawn(work, "broker connection")
        self._mender.add_done_callback(self._mended)

    def _mended(self, mender: "asyncio.Task[None]") -> None:
        self._mender = None
        if not mender.cancelled() and (error := mender.exception()):
            log.error("the connection to the broker cannot be mended", exc_info=error)
        self._stir()

    async def _reach(self) -> None:
        """Connect, again and again while calls wait for it."""
        while self._waiting:
            if self._failures:
                await asyncio.sleep(min(0.2, 0.01 * 2**self._failures) * random.uniform(0.5, 1))  # noqa: S311
            try:
                await self._line.connect()
            except OUTAGES as error:
                self._miss(error)
                for call in self._waiting:
                    call.failure = error
            else:
                return

    async def _teach(self, answers: list[Any]) -> None:
        """The server restarted or failed over and does not know the scripts any more. The calls that it refused for
        that did not run, so sending them again is safe."""
        unknown = [index for index, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        try:
            for name in {self._sending[index].op for index in unknown}:
                await self._line.ask("SCRIPT", "LOAD", self.scripts[name].text)
            again = await self._line.exchange([self._sending[index].command for index in unknown])
        except OUTAGES as error:
            self._lose(error)
            return
        for index, answer in zip(unknown, again, strict=True):
            answers[index] = answer
        self._end(answers)

    async def _check(self) -> None:
        try:
            await self.command("PING")
            await self._check_version()
            await self._check_eviction()
            for script in self.scripts.values():
                await self.command("SCRIPT", "LOAD", script.text)
        except BrokerUnavailable as error:
            reason = error.__cause__ or error
            raise BrokerUnavailable(f"No Redis or Valkey server answers at {self.address.public}: {reason}") from error

    async def _check_version(self) -> None:
        info = facts(await self.command("INFO", "server"))
        version = info.get("redis_version", "0")
        if tuple(int(part) for part in version.split(".")[:2]) < _MINIMUM:
            raise ConfigError(
                f"The server at {self.address.public} is Redis {version}; Velesio needs Redis 7.0 or later, or Valkey."
            )

    async def _check_eviction(self) -> None:
        policy = await self._eviction_policy()
        if policy not in {"noeviction", ""}:
            raise ConfigError(
                f"The server at {self.address.public} has maxmemory-policy {policy}: it would drop jobs when memory is "
                "short. Run `CONFIG SET maxmemory-policy noeviction` there (and write it into its configuration)."
            )

    async def _eviction_policy(self) -> str:
        try:
            found = await self.command("CONFIG", "GET", "maxmemory-policy")
        except VelesioError as error:
            if isinstance(error, BrokerUnavailable):
                raise
            # Managed servers forbid CONFIG but show the policy here.
            return facts(await self.command("INFO", "memory")).get("maxmemory_policy", "")
        return str(next(iter(found.values()), b"").decode()) if isinstance(found, dict) else ""


def facts(text: Any) -> dict[str, str]:
    """What the server's INFO tells, by name."""
    return dict(re.findall(r"^(\w+):(.*?)\r?$", bytes(text).decode(errors="replace"), re.MULTILINE))


def _translate(error: Exception) -> VelesioError:
    """The error that callers see for what the client raised or the server answered."""
    if isinstance(error, VelesioError):
        return error
    text = str(error)
    if isinstance(error, OutOfMemoryError) or text.startswith("OOM"):
        return QueueFull("The broker is out of memory; try again later.", retry_after=5)
    login = (error, error.__cause__)  # while connecting, the client wraps it
    if any(isinstance(reason, AuthenticationError | AuthorizationError) for reason in login):
        return ConfigError(f"The broker refuses the login: {text}. Set redis.password.")
    passing = isinstance(error, BusyLoadingError | ReadOnlyError | redis.exceptions.ClusterDownError)
    if isinstance(error, ResponseError) and not passing and not text.startswith(_DOWN):
        return VelesioError(f"The broker refuses a command: {text}")
    # What the client says names the broker's address, which is nobody's business but the operator's.
    unavailable = BrokerUnavailable(retry_after=2)
    unavailable.__cause__ = error
    return unavailable
