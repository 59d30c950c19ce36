"""The output log of a background job, read from anywhere."""

import asyncio
from contextlib import aclosing

import pytest

from tests.queue.worker import Worker, done, text, until, working
from velesio.errors import JobNotFound
from velesio.jobs import Cancelled, Delta, Event, Failed
from velesio.queue.client import JobQueue
from velesio.queue.outputs import Restarted, Said, follow

QUICK = {"lease": 0.5, "beat": 0.1, "reclaim_interval": 0.1}


async def read(broker, job_id: str, after: int = 0) -> list[Said]:
    return [said async for batch in follow(broker, job_id, after) for said in batch]


def events(said: list[Said]) -> list[Event | Restarted]:
    return [each.event for each in said]


async def written(worker: Worker, lease, *words: str) -> None:
    """One entry for each word."""
    for word in words:
        worker.publisher.publish(lease, Delta(word, (len(word),)))
        while lease.buffered:
            await asyncio.sleep(0.001)


async def test_readers_see_the_whole_output(broker) -> None:
    """Whoever begins to read, before, while or after it is written, sees the same events, and can go on from each."""
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
        assert events(late) == expected
        assert await early == await middle == late
        for place, said in enumerate(late):
            assert await read(broker, job.id, said.id) == late[place + 1 :]


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


@pytest.mark.parametrize("lost", ["the backend cannot continue", "the log has lost its beginning"])
async def test_what_cannot_be_continued_begins_anew(connect, lost: str) -> None:
    """A background job whose worker dies is not lost: its readers are told that what they have is void."""
    broker = await connect(**QUICK)
    first = Worker(broker, "first")
    await first.leases.start()
    await JobQueue(broker).enqueue(job := text(stream=True))
    lease = await first.one()
    await written(first, lease, "one ", "two ")
    async with aclosing(follow(broker, job.id)) as following:
        had = await anext(following)
        await first.die()
        if lost == "the log has lost its beginning":
            [head, *_] = await broker.command("XRANGE", broker.keys.output(job.id), "-", "+")
            await broker.command("XDEL", broker.keys.output(job.id), head[0])
        async with working(broker, "second", can_continue="log" in lost) as second:
            again = await second.one()
            assert again.job.sent == ()
            await written(first, lease, "zombie ")
            await written(second, again, "one ")
            await second.leases.settle(again, done("one two"))
        seen = had + [said async for batch in following for said in batch]
    assert events(seen)[-4:] == [Restarted(), Delta("one ", (4,)), Delta("two"), done("one two")]
    assert [said.id for said in seen] == sorted({said.id for said in seen})
    assert events(await read(broker, job.id)) == [Delta("one ", (4,)), Delta("two"), done("one two")]
    assert await read(broker, job.id, had[-1].id) == seen[-4:]
    await first.publisher.close()


async def test_a_job_queued_again_begins_anew(broker) -> None:
    """Readers of the failure see the new answer, from its beginning; it is a background job whatever it was before."""
    queue = JobQueue(broker)
    async with working(broker) as worker:
        for job in (text(stream=True), text(gateway="gone")):
            await queue.enqueue(job)
            lease = await worker.one()
            await written(worker, lease, "bad ")
            await worker.leases.settle(lease, Failed("job_failed", "x"))
            failed = await read(broker, job.id) if job.stream else []
            assert await queue.requeue(job.id)
            lease = await worker.one()
            await written(worker, lease, "good")
            await worker.leases.settle(lease, done("good"))
            after = failed[-1].id if failed else 0
            expected = [Restarted()] if failed else []
            assert events(await read(broker, job.id, after)) == [*expected, Delta("good", (4,)), done("good")]


async def test_a_job_without_a_log_gives_its_end(broker) -> None:
    """If the log is gone and the record is not, the end brings what was not told; an unknown job has neither."""
    queue = JobQueue(broker)
    await queue.enqueue(job := text(stream=True))
    await queue.cancel(job.id, "no")
    await broker.command("DEL", broker.keys.output(job.id))
    assert events(await read(broker, job.id)) == [Cancelled("no")]
    with pytest.raises(JobNotFound):
        await read(broker, "unknown")


async def test_a_result_that_nobody_keeps_is_not_found(connect) -> None:
    """A result too large for the record is told for as long as its blob is kept."""
    broker = await connect(max_result=100)
    async with working(broker) as worker:
        await JobQueue(broker).enqueue(job := text(stream=True))
        await worker.leases.settle(await worker.one(), done("x" * 200))
    assert events(await read(broker, job.id))[-1] == done("x" * 200)
    await broker.command("DEL", broker.keys.output(job.id))
    assert events(await read(broker, job.id))[-1] == done("x" * 200)
    await broker.command("DEL", broker.keys.blob(f"{job.id}.r"))
    with pytest.raises(JobNotFound, match="not kept any more"):
        await read(broker, job.id)


async def test_a_trimmed_log_does_not_repeat(connect) -> None:
    """A reader that goes on after a piece is told the rest at the end, and nothing twice, when the log has lost it."""
    broker = await connect()
    async with working(broker) as worker:
        await JobQueue(broker).enqueue(job := text(stream=True))
        lease = await worker.one()
        await written(worker, lease, "one ", "two ")
        whole = await asyncio.wait_for(anext(follow(broker, job.id)), 5)
        entries = await broker.command("XRANGE", broker.keys.output(job.id), "-", "+")
        await broker.command("XDEL", broker.keys.output(job.id), entries[0][0], entries[1][0])
        await worker.leases.settle(lease, done("one two three"))
    assert events(await read(broker, job.id, whole[0].id)) == [Delta("two three"), done("one two three")]
    assert events(await read(broker, job.id)) == [Delta("one two three"), done("one two three")]


async def test_a_reader_waits_for_a_broker_that_goes_away(connect) -> None:
    """A cut connection costs time, no event."""
    broker = await connect(**QUICK)
    async with working(broker) as worker:
        await JobQueue(broker).enqueue(job := text(stream=True))
        reading = asyncio.create_task(read(broker, job.id))
        lease = await worker.one()
        await written(worker, lease, "one ")

        async def blocked() -> bool:
            return b"cmd=xread" in bytes(await broker.command("CLIENT", "LIST"))

        await until(blocked)
        await broker.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await written(worker, lease, "two")
        await worker.leases.settle(lease, done("one two"))
        assert events(await reading) == [Delta("one ", (4,)), Delta("two", (3,)), done("one two")]
