"""The queue as a gateway sees it."""

import asyncio
import time

import pytest

from tests.queue.worker import done, text, until, working
from velesio.errors import Conflict, KeyReused, QueueFull, TenantQueueFull
from velesio.jobs import Cancelled, Failed, JobState, Priority
from velesio.queue.client import JobQueue, Place


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
    assert (tenant.value.details["position"], full.value.details["position"]) == (1, 2)
    assert (tenant.value.details["eta"], full.value.details["eta"]) == (None, None)
    assert 1 <= full.value.retry_after <= 60
    for job in jobs:
        await queue.cancel(job.id)


async def test_waiting_has_an_end_in_sight(connect) -> None:
    """From the time that jobs take and how many run at once follows when the next ones begin; refusals tell it too."""
    broker = await connect(cap=3)
    queue = JobQueue(broker)
    async with working(broker) as worker:
        for seconds in (2.0, 2.0, 1.2):
            job = text()
            assert (await queue.enqueue(job)).eta is None
            lease = await worker.one()
            await broker.command("HSET", broker.keys.job(job.id), "beg", round((time.time() - seconds) * 1000))
            await worker.leases.settle(lease, done())
        jobs = [text(f"{number}") for number in range(5)]
        for job in jobs[:2]:
            await queue.enqueue(job)
        leases = [await worker.one(), await worker.one()]
        tickets = [await queue.enqueue(job) for job in jobs[2:]]
        assert [ticket.position for ticket in tickets] == [0, 1, 2]
        assert [ticket.eta for ticket in tickets] == pytest.approx([0.95, 1.9, 2.85], abs=0.2)
        assert await queue.place(jobs[4].id) == Place(2, tickets[2].eta)
        assert await queue.place(jobs[0].id) == await queue.place("unknown") == Place()
        with pytest.raises(QueueFull) as full:
            await queue.enqueue(text())
        assert full.value.details["eta"] == pytest.approx(3.8, abs=0.2)
        for job in jobs[2:]:
            await queue.cancel(job.id)
        for lease in leases:
            await worker.leases.settle(lease, done())


async def test_a_scheduled_job_knows_when_it_is_due(broker) -> None:
    """It stands nowhere in the queue, but its time is known."""
    queue = JobQueue(broker)
    await queue.enqueue(job := text(), delay=30)
    place = await queue.place(job.id)
    assert place.position is None
    assert place.eta == pytest.approx(30, abs=1)
    await queue.cancel(job.id)


async def test_the_request_is_kept_beside_the_job(connect) -> None:
    """What was asked is there until the result expires; the params until the job is done."""
    queue = JobQueue(await connect(max_payload=100))
    async with working(queue._broker) as worker:
        job = text("hello", request=b"as it came")
        await queue.enqueue(job)
        assert (await queue.params(job.id), await queue.request(job.id)) == (job.params, b"as it came")
        await worker.leases.settle(await worker.one(), done())
        assert (await queue.params(job.id), await queue.request(job.id)) == (None, b"as it came")
    assert await queue.request("unknown") == b""


async def test_a_fingerprint_of_the_callers_own(broker) -> None:
    """Whoever knows more of a request than its job may say what must be alike."""
    queue = JobQueue(broker)
    first = text("a")
    await queue.enqueue(first, idempotency_key="k", fingerprint="f")
    assert (await queue.enqueue(text("b"), idempotency_key="k", fingerprint="f")).id == first.id
    with pytest.raises(KeyReused):
        await queue.enqueue(text("a"), idempotency_key="k", fingerprint="g")
    await queue.cancel(first.id)


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
    """Ended jobs newest first, waiting ones in the order of service, running ones in that of their beginning."""
    queue = JobQueue(broker)
    jobs = [text(f"{number}") for number in range(3)]
    for job in jobs:
        await queue.enqueue(job)
    assert [record.id for record in await queue.recent(JobState.QUEUED)] == [job.id for job in jobs]
    assert [record.id for record in await queue.recent(JobState.QUEUED, 2)] == [job.id for job in jobs[:2]]
    await queue.enqueue(later := text(), delay=60)
    assert [record.id for record in await queue.recent(JobState.SCHEDULED)] == [later.id]
    await queue.cancel(later.id)
    async with working(broker) as worker:
        leases = [await worker.one(), await worker.one()]
        assert [record.id for record in await queue.recent(JobState.RUNNING)] == [lease.job.id for lease in leases]
    for job in jobs[:2]:
        await queue.cancel(job.id)
    assert [record.id for record in await queue.recent(JobState.CANCELLED)] == [jobs[1].id, jobs[0].id, later.id]
    assert [record.id for record in await queue.recent(JobState.CANCELLED, 1)] == [jobs[1].id]
    await queue.cancel(jobs[2].id)


async def test_dead_letters_are_listed_however_many_others_failed(broker) -> None:
    """Deadlines that passed push no dead letter out of the list of failures."""
    queue = JobQueue(broker)
    await queue.enqueue(job := text(tenant="dead"))
    failure = Failed("job_failed", "why", traceback="where")
    async with working(broker) as worker:
        await worker.leases.settle(await worker.one(), failure)
    await broker.command("DEL", f"{broker.keys.root}end:failed")
    [record] = await queue.recent(JobState.FAILED)
    assert (record.id, record.result) == (job.id, failure)


async def test_a_job_queued_again_has_its_time_again(broker) -> None:
    """Requeue gives a job as long as it had at first, from now on."""
    queue = JobQueue(broker)
    await queue.enqueue(job := text(deadline=time.time() + 5000))
    async with working(broker) as worker:
        await worker.leases.settle(await worker.one(), Failed("job_failed", "x"))
        before = await queue.record(job.id)
        await asyncio.sleep(0.01)
        assert await queue.requeue(job.id)
        again = await queue.record(job.id)
        assert again.enqueued > before.enqueued
        assert again.deadline - again.enqueued == pytest.approx(5000, abs=1)
        assert (again.attempts, again.started, again.ended, again.result) == (0, 0, 0, None)
        await worker.leases.settle(await worker.one(), done())


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
