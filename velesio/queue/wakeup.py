"""Wake-up: the tokens that tell an idle worker that a queue has got a job, over a connection of its own."""

import asyncio
import random
from typing import Any

from velesio.queue.broker import Broker
from velesio.queue.line import OUTAGES, pack
from velesio.queue.tasks import spawn, stop

_WAIT = 2.0


class WakeUp:
    """Waits for tokens of the queues that a worker serves and does not know to hold jobs."""

    def __init__(self, broker: Broker) -> None:
        self.ready: set[tuple[str, str]] = set()
        """Capability and model of queues that may hold jobs."""
        self._broker = broker
        self._served: dict[str, tuple[str, str]] = {}
        self._line = broker.address.blocking(_WAIT)
        self._keys: list[str] = []
        """What is waited for at the server, whether or not somebody waits for that here."""
        self._mender: asyncio.Task[None] | None = None
        self._waiter: asyncio.Future[bool] | None = None
        self._closed = False

    def serve(self, queues: list[tuple[str, str]]) -> None:
        """These queues from now on; each may hold jobs."""
        self._served = {self._broker.keys.wake(*queue): queue for queue in queues}
        self.ready = set(queues)

    def found(self, asked: list[tuple[str, str]], left: set[str]) -> None:
        """After a look into the queues of `asked`: those in `left` still hold jobs."""
        for queue in asked:
            if ":".join(queue) in left:
                self.ready.add(queue)
            else:
                self.ready.discard(queue)

    async def wait(self, longest: float) -> bool:
        """Whether a queue became ready within so many seconds. At most one task waits at a time."""
        if self._closed:
            return False
        keys = self._missing()
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        alarm = loop.call_later(longest if keys else min(longest, 0.1), self._ring, False)
        self._go_on()
        try:
            return await waiter
        finally:
            alarm.cancel()
            self._waiter = None

    def interrupt(self) -> None:
        """End a wait under way."""
        self._ring(False)

    async def close(self) -> None:
        """Hang up."""
        self._closed = True
        self._ring(False)
        await stop(self._mender)
        await self._line.close()

    def _ring(self, ready: bool) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(ready)

    def _missing(self) -> list[str]:
        """Where tokens of queues that are not known to hold jobs come."""
        return [key for key, queue in self._served.items() if queue not in self.ready]

    def _listen(self, keys: list[str]) -> None:
        """Wait for tokens at the server; that outlives the call of `wait`, so that no token is lost with it."""
        if self._mender or (self._keys and set(keys) <= set(self._keys)):
            return
        if self._keys:  # a wait at the server ends only with its connection
            self._keys = []
            self._line.drop()
        if self._line.up:
            self._keys = keys
            self._line.send([pack(("BLPOP", *keys, _WAIT))], self._hear)
        else:
            self._mender = spawn(self._reach(0.0), "wake up")

    def _hear(self, found: list[Any] | BaseException) -> None:
        if not self._keys:
            return  # it was given up
        self._keys = []
        answer = found[0] if isinstance(found, list) else found
        if isinstance(answer, BaseException):
            if not self._closed:
                self._mender = spawn(self._reach(_pause()), "wake up")
        elif answer and (queue := self._served.get(answer[0].decode())):
            self.ready.add(queue)
            self._ring(True)
        else:
            self._go_on()

    def _go_on(self) -> None:
        if self._waiter and not self._closed and (keys := self._missing()):
            self._listen(keys)

    async def _reach(self, pause: float) -> None:
        try:
            while True:
                await asyncio.sleep(pause)
                try:
                    await self._line.connect()
                except OUTAGES:
                    pause = _pause()
                else:
                    break
        finally:
            self._mender = None
        self._go_on()


def _pause() -> float:
    return random.uniform(0.1, 0.3)  # noqa: S311 - spreads the workers' return
