"""The output log of a background job, read from anywhere."""

import asyncio

import pytest

from tests.queue.worker import Worker, done, text, working
from velesio.errors import JobNotFound
from velesio.jobs import Cancelled, Delta, Event
from velesio.queue.client import JobQueue
from velesio.queue.outputs import Piece, follow

QUICK = {"lease": 0.5, "beat": 0.1, "reclaim_interval": 0.1}


async def read(broker, job_id: str, after: str = "") -> list[Piece]:
    return [piece async for piece in follow(broker, job_id, after)]


def events(pieces: list[Piece]) -> list[Event]:
    return [event for piece in pieces for event in piece.events]


async def written(worker: Worker, lease, *words: str) -> None:
    """One entry for each word."""
    for word in words:
        worker.publisher.publish(lease, Delta(word, (len(word),)))
        while lease.buffered:
            await asyncio.sleep(0.001)


async def test_readers_see_the_whole_output(broker) -> None:
    """Whoever begins to read, before, while or after it is written, sees the same events."""
    async with working(broker) as worker:
        await JobQueue(broker).enqueue(job := text(stream=True))
        early = asyncio.create_task(read(broker, job.id))
        lease = await worker.one()
        await written(worker, lease, "one ", "two ")
        middle = asyncio.create_task(read(broker, job.id))
        await written(worker, lease, "three")
        await worker.leases.settle(lease, done("one two three"))
        late = await read(broker, job.id)
        expected = [Delta("one ", (4,)), Delta("two ", (4,)), Delta("three", (5,)), done("one two three")]
        assert events(await early) == events(await middle) == events(late) == expected
        for place, piece in enumerate(late[:-1]):
            assert events(await read(broker, job.id, piece.id)) == events(late[place + 1 :])


async def test_a_continued_job_reads_as_one(connect) -> None:
    """Attempts of several workers make one text, for each reader alike, whatever the dead one still wrote."""
    broker = await connect(**QUICK)
    first = Worker(broker, "first")
    await first.leases.start()
    await JobQueue(broker).enqueue(job := text(stream=True))
    lease = await first.one()
    await written(first, lease, "one ")
    await first.die()
    async with working(broker, "second") as second:
        again = await second.one()
        assert again.job.sent == (4,)
        await written(first, lease, "zombie ")
        await written(second, again, "two")
        await second.leases.settle(again, done("one two"))
    assert events(await read(broker, job.id)) == [Delta("one ", (4,)), Delta("two", (3,)), done("one two")]
    await first.publisher.close()


async def test_a_job_without_a_log_gives_its_end(broker) -> None:
    """If the log is gone and the record is not, its final event is all there is; of an unknown job nothing."""
    queue = JobQueue(broker)
    await queue.enqueue(job := text(stream=True))
    await queue.cancel(job.id, "no")
    await broker.command("DEL", broker.keys.output(job.id))
    assert events(await read(broker, job.id)) == [Cancelled("no")]
    with pytest.raises(JobNotFound):
        await read(broker, "unknown")


async def test_a_trimmed_log_does_not_repeat(connect) -> None:
    """A reader that goes on after a piece is not told the beginning again because the log has lost it."""
    broker = await connect()
    async with working(broker) as worker:
        await JobQueue(broker).enqueue(job := text(stream=True))
        lease = await worker.one()
        await written(worker, lease, "one ", "two ")
        [first, *_] = await broker.command("XRANGE", broker.keys.output(job.id), "-", "+")
        await broker.command("XDEL", broker.keys.output(job.id), first[0])
        await worker.leases.settle(lease, done("one two "))
    assert events(await read(broker, job.id, first[0].decode())) == [done("one two ")]
    assert events(await read(broker, job.id)) == [Delta("one two "), done("one two ")]
