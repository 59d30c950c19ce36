"""Pictures through the real queue: a job goes in, events and a PNG file come out."""

import asyncio
from pathlib import Path

from tests.backends.diffusion import tiny
from tests.backends.diffusion.conftest import found
from velesio.config import WorkerSection
from velesio.jobs import Completed, Event, Image, ImageResult, Job, Preview, Progress, Started
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.leases import Leases
from velesio.queue.replies import Inbox, Publisher
from velesio.worker import Worker


async def ask(broker: Broker, models: Path, *jobs: Image) -> list[list[Event]]:
    """Everything that jobs answer which are queued together, by a worker of their own."""
    publisher = Publisher(broker)

    def abort(job_id: str, reason: str) -> None:
        worker.abort(job_id, reason)

    leases = Leases(broker, publisher, "w", abort)
    worker = Worker(WorkerSection(), [found(models)], leases, publisher)
    leases.advertise(worker.residency.cards, worker.facts)
    await leases.start()
    running = asyncio.create_task(worker.run())
    inbox = Inbox(broker, "g")
    await inbox.start()
    try:
        return await asyncio.gather(*(_answer(broker, inbox, params) for params in jobs))
    finally:
        await inbox.close()
        await worker.drain(5.0, asyncio.Event())
        await running
        await leases.close()
        await publisher.close()


async def _answer(broker: Broker, inbox: Inbox, params: Image) -> list[Event]:
    job = Job.new("tiny", params, gateway=inbox.gateway_id, stream=True)
    events: list[Event] = []
    async with asyncio.timeout(60), inbox.watch(job) as watch:
        await JobQueue(broker).enqueue(job)
        async for batch in watch:
            events += batch
    return events


async def test_a_picture_travels_through_the_queue(broker: Broker, models_dir: Path) -> None:
    """`Started`, progress step by step, previews, and a picture whose text says how it was made."""
    [events] = await ask(broker, models_dir, Image("a red fox", steps=4, seed=7, preview_every=2))
    assert isinstance(events[0], Started)
    assert [event.done for event in events if isinstance(event, Progress)] == [1, 2, 3, 4]
    previews = [event for event in events if isinstance(event, Preview)]
    assert [event.done for event in previews] == [2, 4]
    assert all(tiny.pixels(event.picture).ndim == 3 for event in previews)
    assert isinstance(events[-1], Completed)
    result = events[-1].result
    assert isinstance(result, ImageResult)
    assert result.seeds == (7,)
    assert tiny.pixels(result.pictures[0]).shape == (64, 64, 3)
    assert "Steps: 4, Sampler: Euler, Schedule type: Uniform, CFG scale: 7.0, Seed: 7" in result.infotexts[0]


async def test_pictures_that_come_together_are_those_that_come_alone(broker: Broker, models_dir: Path) -> None:
    """Jobs of one queue share steps; that changes none of them."""
    jobs = [Image(f"a fox {number}", steps=3 + number, seed=number) for number in range(3)]
    together = await ask(broker, models_dir, *jobs)
    for params, events in zip(jobs, together, strict=True):
        [alone] = await ask(broker, models_dir, params)
        assert tiny.difference(alone[-1].result.pictures[0], events[-1].result.pictures[0]) <= 1
