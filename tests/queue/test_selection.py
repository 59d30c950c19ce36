"""Which jobs an operator means, and what is done to them."""

import pytest

from tests.queue.worker import done, text, working
from velesio.jobs import Failed, JobState, Priority
from velesio.queue import selection
from velesio.queue.client import JobQueue
from velesio.queue.records import JobRecord
from velesio.queue.selection import Purged, Selection

RECORD = JobRecord(
    id="a", state=JobState.QUEUED, tenant="t", model="m", capability="text", priority=Priority.BATCH, enqueued=100.0
)


@pytest.mark.parametrize(
    ("chosen", "has"),
    [
        ({}, True),
        ({"states": (JobState.FAILED,)}, False),
        ({"model": "m", "tenant": "t", "priority": Priority.BATCH, "older_than": 10.0}, True),
        ({"model": "n"}, False),
        ({"tenant": "u"}, False),
        ({"priority": Priority.INTERACTIVE}, False),
        ({"older_than": 11.0}, False),
    ],
)
def test_all_that_is_named_must_hold(chosen: dict[str, object], has: bool) -> None:
    """What is not named does not matter."""
    assert Selection(**chosen).has(RECORD, 110.0) is has


async def test_a_purge_cancels_and_forgets(broker) -> None:
    """Waiting jobs are cancelled, ended ones are gone with all that is kept of them; others stay."""
    queue = JobQueue(broker)
    async with working(broker) as worker:
        await queue.enqueue(dead := text(tenant="a"))
        await worker.leases.settle(await worker.one(), Failed("job_failed", "why"))
        await queue.enqueue(kept := text(tenant="b"))
        await worker.leases.settle(await worker.one(), done())
        jobs = [text(tenant="a"), text(tenant="a"), text(tenant="b")]
        for job in jobs:
            await queue.enqueue(job)
        every = Selection(states=(*selection.WAITING, JobState.FAILED, JobState.DONE), tenant="a")
        assert len(await selection.choose(queue, every, 2)) == 2
        records = await selection.choose(queue, every)
        assert await selection.purge(queue, records) == Purged(cancelled=2, forgotten=1)
        assert await queue.record(dead.id) is None
        assert (await queue.status()).dead == 0
        assert await queue.recent(JobState.FAILED) == []
        states = [(await queue.record(job.id)).state for job in (*jobs, kept)]
        assert states == [JobState.CANCELLED, JobState.CANCELLED, JobState.QUEUED, JobState.DONE]
        await queue.cancel(jobs[2].id)


async def test_what_lives_is_not_forgotten(broker) -> None:
    """A job that was queued again meanwhile stays."""
    queue = JobQueue(broker)
    await queue.enqueue(job := text())
    assert await queue.forget([job.id, "unknown"]) == 0
    assert (await queue.record(job.id)).state is JobState.QUEUED
    await queue.cancel(job.id)


async def test_failed_jobs_are_queued_again_together(broker) -> None:
    """Those of the selection, whose input is kept."""
    queue = JobQueue(broker)
    async with working(broker) as worker:
        for tenant in "aab":
            await queue.enqueue(text(tenant=tenant))
            await worker.leases.settle(await worker.one(), Failed("job_failed", "why"))
        records = await selection.choose(queue, Selection(states=(JobState.FAILED,), tenant="a"))
        assert sorted(await selection.requeue(queue, records)) == sorted(record.id for record in records)
        assert (await queue.status()).dead == 1
        await selection.purge(queue, await selection.choose(queue, Selection()))
