"""A worker's leases on the real broker."""

import asyncio
import time

import pytest

from tests.queue.worker import Worker, done, serving, text, until, working
from velesio.jobs import Cancelled, Completion, Delta, Failed, Job, JobState
from velesio.queue.client import JobQueue
from velesio.queue.leases import Leases

QUICK = {"lease": 0.5, "beat": 0.1, "reclaim_interval": 0.1}
CRASH = Failed("job_failed", "broke", retry=True, traceback="secret")


async def test_a_lease_is_the_job_as_queued(broker) -> None:
    """Every field of the job comes back, the deadline by the broker's clock."""
    queue = JobQueue(broker)
    deadline = time.time() + 1000
    job = Job.new(
        "m", Completion([1, "two"], max_tokens=5), tenant="t", priority=2, cost=2.5, deadline=deadline, stream=True
    )
    async with working(broker) as worker:
        await queue.enqueue(job)
        lease = await worker.one()
        assert abs(lease.job.deadline - deadline) < 60  # two clocks, and what a busy machine does between them
        for field in ("id", "model", "capability", "params", "tenant", "priority", "cost", "gateway", "stream", "sent"):
            assert getattr(lease.job, field) == getattr(job, field)
        assert await worker.leases.settle(lease, done("x"))


async def test_a_deadline_is_six_days_away_at_most(broker) -> None:
    """One further away is brought there: what the broker keeps of a queue lives for a week."""
    async with working(broker) as worker:
        await JobQueue(broker).enqueue(Job.new("m", Completion("x"), deadline=4e9))
        lease = await worker.one()
        assert abs(lease.job.deadline - time.time() - 6 * 86400) < 60
        assert await worker.leases.settle(lease, done("x"))


async def test_an_idle_worker_wakes_at_once(broker) -> None:
    """A job is leased as soon as it is queued, long before the worker would look by itself."""
    async with working(broker) as worker:
        assert await worker.take(wait=0.05) == []
        taking = asyncio.create_task(worker.take(wait=1.9))
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        await JobQueue(broker).enqueue(text())
        [lease] = await taking
        assert asyncio.get_running_loop().time() - began < 0.5
        await worker.leases.settle(lease, done())


async def test_take_waits_no_longer_than_asked(broker) -> None:
    """Without jobs, without room or when quiet it returns nothing after `wait`."""
    async with working(broker) as worker:
        began = asyncio.get_running_loop().time()
        assert await worker.take(wait=0.1) == []
        assert await worker.leases.take({}, wait=0.1) == []
        assert await worker.leases.take({"m": 0}, wait=0.1) == []
        await worker.leases.quiet()
        assert await worker.take(wait=0.1) == []
        assert 0.3 < asyncio.get_running_loop().time() - began < 2


async def test_cancelling_take_loses_nothing(broker) -> None:
    """However often take is cancelled, every job is leased exactly once."""
    queue = JobQueue(broker)
    jobs = [text(f"{number}") for number in range(60)]
    async with working(broker) as worker:
        got = []

        async def taker() -> None:
            got.extend(await worker.take(2, wait=0.5))

        for job in jobs:
            await queue.enqueue(job)
            task = asyncio.create_task(taker())
            for _ in range(len(got) % 5):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait({task})
        while len(got) < len(jobs):
            await taker()
        assert sorted(lease.job.id for lease in got) == sorted(job.id for job in jobs)
        assert {lease.attempt for lease in got} == {1}
        for lease in got:
            await worker.leases.settle(lease, done())


async def test_what_a_cancelled_take_got_is_given_back(broker) -> None:
    """A worker that goes quiet after its take was cancelled returns what the call had leased."""
    queue = JobQueue(broker)
    await queue.enqueue(job := text())
    async with working(broker) as worker:
        task = asyncio.create_task(worker.take())
        while not worker.leases._asking.locked():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await worker.leases.quiet()
        record = await queue.record(job.id)
        assert (record.state, record.attempts) == (JobState.QUEUED, 0)
        await queue.cancel(job.id)


async def test_a_lost_answer_is_made_good(connect, client) -> None:
    """If the connection breaks after the server leased a job, the next take gets that job under the same attempt."""
    broker = await connect()
    queue = JobQueue(broker)
    await queue.enqueue(job := text())
    async with working(broker) as worker:
        leases = worker.leases
        real = broker.run

        def lose_one(name, *arguments, **options):
            if name != "take":
                return real(name, *arguments, **options)
            broker.run = real

            async def lost():
                await real(name, *arguments, **options)
                from velesio.errors import BrokerUnavailable

                raise BrokerUnavailable

            return lost()

        broker.run = lose_one
        assert await worker.take(wait=0.01) == []
        [lease] = await worker.take()
        assert (lease.job.id, lease.attempt) == (job.id, 1)
        assert await leases.settle(lease, done())


