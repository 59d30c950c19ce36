"""Depth: what one enqueue and one take cost while few and while many jobs wait, in one interleaved run."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from benches.figures import Depth, percentile
from velesio.backends.base import ModelCard
from velesio.config import QueueSection, RedisSection
from velesio.errors import VelesioError
from velesio.jobs import Completed, Completion, Job, TextResult
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.leases import Lease, Leases
from velesio.queue.replies import Publisher

SHALLOW, DEEP = 10, 10_000
_MODEL = "noop"
_TENANTS = 10
_DONE = Completed(TextResult(""))
_BATCH = 500


def measure(url: str, samples: int) -> Depth:
    """Medians of `samples` calls at each depth; the two queues are installations of their own on one server."""
    return asyncio.run(_measure(url, samples))


async def _measure(url: str, samples: int) -> Depth:
    async with installation(url, "shallow", SHALLOW) as shallow, installation(url, "deep", DEEP) as deep:
        for _ in range(20):  # connections, caches of scripts
            await shallow.turn()
            await deep.turn()
        shallow.forget()
        deep.forget()
        for _ in range(samples):
            await shallow.turn()
            await deep.turn()
        return Depth(
            shallow_jobs=SHALLOW,
            deep_jobs=DEEP,
            samples=samples,
            enqueue_shallow_ms=percentile(shallow.enqueues, 0.5),
            enqueue_deep_ms=percentile(deep.enqueues, 0.5),
            take_shallow_ms=percentile(shallow.takes, 0.5),
            take_deep_ms=percentile(deep.takes, 0.5),
        )


class Installation:
    """A queue that is kept at its depth: each turn puts one job in and takes one out."""

    def __init__(self, queue: JobQueue, leases: Leases, prompt: str) -> None:
        self._queue = queue
        self._leases = leases
        self._params = Completion(prompt=prompt)
        self._count = 0
        self.enqueues: list[float] = []
        self.takes: list[float] = []
        self.settlements: list[float] = []
        """Milliseconds of each."""

    async def fill(self, jobs: int) -> None:
        """Queues jobs of several tenants in turn."""
        for begin in range(0, jobs, _BATCH):
            await asyncio.gather(*(self._queue.enqueue(self._job()) for _ in range(begin, min(begin + _BATCH, jobs))))

    async def turn(self) -> None:
        """One enqueue, one take and one settlement, timed."""
        job = self._job()
        began = time.perf_counter()
        await self._queue.enqueue(job)
        enqueued = time.perf_counter()
        leases = await self._leases.take({_MODEL: 1})
        taken = time.perf_counter()
        self.enqueues.append((enqueued - began) * 1000)
        self.takes.append((taken - enqueued) * 1000)
        await self._settle(leases)
        self.settlements.append((time.perf_counter() - taken) * 1000)

    def forget(self) -> None:
        """Drops what was timed so far."""
        self.enqueues.clear()
        self.takes.clear()
        self.settlements.clear()

    async def _settle(self, leases: list[Lease]) -> None:
        if len(leases) != 1:
            raise VelesioError(f"{len(leases)} leases instead of one")
        if not await self._leases.settle(leases[0], _DONE):
            raise VelesioError("a lease was lost")

    def _job(self) -> Job:
        self._count += 1
        return Job.new(_MODEL, self._params, tenant=f"tenant-{self._count % _TENANTS}")


@contextlib.asynccontextmanager
async def installation(
    url: str, prefix: str, depth: int, *, room: int = 4 * DEEP, prompt: str = ""
) -> AsyncIterator[Installation]:
    """A queue of its own on a server, with `depth` jobs in it and room for so many; all have this prompt."""
    settings = QueueSection(cap=room, tenant_cap=room)  # the defaults would refuse so many
    broker = await Broker.connect(RedisSection(url=url, prefix=prefix), settings)
    publisher = Publisher(broker)
    leases = Leases(broker, publisher, "bench", lambda job_id, reason: None)  # noqa: ARG005 - nothing is cancelled
    leases.advertise([ModelCard(name=_MODEL, backend="echo", capability="text")], dict)
    try:
        await leases.start()
        made = Installation(JobQueue(broker), leases, prompt)
        await made.fill(depth)
        yield made
    finally:
        await leases.close()
        await publisher.close()
        await broker.close()
