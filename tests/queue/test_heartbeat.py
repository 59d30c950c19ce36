"""Renewal from a thread of its own."""

import asyncio
import time

from tests.queue.worker import done, text, until, working
from velesio.queue.client import JobQueue


async def test_a_blocked_event_loop_keeps_its_leases(connect) -> None:
    """While the loop of a worker stands still for several leases, the beat goes on."""
    broker = await connect(lease=0.4, beat=0.1, reclaim_interval=0.1)
    async with working(broker) as worker:
        await JobQueue(broker).enqueue(text())
        lease = await worker.one()
        time.sleep(1.5)
        await broker.run("sweep", 0, 1)
        assert await worker.leases.settle(lease, done())


async def test_scripts_and_registration_come_back_after_a_flush(connect) -> None:
    """A server that lost everything has the worker again after the next beat."""
    broker = await connect(lease=0.4, beat=0.1)
    async with working(broker) as worker:
        await broker.command("SCRIPT", "FLUSH")
        await broker.command("FLUSHALL")

        async def registered() -> bool:
            return [line[0].decode() for line in await broker.run("workers", 0)] == [worker.leases.owner]

        await until(registered)


async def test_a_description_that_fails_does_not_stop_the_beat(connect) -> None:
    """A defect in what the worker says of itself costs no lease."""
    broker = await connect(lease=0.4, beat=0.1)
    async with working(broker, info={"bad": object()}) as worker:
        await JobQueue(broker).enqueue(text())
        lease = await worker.one()
        time.sleep(0.8)
        await broker.run("sweep", 0, 1)
        assert await worker.leases.settle(lease, done())


async def test_a_beat_that_fails_is_tried_again_and_told_if_it_goes_on(connect, monkeypatch) -> None:
    """A defect in one beat costs no lease and tells nobody; one in each beat is told once, with the error."""
    broker = await connect(lease=2.0, beat=0.05)
    async with working(broker) as worker:
        heart, defects = worker.leases._heart, [TypeError("once")]
        beat, beaten = heart._beat, asyncio.Event()
        loop = asyncio.get_running_loop()

        def failing() -> None:
            if defects:
                raise defects[0] if len(defects) > 1 else defects.pop()
            beat()
            loop.call_soon_threadsafe(beaten.set)

        monkeypatch.setattr(heart, "_beat", failing)
        await asyncio.wait_for(beaten.wait(), 5)
        assert worker.died == []
        defects.extend([TypeError("always"), TypeError()])
        await until(lambda: worker.died)
        assert [str(error) for error in worker.died] == ["always"]
        defects.clear()
