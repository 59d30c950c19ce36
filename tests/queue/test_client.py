"""The queue as a gateway sees it."""

import asyncio
import time

import msgspec
import pytest

from tests.queue.worker import done, text, until, working
from velesio import metrics
from velesio.config import Limits
from velesio.errors import BrokerUnavailable, Conflict, KeyReused, QueueFull, TenantQueueFull
from velesio.jobs import Cancelled, Failed, Job, JobState, Priority
from velesio.queue import blobs, wire
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue, Place, _known, _refusal
from velesio.queue.limits import RateLimited, Subject, Terms


async def test_a_ticket_tells_the_place(broker) -> None:
    """The position counts the jobs that are ahead; the same job again is a duplicate."""
    queue = JobQueue(broker)
    first, second = text(), text()
    assert (await queue.enqueue(first)).position == 0
    ticket = await queue.enqueue(second)
    assert (ticket.id, ticket.position, ticket.duplicate) == (second.id, 1, False)
    assert [await queue.place(job.id) for job in (first, second)] == [Place(0), Place(1)]
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
    assert full.value.retry_after == tenant.value.retry_after == 5
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
        assert full.value.retry_after == 1
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


async def lose(broker: Broker, job: Job, *fields: str) -> None:
    """As if the blobs that a job's record names had expired."""
    for body in await broker.command("HMGET", broker.keys.job(job.id), *fields):
        assert await broker.command("DEL", broker.keys.blob(wire.read_reference(body).id)) == 1


async def test_what_is_too_long_for_the_record_lies_beside_it(connect) -> None:
    """Params, request and result are read as ever; where their blobs are gone they are nothing, and the rest stays."""
    broker = await connect(max_payload=100, max_result=100)
    queue, job = JobQueue(broker), text("p" * 1000, request=b"r" * 1000)
    await queue.enqueue(job)
    assert (await queue.params(job.id), await queue.request(job.id)) == (job.params, job.request)
    async with working(broker) as worker:
        await worker.leases.settle(await worker.one(), done("x" * 1000))
    assert (await queue.record(job.id)).result == done("x" * 1000)
    [listed] = await queue.recent(JobState.DONE)
    assert (listed.id, listed.state, listed.result) == (job.id, JobState.DONE, None)
    await lose(broker, job, "req", "r")
    record = await queue.record(job.id)
    assert (record.state, record.result) == (JobState.DONE, None)
    assert await queue.request(job.id) == b""


async def test_params_are_nothing_once_they_are_gone(connect) -> None:
    """A job whose input has expired says so by None."""
    broker = await connect(max_payload=100)
    queue, job = JobQueue(broker), text("p" * 1000)
    await queue.enqueue(job)
    await lose(broker, job, "p")
    assert await queue.params(job.id) is None
    await queue.cancel(job.id)


async def test_all_that_a_job_says_reaches_its_worker(connect) -> None:
    """Model, kind, tenant, priority, cost, deadline, gateway, stream and trace, as they were."""
    broker = await connect(weights={"t": 2.0})
    queue = JobQueue(broker)
    job = text(
        tenant="t", priority=Priority.INTERACTIVE, cost=3.5, deadline=time.time() + 500, gateway="g", stream=True,
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )  # fmt: skip
    await queue.enqueue(job)
    assert float(await broker.command("HGET", broker.keys.job(job.id), "w")) == 2.0
    async with working(broker) as worker:
        lease = await worker.one()
        assert lease.job.deadline == pytest.approx(job.deadline, abs=1)
        assert msgspec.structs.replace(lease.job, deadline=job.deadline) == job
        await worker.leases.settle(lease, done())


