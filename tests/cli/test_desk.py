"""What an operator sees and does at the broker."""

import asyncio
import json
from typing import Any

import pytest

from tests.echoing import spec
from tests.echoing import working as echoing
from tests.queue.worker import done, text, until, working
from velesio.cli.desk import Desk
from velesio.jobs import Failed, JobState, Priority
from velesio.queue.audit import Audit
from velesio.queue.client import JobQueue
from velesio.queue.registry import Registry
from velesio.queue.selection import Selection
from velesio.states import overall


class Session:
    """A desk and what it said."""

    def __init__(self, broker: Any) -> None:
        self.said: list[str] = []
        self.desk = Desk(broker, self.said.append)
        self.queue = JobQueue(broker)

    def told(self) -> list[str]:
        """What was said since the last call."""
        said, self.said[:] = list(self.said), []
        return said

    def json(self) -> Any:
        return json.loads("\n".join(self.told()))


@pytest.fixture
def session(broker: Any) -> Session:
    return Session(broker)


SECRET = "Xylophones of Zanzibar"
FAILURE = Failed("job_failed", "the model \x1b[31mbroke\nin two", traceback="Traceback\n  File 'x'\nRuntimeError: y")


async def failed(session: Session, worker: Any) -> str:
    """A dead letter."""
    await session.queue.enqueue(job := text(SECRET, tenant="studio", priority=Priority.BATCH))
    await worker.leases.settle(await worker.one(), FAILURE)
    return job.id


async def test_jobs_are_listed_by_state(session: Session, broker: Any) -> None:
    """A row for each job of the state, under a heading; without a state those of all states, the latest first."""
    async with working(broker) as worker:
        dead = await failed(session, worker)
        await session.queue.enqueue(running := text())
        lease = await worker.one()
        await session.queue.enqueue(waiting := text())
        assert await session.desk.list_jobs(JobState.FAILED, 10, json=False)
        heading, row = session.told()
        assert heading.split() == ["ID", "STATE", "MODEL", "TENANT", "PRIORITY", "QUEUED", "ATTEMPTS", "CRASHES", "WORKER", "REASON"]  # fmt: skip  # noqa: E501
        assert row.split()[:5] == [dead, "failed", "m", "studio", "batch"]
        assert row.endswith("job_failed: the model  [31mbroke in two")
        await session.desk.list_jobs(None, 10, json=True)
        assert [job["id"] for job in session.json()] == [waiting.id, running.id, dead]
        await session.desk.list_jobs(None, 10, json=False)
        assert [row.split()[1] for row in session.told()] == ["STATE", "queued", "running", "failed"]
        await session.desk.list_jobs(JobState.CANCELLED, 10, json=False)
        assert len(session.told()) == 1
        await worker.leases.settle(lease, done())
        await session.queue.cancel(waiting.id)


async def test_a_job_is_shown_without_its_prompt(session: Session, broker: Any) -> None:
    """Reason and traceback, times and counts; what was asked only on demand."""
    async with working(broker) as worker:
        dead = await failed(session, worker)
        assert await session.desk.show_job(dead, params=False, json=False)
        said = "\n".join(session.told())
        for words in (
            "state      failed",
            "reason     the model  [31mbroke in two",
            "  RuntimeError: y",
            "attempts   1",
        ):
            assert words in said
        assert SECRET not in said
        assert await session.desk.show_job(dead, params=True, json=False)
        assert SECRET in "\n".join(session.told())
        assert await session.desk.show_job(dead, params=True, json=True)
        shown = session.json()
        assert shown["params"] == {"type": "completion", "prompt": SECRET}
        assert (shown["worker"], shown["traceback"]) == (worker.leases.owner, FAILURE.traceback)
        assert not await session.desk.show_job("unknown", params=False, json=False)
        assert "no such job" in session.told()[0]


async def test_a_done_job_shows_sizes_not_words(session: Session, broker: Any) -> None:
    """The answer is its asker's."""
    async with working(broker) as worker:
        await session.queue.enqueue(job := text(SECRET))
        await worker.leases.settle(await worker.one(), done(SECRET))
    await session.desk.show_job(job.id, params=True, json=True)
    shown = session.json()
    assert shown["result"] == {"prompt_tokens": 0, "completion_tokens": 0, "stop": "eos"}
    assert SECRET not in json.dumps(shown)


