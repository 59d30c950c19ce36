"""Who lives and what is served."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from tests.queue.worker import Worker, done, text, until, working
from velesio.backends.base import ModelCard
from velesio.errors import ModelNotFound, NoWorker
from velesio.queue.client import JobQueue
from velesio.queue.registry import Registry

ALPHA = ModelCard(name="alpha", backend="echo", capability="text", aliases=("first",))
DRAW = ModelCard(name="draw", backend="echo", capability="image")


@asynccontextmanager
async def knowing(broker):
    registry = Registry(broker)
    await registry.start()
    try:
        yield registry
    finally:
        await registry.close()


async def test_models_are_found_by_name_alias_and_capability(broker) -> None:
    """An empty name is the default of the capability; an unknown one is told what is near."""
    worker = Worker(broker)
    worker.leases.advertise([ALPHA, DRAW], dict)
    await worker.leases.start()
    async with knowing(broker) as registry:
        assert registry.find("alpha") == registry.find("first") == registry.find("") == ALPHA
        assert registry.find("", "image") == DRAW
        assert [card.name for card in registry.cards()] == ["alpha", "draw"]
        assert registry.serving("first")
        with pytest.raises(ModelNotFound, match="alpha"):
            registry.find("alfa")
        with pytest.raises(ModelNotFound):
            registry.find("alpha", "image")
    await worker.close()


async def test_a_gone_model_is_known_but_not_served(broker) -> None:
    """After its last worker left, a model is NoWorker, for gateways that start later too; never seen is not found."""
    async with knowing(broker) as registry, working(broker):
        await until(lambda: registry.serving("m"))
    async with knowing(broker) as later:
        with pytest.raises(NoWorker):
            later.find("m")
        with pytest.raises(NoWorker):
            later.find("")
        with pytest.raises(ModelNotFound):
            later.find("never")


async def test_joins_and_leaves_are_seen_at_once(broker) -> None:
    """A change is told within a moment, not at the next reading."""
    async with knowing(broker) as registry:
        changed = asyncio.create_task(registry.changed(5))
        await asyncio.sleep(0)
        async with working(broker, info={"loaded": ["m"]}) as worker:
            assert await asyncio.wait_for(changed, 0.8)
            [info] = registry.workers()
            assert (info.id, info.name, info.state, info.slots) == (worker.leases.owner, "w", "ready", 4)
            assert info.info == {"loaded": ["m"]}
            changed = asyncio.create_task(registry.changed(5))
            await asyncio.sleep(0)
        assert await asyncio.wait_for(changed, 0.8)
        assert registry.workers() == []
        assert not await registry.changed(0.05)


async def test_a_quiet_worker_serves_nothing_new(broker) -> None:
    """Its models are not offered, while it is still listed."""
    async with knowing(broker) as registry, working(broker) as worker:
        await until(lambda: registry.serving("m"))
        await worker.leases.quiet()
        await until(lambda: not registry.serving("m"))
        assert [info.state for info in registry.workers()] == ["quiet"]


async def test_a_silent_worker_disappears(connect) -> None:
    """After three beats without a word."""
    broker = await connect(lease=0.5, beat=0.1)
    worker = Worker(broker)
    await worker.leases.start()
    async with knowing(broker) as registry:
        assert registry.workers()
        await worker.die()
        await until(lambda: not registry.workers())


async def test_a_worker_can_be_told_to_rest(connect) -> None:
    """It takes nothing until it is told to go on, keeps what it has, and is shown as quiet."""
    broker = await connect(lease=1.0, beat=0.2)
    async with knowing(broker) as registry, working(broker) as worker:
        await until(registry.workers)
        assert await registry.quiet("nobody") == []
        assert await registry.quiet("w") == [worker.leases.owner]
        await until(lambda: [info.state for info in registry.workers()] == ["quiet"])
        await JobQueue(broker).enqueue(text())
        assert await worker.take(wait=0.3) == []
        assert await registry.resume(worker.leases.owner) == [worker.leases.owner]
        await until(lambda: registry.serving("m"))
        await worker.leases.settle(await worker.one(), done())


async def test_a_worker_can_be_told_to_leave(connect) -> None:
    """It hears so once, takes nothing from then on, and its order goes with it."""
    broker = await connect(lease=1.0, beat=0.2)
    async with knowing(broker) as registry:
        async with working(broker) as worker, working(broker, "other") as other:
            await until(lambda: len(registry.workers()) == 2)
            assert await registry.drain("nobody") == []
            assert await registry.drain("w") == [worker.leases.owner]
            await asyncio.wait_for(worker.told_to_leave.wait(), 5)
            await JobQueue(broker).enqueue(text())
            assert await worker.take(wait=0.3) == []
            assert not other.told_to_leave.is_set()
            await other.leases.settle(await other.one(), done())
        assert not await broker.command("EXISTS", broker.keys.quiet(worker.leases.owner))