async def test_what_a_job_leaves_open_is_as_configured(connect) -> None:
    """Its deadline, its tenant's weight, which terms go before; nothing costs less than a thousandth, and no deadline
    is further away than six days."""
    broker = await connect(deadline=100.0, weights={"t": 2.0})
    queue, now = JobQueue(broker), time.time()
    jobs = [text(cost=0.0), text(tenant="t"), text(deadline=now + 30 * 86400), text(deadline=now - 5)]
    for job, weight in zip(jobs, (None, 4.0, None, None), strict=True):
        await queue.enqueue(job, terms=Terms(weight=weight))
    hashes = [await broker.command("HMGET", broker.keys.job(job.id), "cost", "w", "dl", "enq") for job in jobs]
    left = [int(deadline) - int(since) for _, _, deadline, since in hashes]
    assert [(float(cost), float(weight)) for cost, weight, *_ in hashes[:2]] == [(0.001, 1.0), (1.0, 4.0)]
    assert left[0] == left[1] == 100_000
    assert left[2] == 6 * 86_400_000
    assert left[3] == 1
    for job in jobs:
        await queue.cancel(job.id)


async def test_terms_are_what_the_request_is_charged_on(broker) -> None:
    """Each limit is told with the ticket; what was not queued after all is given back; a tenant may have a cap of its
    own."""
    queue = JobQueue(broker)
    limits = Limits(requests=5, tokens=100)
    terms = Terms(
        key="k", subjects=(Subject("key", "k", limits),), own={"r": 1, "t": 40}, whole={"r": 1, "t": 40}, slot="s"
    )
    ticket = await queue.enqueue(first := text(tenant="a"), terms=terms)
    assert [(line.limit, line.left) for line in ticket.lines] == [("requests", 4), ("tokens", 60)]
    assert ticket.charged == pytest.approx(time.time() * 1000, abs=5000)
    assert (await queue.enqueue(first, terms=terms)).charged == 0
    await queue.refund(terms, 1, ticket.charged)
    ticket = await queue.enqueue(second := text(tenant="a"), terms=terms)
    assert [(line.limit, line.left) for line in ticket.lines] == [("requests", 4), ("tokens", 60)]
    with pytest.raises(TenantQueueFull):
        await queue.enqueue(text(tenant="a"), terms=Terms(tenant_cap=2))
    await queue.refund(Terms(), 1, ticket.charged)
    with pytest.raises(RateLimited) as limited:
        await queue.enqueue(text(tenant="a"), terms=msgspec.structs.replace(terms, whole={"t": 70}))
    assert [(line.limit, line.left) for line in limited.value.lines] == [("tokens", 60)]
    for job in (first, second):
        await queue.cancel(job.id)


async def test_only_the_first_job_of_a_request_counts_as_one(broker) -> None:
    """In the accounts a request is one, however many jobs it has."""
    queue, jobs = JobQueue(broker), [text(), text()]
    for index, job in enumerate(jobs):
        await queue.enqueue(job, terms=Terms(key="k", index=index))
    assert [await broker.command("HGET", broker.keys.job(job.id), "key") for job in jobs] == [b"1 k", b"0 k"]
    for job in jobs:
        await queue.cancel(job.id)


async def test_cancelling_tells_whether_there_was_anything_to_cancel(broker) -> None:
    """One that waits is over at once, one that runs is asked; each counts where it was."""
    queue = JobQueue(broker)
    stages = {stage: metrics.cancelled.labels(stage) for stage in ("waiting", "running")}
    before = {stage: counter._value.get() for stage, counter in stages.items()}
    await queue.enqueue(waiting := text())
    assert await queue.cancel(waiting.id, "no more")
    assert (await queue.record(waiting.id)).result == Cancelled("no more")
    assert not await queue.cancel(waiting.id)
    assert not await queue.cancel("unknown")
    await queue.enqueue(running := text())
    async with working(broker) as worker:
        lease = await worker.one()
        assert await queue.cancel(running.id, "enough")
        await until(lambda: worker.aborted == [(running.id, "enough")])
        await worker.leases.settle(lease, Cancelled("enough"))
    after = {stage: counter._value.get() for stage, counter in stages.items()}
    assert after == {stage: count + 1 for stage, count in before.items()}