async def test_heartbeats_keep_long_jobs(connect) -> None:
    """A job that takes many lease times stays with its worker."""
    broker = await connect(**QUICK)
    async with working(broker, "slow") as slow, working(broker, "other") as other:
        await JobQueue(broker).enqueue(text())
        lease = await slow.one()
        assert await other.take(wait=1.2) == []
        assert await slow.leases.settle(lease, done())


async def test_a_silent_worker_loses_its_jobs(connect) -> None:
    """Within a lease and a tick another worker has them; the first is told, and can end nothing."""
    broker = await connect(**QUICK)
    async with working(broker, "other") as other:
        silent = Worker(broker, "silent")
        await silent.leases.start()
        await JobQueue(broker).enqueue(text())
        lease = await silent.one()
        await silent.die()
        again = await other.one()
        assert (again.attempt, again.crashes, again.alone) == (2, 1, True)
        assert not await silent.leases.settle(lease, done("late"))
        assert await other.leases.settle(again, done("in time"))


async def test_a_lost_lease_is_reported(connect) -> None:
    """A worker whose lease went to another is told to abort the job, and settling it does nothing."""
    broker = await connect(**QUICK)
    async with working(broker) as worker:
        await JobQueue(broker).enqueue(text())
        lease = await worker.one()
        await broker.command("HSET", broker.keys.job(lease.job.id), "att", 7, "wrk", "other")
        await until(lambda: worker.aborted)
        assert worker.aborted == [(lease.job.id, "lost")]
        assert not await worker.leases.settle(lease, done())
        await broker.command("FLUSHALL")


async def test_a_suspect_runs_alone(connect) -> None:
    """While a worker holds a job that was lost once, it leases nothing else."""
    broker = await connect(**QUICK)
    queue = JobQueue(broker)
    silent = Worker(broker, "silent")
    await silent.leases.start()
    await queue.enqueue(text("suspect"))
    await silent.one()
    await silent.die()
    async with working(broker) as worker:
        suspect = await worker.one()
        await queue.enqueue(text("other"))
        assert await worker.take(wait=0.3) == []
        await worker.leases.settle(suspect, done())
        other = await worker.one()
        assert other.job.params.prompt == "other"
        await worker.leases.settle(other, done())


async def test_cancel_reaches_the_worker(broker) -> None:
    """A running job's worker is told at once; the watch gets the end that the worker gives it."""
    async with serving(broker) as gateway, working(broker) as worker:
        job = gateway.job()
        answer = asyncio.create_task(gateway.ask(job))
        lease = await worker.one()
        assert await gateway.queue.cancel(job.id, "client left")
        await until(lambda: worker.aborted, 1)
        assert worker.aborted == [(job.id, "client left")]
        assert await worker.leases.settle(lease, Cancelled())
        assert await answer == [Cancelled("client left")]
        assert not await gateway.queue.cancel(job.id)


async def test_an_overdue_job_fails(connect) -> None:
    """The worker is told to abort it, and what it ends as cancelled counts as a missed deadline."""
    import time

    broker = await connect(**QUICK)
    queue = JobQueue(broker)
    async with working(broker) as worker:
        await queue.enqueue(job := text(deadline=time.time() + 0.2))
        lease = await worker.one()
        await until(lambda: worker.aborted)
        assert worker.aborted == [(job.id, "deadline")]
        await worker.leases.settle(lease, Cancelled())
        record = await queue.record(job.id)
        assert (record.state, record.result.code) == (JobState.FAILED, "deadline_exceeded")


async def test_a_failed_attempt_is_tried_again(connect) -> None:
    """A failure that may pass leads to another attempt after a while; the last one is told, without its traceback."""
    broker = await connect(retry_delay=0.01, max_attempts=2, reclaim_interval=0.05)
    async with serving(broker) as gateway, working(broker) as worker:
        job = gateway.job()
        answer = asyncio.create_task(gateway.ask(job))
        for attempt in (1, 2):
            lease = await worker.one()
            assert lease.attempt == attempt
            assert await worker.leases.settle(lease, CRASH)
        assert await answer == [Failed("job_failed", "broke", retry=True)]
        record = await gateway.queue.record(job.id)
        assert (record.state, record.attempts, record.result) == (JobState.FAILED, 2, CRASH)
        assert (await gateway.queue.status()).dead == 1


@pytest.mark.parametrize(("code", "dead"), [("job_failed", 1), ("invalid_request", 0), ("context_length_exceeded", 0)])
async def test_dead_letters_are_our_failures(broker, code: str, dead: int) -> None:
    """A request that could not be served at all is no dead letter."""
    queue = JobQueue(broker)
    async with working(broker) as worker:
        await queue.enqueue(text())
        await worker.leases.settle(await worker.one(), Failed(code, "x"))
        assert (await queue.status()).dead == dead