async def test_a_waiting_job_shows_its_place(session: Session, broker: Any) -> None:
    """How many are ahead, and when it may begin, if anybody knows."""
    jobs = [text(), text()]
    for job in jobs:
        await session.queue.enqueue(job)
    await session.desk.show_job(jobs[1].id, params=False, json=True)
    shown = session.json()
    assert (shown["position"], shown["eta"]) == (1, None)
    assert await session.desk.cancel_jobs([job.id for job in jobs])


async def test_jobs_are_cancelled_wherever_they_are(session: Session, broker: Any) -> None:
    """A waiting job is cancelled at once, the worker of a running one is told; what has ended is left alone."""
    async with working(broker) as worker:
        await session.queue.enqueue(running := text())
        lease = await worker.one()
        await session.queue.enqueue(waiting := text())
        assert await session.desk.cancel_jobs([waiting.id, running.id])
        assert session.told() == [f"{waiting.id}: cancelled", f"{running.id}: its worker is told to end it"]
        await until(lambda: worker.aborted == [(running.id, "cancelled by an operator")])
        await worker.leases.settle(lease, done())
    assert not await session.desk.cancel_jobs([waiting.id, running.id, "unknown"])
    first, second, third = session.told()
    assert (first, second) == (
        f"{waiting.id}: nothing was done, it is cancelled",
        f"{running.id}: nothing was done, it is done",
    )
    assert third.startswith("unknown: no such job")


async def test_failed_jobs_are_queued_again(session: Session, broker: Any) -> None:
    """Only failed ones; one that cannot be does not keep the others from it."""
    async with working(broker) as worker:
        dead = await failed(session, worker)
        assert not await session.desk.requeue_jobs(["unknown", dead])
        assert session.told()[1] == f"{dead}: queued again"
        assert not await session.desk.requeue_jobs([dead])
        assert session.told() == [f"{dead}: nothing was done, it is queued"]
        lease = await worker.one()
        assert (lease.job.id, lease.job.tenant) == (dead, "studio")
        await worker.leases.settle(lease, done())


async def test_workers_are_listed_with_what_they_compute(session: Session, broker: Any) -> None:
    """Name, models, jobs in hand, slots, and when they were last heard."""
    async with working(broker) as worker:
        await session.queue.enqueue(job := text())
        lease = await worker.one()
        worker.leases._heart.now()

        async def listed() -> bool:
            await session.desk.list_workers(json=False)
            return job.id in session.told()[-1]

        await until(listed)
        await session.desk.list_workers(json=True)
        [shown] = session.json()
        assert (shown["name"], shown["id"], shown["state"]) == ("w", worker.leases.owner, "ready")
        assert (shown["models"], shown["jobs"], shown["slots"]) == (["m"], [job.id], 4)
        await worker.leases.settle(lease, done())


async def test_workers_are_told_to_leave(session: Session, broker: Any) -> None:
    """By name, by id or all; waiting for it ends when they have left, and a wrong name is said."""
    async with working(broker, "one") as one, working(broker, "two") as two:
        assert not await session.desk.drain_workers(["three"], wait=False)
        assert "there are one." in session.told()[0]
        draining = asyncio.create_task(session.desk.drain_workers(["one", two.leases.owner], wait=True))
        for worker in (one, two):
            await asyncio.wait_for(worker.told_to_leave.wait(), 5)
            await worker.leases.close()
        assert await asyncio.wait_for(draining, 5)
        said = session.told()
        assert said[:2] == [f"{one.leases.owner}: draining", f"{two.leases.owner}: draining"]
        assert sorted(said[2:]) == sorted(f"{worker.leases.owner}: has left" for worker in (one, two))
    async with working(broker, "three") as three:
        assert await session.desk.drain_workers(None, wait=False)
        await asyncio.wait_for(three.told_to_leave.wait(), 5)
    assert await session.desk.drain_workers(None, wait=True)