async def test_reasoning_is_concluded_where_it_goes_on(broker) -> None:
    """The worker that computes the job hears of it; of a job that waits, is over or unknown, nobody."""
    queue, heard = JobQueue(broker), []
    async with working(broker) as worker:
        worker.leases._on_enough = heard.append
        await queue.enqueue(job := text())
        assert not await queue.conclude(job.id)
        assert not await queue.conclude("unknown")
        lease = await worker.one()
        assert await queue.conclude(job.id)
        await until(lambda: heard == [job.id])
        await worker.leases.settle(lease, done())
        assert not await queue.conclude(job.id)


async def test_ended_jobs_are_forgotten_however_many_they_are(connect) -> None:
    """Those that live, and those that are unknown, are left out of the count."""
    broker = await connect(cap=1000, tenant_cap=1000)
    queue, jobs = JobQueue(broker), [text() for _ in range(201)]
    for job in jobs:
        await queue.enqueue(job)
    for job in jobs[1:]:
        await queue.cancel(job.id)
    assert await queue.forget([job.id for job in jobs] + ["unknown"]) == 200
    assert await queue.record(jobs[200].id) is None
    assert (await queue.record(jobs[0].id)).state is JobState.QUEUED
    assert await queue.forget([]) == 0
    await queue.cancel(jobs[0].id)


async def test_the_time_is_the_brokers(broker) -> None:
    """Unix seconds, with their fractions."""
    queue = JobQueue(broker)
    before = time.time()
    first, second = await queue.now(), await queue.now()
    assert before - 1 <= first < second <= time.time() + 1


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
    await queue.enqueue(job, delay=60)
    async with working(broker) as worker:
        assert await worker.take(wait=0.1) == []
        assert (await queue.record(job.id)).state is JobState.SCHEDULED
        # as if the minute had passed
        await broker.command("ZADD", f"{broker.keys.root}sched", "XX", round(await queue.now() * 1000), job.id)
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


async def test_status_counts_what_is_in_no_queue(broker) -> None:
    """What waits for its time, and dead letters."""
    queue = JobQueue(broker)
    await queue.enqueue(failing := text())
    for later in (jobs := [text(), text()]):
        await queue.enqueue(later, delay=60)
    async with working(broker) as worker:
        await worker.leases.settle(await worker.one(), Failed("job_failed", "why", traceback="where"))
    status = await queue.status()
    assert (status.scheduled, status.dead, status.paused) == (2, 1, 0)
    assert await queue.forget([failing.id]) == 1
    for job in jobs:
        await queue.cancel(job.id)


async def test_recent_lists_by_state(broker) -> None:
    """Ended jobs newest first, waiting ones in the order of service, running ones in that of their beginning."""
    queue = JobQueue(broker)
    jobs = [text(f"{number}") for number in range(3)]
    for job in jobs:
        await queue.enqueue(job)
    assert [record.id for record in await queue.recent(JobState.QUEUED)] == [job.id for job in jobs]
    assert [record.id for record in await queue.recent(JobState.QUEUED, 2)] == [job.id for job in jobs[:2]]
    await queue.enqueue(last := text(), delay=90)
    await queue.enqueue(later := text(), delay=60)
    assert [record.id for record in await queue.recent(JobState.SCHEDULED)] == [later.id, last.id]
    assert [record.id for record in await queue.recent(JobState.SCHEDULED, 2)] == [later.id, last.id]
    assert [record.id for record in await queue.recent(JobState.SCHEDULED, 1)] == [later.id]
    await queue.cancel(last.id)
    await queue.cancel(later.id)
    async with working(broker) as worker:
        leases = [await worker.one(), await worker.one()]
        assert [record.id for record in await queue.recent(JobState.RUNNING)] == [lease.job.id for lease in leases]
    for job in jobs[:2]:
        await queue.cancel(job.id)
    assert [record.id for record in await queue.recent(JobState.CANCELLED)] == [
        *(job.id for job in (jobs[1], jobs[0], later, last))
    ]
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


