"""The queue as a gateway sees it."""

import pytest

from tests.queue.worker import done, text, until, working
from velesio.errors import BadRequest, Conflict, QueueFull, TenantQueueFull
from velesio.jobs import Cancelled, Failed, JobState, Priority
from velesio.queue.client import JobQueue


async def test_a_ticket_tells_the_place(broker) -> None:
    """The position counts the jobs that are ahead; the same job again is a duplicate."""
    queue = JobQueue(broker)
    first, second = text(), text()
    assert (await queue.enqueue(first)).position == 0
    ticket = await queue.enqueue(second)
    assert (ticket.id, ticket.position, ticket.duplicate) == (second.id, 1, False)
    assert (await queue.enqueue(second)).duplicate
    for job in (first, second):
        await queue.cancel(job.id)


async def test_an_idempotency_key_gives_the_same_job(broker) -> None:
    """The same request again gives the first job's ticket, another request under the key is a conflict."""
    queue = JobQueue(broker)
    first = text("a")
    await queue.enqueue(first, idempotency_key="k")
    again = await queue.enqueue(text("a"), idempotency_key="k")
    assert (again.id, again.duplicate) == (first.id, True)
    with pytest.raises(Conflict):
        await queue.enqueue(text("b"), idempotency_key="k")
    await queue.cancel(first.id)


async def test_refusals_say_when_to_come_back(connect) -> None:
    """A full queue is 503, a tenant's full share 429, both with the depth and a time to wait."""
    queue = JobQueue(await connect(cap=2, tenant_cap=1))
    jobs = [text(tenant="a"), text(tenant="b")]
    await queue.enqueue(jobs[0])
    with pytest.raises(TenantQueueFull) as tenant:
        await queue.enqueue(text(tenant="a"))
    await queue.enqueue(jobs[1])
    with pytest.raises(QueueFull) as full:
        await queue.enqueue(text(tenant="c"))
    assert (tenant.value.details["depth"], full.value.details["depth"]) == (1, 2)
    assert 1 <= full.value.retry_after <= 60
    for job in jobs:
        await queue.cancel(job.id)


async def test_a_large_request_is_refused(connect) -> None:
    """Params beyond queue.max_payload never reach the broker."""
    queue = JobQueue(await connect(max_payload=100))
    with pytest.raises(BadRequest, match="max_payload"):
        await queue.enqueue(text("x" * 101))


async def test_the_record_follows_the_job(broker) -> None:
    """Queued, running, done: with times, worker, attempts and result."""
    queue = JobQueue(broker)
    assert await queue.record("unknown") is None
    job = text(priority=Priority.BATCH, tenant="t")
    await queue.enqueue(job)
    waiting = await queue.record(job.id)
    assert (waiting.state, waiting.tenant, waiting.priority) == (JobState.QUEUED, "t", Priority.BATCH)
    assert (waiting.attempts, waiting.started, waiting.ended, waiting.result) == (0, 0, 0, None)
    async with working(broker) as worker:
        lease = await worker.one()
        running = await queue.record(job.id)
        assert (running.state, running.worker, running.attempts) == (JobState.RUNNING, worker.leases.owner, 1)
        await worker.leases.settle(lease, done("x"))
    ended = await queue.record(job.id)
    assert (ended.state, ended.result) == (JobState.DONE, done("x"))
    assert ended.enqueued <= ended.started <= ended.ended < ended.deadline


async def test_a_scheduled_job_starts_later(connect) -> None:
    """A delay is kept, and then the job runs without anybody's help."""
    broker = await connect(reclaim_interval=0.05)
    queue = JobQueue(broker)
    job = text()
    await queue.enqueue(job, delay=0.3)
    async with working(broker) as worker:
        assert await worker.take(wait=0.1) == []
        assert (await queue.record(job.id)).state is JobState.SCHEDULED
        await worker.leases.settle(await worker.one(), done())


async def test_status_counts_jobs(broker) -> None:
    """Waiting by priority, running, ended."""
    queue = JobQueue(broker)
    jobs = [text(priority=priority) for priority in (0, 1, 1, 2)]
    for job in jobs:
        await queue.enqueue(job)
    async with working(broker) as worker:
        lease = await worker.one()
        [depth] = (await queue.status()).models
        assert (depth.model, depth.capability, depth.waiting, depth.running) == ("m", "text", (0, 2, 1), 1)
        await worker.leases.settle(lease, Cancelled())
        for job in jobs[1:]:
            await queue.cancel(job.id)
        [depth] = (await queue.status()).models
        assert (depth.waiting, depth.running, depth.done, depth.failed, depth.cancelled) == ((0, 0, 0), 0, 0, 0, 4)


async def test_recent_lists_by_state(broker) -> None:
    """Ended jobs newest first, live ones as they are."""
    queue = JobQueue(broker)
    jobs = [text(f"{number}") for number in range(3)]
    for job in jobs:
        await queue.enqueue(job)
    assert {record.id for record in await queue.recent(JobState.QUEUED)} == {job.id for job in jobs}
    for job in jobs[:2]:
        await queue.cancel(job.id)
    assert [record.id for record in await queue.recent(JobState.CANCELLED)] == [jobs[1].id, jobs[0].id]
    assert [record.id for record in await queue.recent(JobState.CANCELLED, 1)] == [jobs[1].id]
    await queue.cancel(jobs[2].id)


async def test_a_dead_letter_can_be_queued_again(broker) -> None:
    """Requeue runs a failed job again; a done one is not touched."""
    queue = JobQueue(broker)
    job = text()
    await queue.enqueue(job)
    async with working(broker) as worker:
        await worker.leases.settle(await worker.one(), Failed("job_failed", "x"))
        assert await queue.requeue(job.id)
        assert not await queue.requeue(job.id)
        lease = await worker.one()
        assert lease.job.params == job.params
        await worker.leases.settle(lease, done())
        assert not await queue.requeue(job.id)


async def test_an_unanswered_enqueue_is_cancelled_later(broker) -> None:
    """A job that was refused because the broker did not answer does not run when the broker is back."""
    from tests.queue.worker import serving
    from velesio.errors import BrokerUnavailable

    async with serving(broker) as gateway:
        job = gateway.job()
        real = broker.run

        async def unanswered(name, *arguments, **options):
            await real(name, *arguments, **options)
            raise BrokerUnavailable

        broker.run = unanswered
        with pytest.raises(BrokerUnavailable):
            await gateway.queue.enqueue(job)
        broker.run = real
        await gateway.inbox._beat()

        async def cancelled() -> bool:
            return (await gateway.queue.record(job.id)).state is JobState.CANCELLED

        await until(cancelled)
