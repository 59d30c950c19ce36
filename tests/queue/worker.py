"""A worker and a gateway on the real broker, as small as they can be."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from velesio.backends.base import ModelCard
from velesio.jobs import Completed, Completion, Event, Job, TextResult
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.leases import Lease, Leases
from velesio.queue.replies import Inbox, Publisher, Watch
from velesio.states import Wish

CARD = ModelCard(name="m", backend="echo", capability="text", slots=4, can_continue=True)


def text(prompt: str = "hello", **fields: Any) -> Job:
    return Job.new("m", Completion(prompt=prompt), **fields)


def done(words: str = "", tokens: tuple[int, ...] = ()) -> Completed:
    return Completed(TextResult(words, tokens))


class Worker:
    """Leases and publisher with what the tests look at."""

    def __init__(
        self, broker: Broker, name: str = "w", *, can_continue: bool = True, info: dict[str, Any] | None = None
    ):
        self.aborted: list[tuple[str, str]] = []
        self.told_to_leave = asyncio.Event()
        self.died: list[Exception] = []
        self.wishes: list[Wish] = []
        self.publisher = Publisher(broker)
        self.leases = Leases(
            broker,
            self.publisher,
            name,
            lambda job, reason: self.aborted.append((job, reason)),
            self.told_to_leave.set,
            on_wish=self.wishes.append,
            on_death=self.died.append,
        )
        card = ModelCard(name="m", backend="echo", capability="text", slots=4, can_continue=can_continue)
        self.leases.advertise([card], lambda: info or {})

    async def take(self, room: int = 1, wait: float = 5.0) -> list[Lease]:
        return await self.leases.take({"m": room}, wait=wait)

    async def one(self) -> Lease:
        """The next lease; fails after five seconds."""
        until = asyncio.get_running_loop().time() + 5
        while asyncio.get_running_loop().time() < until:
            for lease in await self.take():
                return lease
        raise AssertionError("no lease")

    async def close(self) -> None:
        await self.leases.close()
        await self.publisher.close()

    async def die(self) -> None:
        """Stop without giving anything back, as a killed process would."""
        leases = self.leases
        leases._heart.stop()
        await asyncio.to_thread(leases._heart.join)
        await leases._sweeper.close()
        await leases._orders.close()
        await leases._wake.close()


@asynccontextmanager
async def working(broker: Broker, name: str = "w", **options: Any) -> AsyncIterator[Worker]:
    worker = Worker(broker, name, **options)
    await worker.leases.start()
    try:
        yield worker
    finally:
        await worker.close()


class Gateway:
    def __init__(self, broker: Broker, name: str = "g") -> None:
        self.queue = JobQueue(broker)
        self.inbox = Inbox(broker, name)
        self.name = name

    def job(self, prompt: str = "hello", **fields: Any) -> Job:
        return text(prompt, gateway=self.name, **fields)

    async def ask(self, job: Job) -> list[Event]:
        async with self.inbox.watch(job) as watch:
            await self.queue.enqueue(job)
            return await collect(watch)


async def collect(watch: Watch) -> list[Event]:
    return [event async for batch in watch for event in batch]


@asynccontextmanager
async def serving(broker: Broker, name: str = "g") -> AsyncIterator[Gateway]:
    gateway = Gateway(broker, name)
    await gateway.inbox.start()
    try:
        yield gateway
    finally:
        await gateway.inbox.close()


async def until(condition: Callable[[], Any] | Callable[[], Awaitable[Any]], timeout: float = 5.0) -> None:
    """Wait until something observable holds."""
    end = asyncio.get_running_loop().time() + timeout
    while True:
        found = condition()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert asyncio.get_running_loop().time() < end, "it did not happen"
        await asyncio.sleep(0.01)
