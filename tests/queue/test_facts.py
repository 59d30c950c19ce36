"""What operators may see of jobs."""

import time

from tests.queue.worker import done, text, working
from velesio.jobs import Failed
from velesio.queue import facts
from velesio.queue.client import JobQueue


async def test_a_timeline_tells_each_attempt(connect) -> None:
    """Given back, tried again, failed, queued again, done: in this order, with workers, numbers and reasons."""
    broker = await connect(retry_delay=0.01, max_attempts=2)
    queue = JobQueue(broker)
    async with working(broker) as worker:
        await queue.enqueue(job := text())
        await worker.leases.release(await worker.one())
        await worker.leases.settle(await worker.one(), Failed("job_failed", "first", retry=True))
        await worker.leases.settle(await worker.one(), Failed("out_of_memory", "second", retry=True))
        assert await queue.requeue(job.id)
        lease = await worker.one()
        lease.spoke = time.monotonic()
        await worker.leases.settle(lease, done())
    record = await queue.record(job.id)
    line = facts.timeline(record)
    assert [(each["event"], each.get("attempt"), each.get("reason")) for each in line] == [
        ("queued", None, None),
        ("leased", 1, None),
        ("released", None, None),
        ("leased", 2, None),
        ("retried", None, "job_failed: first"),
        ("leased", 3, None),
        ("failed", None, "out_of_memory: second"),
        ("requeued", None, None),
        ("leased", 4, None),
        ("first_text", None, None),
        ("completed", None, None),
    ]
    assert {each["worker"] for each in line if "worker" in each} == {worker.leases.owner}
    times = [each["at"] for each in line]
    assert times == sorted(times)


async def test_a_lost_attempt_is_told(driver) -> None:
    """The job that ran with a worker that died waits again."""
    driver.enqueue("a")
    [lease] = driver.take()
    driver.now += 5
    driver.expire(lease)
    driver.sweep()
    assert driver.state("a") == "q"
    past = driver.client.hget(driver.keys.job("a"), "past")
    assert b"lost" in past
    driver.cancel("a")


async def test_a_failed_job_tells_why(broker) -> None:
    """Code, reason and traceback; lists without results have the first two."""
    queue = JobQueue(broker)
    async with working(broker) as worker:
        await queue.enqueue(job := text())
        await worker.leases.settle(await worker.one(), Failed("job_failed", "why: so", traceback="here"))
    told = facts.of_job(await queue.record(job.id))
    assert (told["code"], told["reason"], told["traceback"]) == ("job_failed", "why: so", "here")
    assert facts.timeline(await queue.record(job.id))[-1]["reason"] == "job_failed: why: so"