async def test_closing_gives_everything_back(broker) -> None:
    """A worker that leaves releases its jobs, with their attempts unused, and is gone from the registry."""
    queue = JobQueue(broker)
    await queue.enqueue(job := text())
    async with working(broker) as worker:
        await worker.one()
    record = await queue.record(job.id)
    assert (record.state, record.attempts) == (JobState.QUEUED, 0)
    assert await broker.run("workers", 0) == []
    await queue.cancel(job.id)


async def test_a_released_stream_goes_on_elsewhere(broker) -> None:
    """A drained worker's stream continues on another one after the tokens that were sent."""
    async with serving(broker) as gateway, working(broker, "a") as leaving:
        job = gateway.job(stream=True)
        answer = asyncio.create_task(gateway.ask(job))
        lease = await leaving.one()
        leaving.publisher.publish(lease, Delta("one ", (1,)))
        await until(lambda: gateway.inbox._watches[job.id].transcript.length)
        await leaving.leases.release(lease)
        async with working(broker, "b") as staying:
            again = await staying.one()
            assert (again.job.sent, again.crashes, again.alone) == ((1,), 0, False)
            staying.publisher.publish(again, Delta("two", (2,)))
            await staying.leases.settle(again, done("one two"))
        assert await answer == [Delta("one ", (1,)), Delta("two", (2,)), done("one two")]


async def test_a_restart_under_the_same_name_is_another_owner(broker) -> None:
    """Leases of an earlier life are not renewed by the next one."""
    assert Leases(broker, None, "w", print).owner != Leases(broker, None, "w", print).owner  # type: ignore[arg-type]


async def test_a_job_of_a_newer_release_is_passed_on(connect) -> None:
    """What a worker cannot read it leaves to others, and the jobs beside it are done."""
    broker = await connect(retry_delay=10.0)
    queue = JobQueue(broker)
    await queue.enqueue(strange := text("strange"))
    await queue.enqueue(known := text("known"))
    await broker.command("HSET", broker.keys.job(strange.id), "p", b"\x81\xa4type\xa9telepathy")
    async with working(broker) as worker:
        [lease] = await worker.take(2)
        assert lease.job.id == known.id
        await worker.leases.settle(lease, done())
        record = await queue.record(strange.id)
        assert (record.state, record.result.code) == (JobState.SCHEDULED, "not_supported")
        await queue.cancel(strange.id)


async def test_a_job_that_comes_back_replaces_its_lost_lease(connect) -> None:
    """A worker that lost a job without noticing and is given it again aborts the old work first."""
    broker = await connect(beat=30.0, lease=60.0, reclaim_interval=0.05)
    async with working(broker) as worker:
        await JobQueue(broker).enqueue(job := text())
        old = await worker.one()
        await broker.run("release", worker.leases.owner, job.id, old.attempt, 0)
        new = await worker.one()
        assert worker.aborted == [(job.id, "lost")]
        assert not await worker.leases.settle(old, done("old"))
        assert await worker.leases.settle(new, done("new"))


async def test_no_broker_at_the_start_leaves_nothing_behind(broker, valkey_url) -> None:
    """A worker that cannot register says so, and has stopped its thread and tasks."""
    import threading

    from tests.queue.proxy import Proxy
    from velesio.config import QueueSection, RedisSection
    from velesio.errors import BrokerUnavailable
    from velesio.queue.broker import Broker

    async with Proxy(valkey_url) as proxy:
        remote = await Broker.connect(RedisSection(url=proxy.url, timeout=0.2), QueueSection())
        await proxy.cut()
        worker = Worker(remote)
        with pytest.raises(BrokerUnavailable):
            await worker.leases.start()
        assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]
        await remote.close()
        await proxy.mend()


async def test_an_order_may_come_before_its_lease(connect) -> None:
    """A cancel that overtakes the answer which hands the job over is not lost until the next beat."""
    broker = await connect(beat=30.0, lease=60.0)
    queue = JobQueue(broker)
    real = broker.run
    async with working(broker) as worker:

        async def overtaken(name, *arguments, **options):
            answer = await real(name, *arguments, **options)
            if name == "take" and answer[0]:
                assert await queue.cancel(job.id, "no")
                await until(lambda: worker.leases._early)
            return answer

        broker.run = overtaken
        await queue.enqueue(job := text())
        lease = await worker.one()
        broker.run = real
        assert lease.ending == "no"
        assert await worker.leases.settle(lease, Cancelled())
        assert (await queue.record(job.id)).result == Cancelled("no")