async def test_models_are_loaded_and_unloaded(session: Session, broker: Any) -> None:
    """Each is waited for and told with what has become of it; an unknown one is told with those nearby."""
    async with echoing(broker, spec("parrot"), preload=False) as worker:
        assert [(card.name, state.state) for card, state in await session.desk.models()] == [("parrot", "unloaded")]
        assert await session.desk.load_models(["parrot"], 60.0)
        assert session.told() == ["parrot: loaded"]
        assert worker.residency.loaded == ["parrot"]
        registry = Registry(broker)
        await registry.refresh()
        assert overall(registry.states("parrot")).expires_at
        assert await session.desk.unload_models(["parrot"])
        assert await session.desk.unload_models(["parrot"])
        assert session.told() == ["parrot: unloaded", "parrot: nothing to do"]
        assert not await session.desk.load_models(["parot"], None)
        assert session.told() == ["parot: The model 'parot' does not exist. Did you mean parrot?"]


async def test_queues_are_shown_paused_and_go_on(session: Session, broker: Any) -> None:
    """By model or all together; a queue that there is not is named, and so are those that there are."""
    await session.queue.enqueue(job := text())
    assert await session.desk.pause_queues(["m"], on=True)
    assert await session.desk.pause_queues([], on=True)
    assert await session.desk.pause_queues(["m"], on=True)
    assert session.told() == ["m: paused", "all queues: paused", "m: was paused already"]
    await session.desk.show_queues(json=False)
    heading, row, rest = session.told()
    assert heading.split()[:5] == ["MODEL", "INTERACTIVE", "NORMAL", "BATCH", "RUNNING"]
    assert row.split()[:5] == ["m", "0", "1", "0", "0"]
    assert rest.startswith("0 scheduled, 0 dead letters; all queues are paused since ")
    await session.desk.show_queues(json=True)
    assert session.json()["models"][0]["waiting"] == [0, 1, 0]
    assert not await session.desk.pause_queues(["n"], on=False)
    assert await session.desk.pause_queues([], on=False)
    assert await session.desk.pause_queues(["m"], on=False)
    assert session.told() == ["n: no such queue; there are those of m", "all queues: goes on", "m: goes on"]
    entries = [(entry.action, entry.target) for entry in await Audit(broker).recent()]
    assert entries == [("queue.resume", "m"), ("queue.resume", "*"), ("queue.pause", "*"), ("queue.pause", "m")]
    await session.queue.cancel(job.id)


async def test_chosen_jobs_are_purged_and_queued_again(session: Session, broker: Any) -> None:
    """Those of the filter; a dry run lists them."""
    async with working(broker) as worker:
        dead = await failed(session, worker)
        await session.queue.enqueue(mine := text(tenant="mine"))
        await session.desk.purge_jobs(Selection(tenant="mine"), dry=True)
        assert [row.split()[0] for row in session.told()] == ["ID", mine.id]
        await session.desk.purge_jobs(Selection(tenant="mine"), dry=False)
        assert await session.desk.requeue_chosen(Selection(states=(JobState.FAILED,), model="m"))
        assert session.told() == ["1 cancelled, 0 forgotten", "1 of 1 queued again"]
        await session.desk.show_job(dead, params=False, json=False)
        steps = [row.split()[2:4] for row in session.told() if row.startswith("  ")]
        assert [step[0] for step in steps] == ["queued", "leased", "failed", "requeued"]
        await session.desk.purge_jobs(Selection(), dry=False)


async def test_workers_rest_and_go_on(session: Session, broker: Any) -> None:
    """By name; one that is not there is told with those that are."""
    async with working(broker) as worker:
        assert await session.desk.rest_workers(["w"], on=True)
        await until(lambda: worker.leases._quiet)
        assert await session.desk.rest_workers(["w"], on=False)
        await until(lambda: not worker.leases._quiet)
        assert not await session.desk.rest_workers(["nobody"], on=True)
        owner = worker.leases.owner
    told = [
        f"{owner}: takes no new jobs",
        f"{owner}: goes on",
        f"nobody: no worker has this name or id; there are {owner}",
    ]
    assert session.told() == told
