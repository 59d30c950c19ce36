"""Wishes on their way to workers."""

import asyncio

import pytest

from tests.queue.test_registry import knowing
from tests.queue.worker import until, working
from velesio.errors import DeadlineExceeded, ModelLoadFailed, NoWorker
from velesio.queue import wishes
from velesio.states import ModelState


async def test_a_wish_is_heard_once_however_often_it_is_read(connect) -> None:
    """Beats read it again and again, as they must where an answer may get lost; a new wish is heard as well."""
    broker = await connect(lease=1.0, beat=0.05)
    async with working(broker) as worker, knowing(broker) as registry:
        await until(registry.workers)
        await wishes.load(broker, registry, "m", keep_alive=7.0)
        await until(lambda: worker.wishes)
        beat = registry.workers()[0].beat
        await until(lambda: registry.workers()[0].beat > beat + 0.2)
        assert [(wish.model, wish.loaded, wish.keep_alive) for wish in worker.wishes] == [("m", True, 7.0)]
        await wishes.load(broker, registry, "m")
        await until(lambda: len(worker.wishes) == 2)


async def test_a_message_that_is_lost_costs_a_beat(connect) -> None:
    """A worker that did not hear the hint finds the wish at its next beat."""
    broker = await connect(lease=1.0, beat=0.2)
    async with working(broker) as worker, knowing(broker) as registry:
        await until(registry.workers)
        await worker.leases._orders.close()
        await wishes.load(broker, registry, "m")
        await until(lambda: worker.wishes)


async def test_a_wish_does_not_outlive_its_worker(broker) -> None:
    """It goes when the worker leaves, and by itself in any case."""
    async with knowing(broker) as registry:
        async with working(broker) as worker:
            await until(registry.workers)
            await wishes.load(broker, registry, "m")
            key = broker.keys.wishes(worker.leases.owner)
            assert 0 < await broker.command("TTL", key) <= 60
        assert not await broker.command("EXISTS", key)


async def test_a_later_wish_takes_the_place_of_an_earlier_one(broker) -> None:
    """Who waits for the earlier one does not wait for ever: the worker shows that it is past it."""
    info: dict[str, object] = {}
    async with working(broker, info=info) as worker, knowing(broker) as registry:
        await until(registry.workers)
        earlier = await wishes.load(broker, registry, "m")
        later = await wishes.load(broker, registry, "m")
        info["models"] = {"m": ModelState(state="loaded", wish=later.wish.number)}
        worker.leases.announce()
        [state] = await wishes.fulfilled(registry, earlier, 5)
        assert state.state == "loaded"


async def test_waiting_ends_with_the_reason(broker) -> None:
    """A load that failed, a worker that has left, and one that takes too long are told apart."""
    info: dict[str, object] = {}
    async with knowing(broker) as registry:
        async with working(broker, info=info) as worker:
            await until(registry.workers)
            told = await wishes.load(broker, registry, "m")
            with pytest.raises(DeadlineExceeded, match="m: not loaded within"):
                await wishes.fulfilled(registry, told, 0.05)
            waiting = asyncio.create_task(wishes.fulfilled(registry, told, 5))
            info["models"] = {"m": ModelState(state="failed", wish=told.wish.number, reason="no such file")}
            worker.leases.announce()
            with pytest.raises(ModelLoadFailed, match="no such file"):
                await waiting
            told = await wishes.load(broker, registry, "m")
        with pytest.raises(NoWorker):
            await wishes.fulfilled(registry, told, 5)
        with pytest.raises(NoWorker):
            await wishes.load(broker, registry, "m")