async def test_queued_again_a_job_is_charged_again(broker) -> None:
    """On the terms that come with it: a limit that is used up refuses, and says so; else each limit is told. The
    record counts the leases that are void by now."""
    queue = JobQueue(broker)
    await queue.enqueue(job := text())
    async with working(broker) as worker:
        await worker.leases.settle(await worker.one(), Failed("job_failed", "x"))
    terms = Terms(
        subjects=(Subject("key", "k", Limits(requests=2)), Subject("model", "m", Limits(tokens=100))),
        own={"r": 1, "t": 60},
        whole={"r": 1, "t": 60},
        slot="s",
    )
    ticket = await queue.requeue(job.id, terms)
    assert [(line.subject, line.model, line.limit, line.left) for line in ticket.lines] == [
        ("key", "", "requests", 1),
        ("model", "m", "tokens", 40),
    ]
    record = await queue.record(job.id)
    assert (record.leases, record.attempts, record.life) == (1, 0, 1)
    async with working(broker) as worker:
        await worker.leases.settle(await worker.one(), Failed("job_failed", "x"))
    spent = msgspec.structs.replace(terms, subjects=(Subject("key", "k", Limits(requests=1)),))
    with pytest.raises(RateLimited) as limited:
        await queue.requeue(job.id, spent)
    assert [(line.limit, line.left) for line in limited.value.lines] == [("requests", 0)]
    assert (await queue.record(job.id)).state is JobState.FAILED


def test_waits_are_told_in_tenths() -> None:
    """Of a second, from 0 on; what is not known is nothing."""
    assert [_known(seconds) for seconds in (-0.001, 0, 1.26)] == [None, 0, 1.3]


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


async def test_an_unanswered_cancel_is_asked_again(broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is remembered for when the broker is back; so is a job without a key, but not one that can be found by it."""
    queue, job = JobQueue(broker), text()
    await queue.enqueue(job)

    async def unanswered(*_arguments, **_options):
        raise BrokerUnavailable

    with monkeypatch.context() as away:
        away.setattr(broker, "run", unanswered)
        with pytest.raises(BrokerUnavailable):
            await queue.cancel(job.id)
        with pytest.raises(BrokerUnavailable):
            await queue.enqueue(unkeyed := text())
        with pytest.raises(BrokerUnavailable):
            await queue.enqueue(text(), idempotency_key="k")
    assert broker.doubtful == {job.id, unkeyed.id}
    await queue.enqueue(unkeyed)
    assert broker.doubtful == {job.id}
    for each in (job, unkeyed):
        await queue.cancel(each.id)
    broker.doubtful.clear()


@pytest.mark.parametrize(("eta", "wait"), [(None, 5), (0.5, 1), (4, 1), (40, 10), (10_000, 60)])
def test_a_crowd_comes_back_in_quarters_of_the_wait(eta: float | None, wait: float) -> None:
    """Not sooner than after a second, not later than after a minute, and after five seconds if nobody knows."""
    for status, kind in (
        (b"FULL", QueueFull),
        (b"TENANT", TenantQueueFull),
        (b"MEMORY", QueueFull),
        (b"BLOBS", QueueFull),
    ):
        refusal = _refusal(status, 7, eta)
        assert type(refusal) is kind
        assert refusal.retry_after == wait
        assert refusal.details == {"depth": 7, "position": 7, "eta": eta}
    assert type(_refusal(b"CONFLICT", 7, eta)) is KeyReused
    assert str(_refusal(b"MEMORY", 7, eta)) == "The broker is short of memory; try again later."
    assert str(_refusal(b"BLOBS", 7, eta)) == blobs.FULL
