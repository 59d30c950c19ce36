"""The worker between the real queue and real engines of the echo backend."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.echoing import spec, working
from velesio.config import QueueSection, RedisSection
from velesio.jobs import Cancelled, Completed, Completion, Delta, Event, Failed, Job, JobState, TextResult
from velesio.queue import wishes
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.leases import Leases
from velesio.queue.registry import Registry
from velesio.queue.replies import Inbox
from velesio.states import ModelState, overall
from velesio.worker import Worker


@asynccontextmanager
async def listening(broker: Broker) -> AsyncIterator[Inbox]:
    inbox = Inbox(broker, "g")
    await inbox.start()
    try:
        yield inbox
    finally:
        await inbox.close()


async def ask(broker: Broker, inbox: Inbox, prompt: str, model: str = "m", **fields: Any) -> list[Event]:
    """Everything that a job answers."""
    job = Job.new(model, Completion(prompt, max_tokens=fields.pop("max_tokens", 8)), gateway=inbox.gateway_id, **fields)
    events: list[Event] = []
    async with asyncio.timeout(20), inbox.watch(job) as watch:
        await JobQueue(broker).enqueue(job)
        async for batch in watch:
            events += batch
    return events


def text_of(event: Event) -> str:
    assert isinstance(event, Completed)
    assert isinstance(event.result, TextResult)
    return event.result.text


@pytest.fixture
async def brisk(broker: Broker, valkey_url: str) -> AsyncIterator[Broker]:
    """The same server with two attempts and no pause between them."""
    brisk = await Broker.connect(RedisSection(url=valkey_url), QueueSection(retry_delay=0.01, max_attempts=2))
    yield brisk
    await brisk.close()


async def test_a_job_is_taken_performed_and_settled(broker: Broker) -> None:
    """Deltas make up the final text; the record ends as done."""
    async with listening(broker) as inbox, working(broker):
        *before, final = await ask(broker, inbox, "one two three", stream=True)
        assert "".join(event.text for event in before if isinstance(event, Delta)) == text_of(final)
    assert (await JobQueue(broker).recent(JobState.DONE))[0].attempts == 1


async def test_deltas_are_sent_only_where_they_are_wanted(broker: Broker) -> None:
    """A job without `stream` answers with its final event alone."""
    async with listening(broker) as inbox, working(broker):
        assert len(await ask(broker, inbox, "one two three")) == 1


async def test_no_more_is_taken_than_there_is_room_for(broker: Broker) -> None:
    """With two slots a worker never holds three leases, and what waits can be taken by another worker."""
    async with listening(broker) as inbox, working(broker, spec(slots=2, tokens_per_second=40)) as worker:
        asked = [asyncio.create_task(ask(broker, inbox, "a b c d e f g h")) for _ in range(7)]
        most = 0
        while not all(task.done() for task in asked):
            most = max(most, len(worker.facts()["jobs"]))
            await asyncio.sleep(0.005)
        assert most == 2
        assert {text_of((await task)[-1]) for task in asked} != {""}


async def test_room_in_one_model_is_used_while_another_is_full(broker: Broker) -> None:
    """A full model keeps nobody else waiting, and is served again as soon as it has room."""
    specs = (spec("slow", slots=1, tokens_per_second=10), spec("fast"))
    async with listening(broker) as inbox, working(broker, *specs):
        slow = [asyncio.create_task(ask(broker, inbox, "a b c d e", "slow")) for _ in range(2)]
        await ask(broker, inbox, "quick", "fast")
        assert not slow[0].done()
        for task in slow:
            assert isinstance((await task)[-1], Completed)


async def test_a_raising_engine_costs_its_members_an_attempt(brisk: Broker) -> None:
    """A job whose engine raised is tried again, up to the limit, and then is a dead letter with the traceback."""
    async with listening(brisk) as inbox, working(brisk):
        (final,) = await ask(brisk, inbox, "[[raise]]")
        assert isinstance(final, Failed)
        assert text_of((await ask(brisk, inbox, "fine"))[-1])
    (record,) = await JobQueue(brisk).recent(JobState.FAILED)
    assert record.attempts == 2
    assert isinstance(record.result, Failed)
    assert "Traceback" in record.result.traceback


async def test_a_hanging_engine_is_given_up(brisk: Broker) -> None:
    """A step that does not return ends as a failed attempt; the next one has an engine of its own, and the worker
    says that it has a thread that it cannot end."""
    released = threading.Event()
    async with listening(brisk) as inbox, working(brisk, step_timeout=0.2) as worker:
        worker.residency._residents["m"].backend = Stuck(released)  # type: ignore[assignment]
        (final,) = await ask(brisk, inbox, "late")
        assert isinstance(final, Failed)
        assert "hung" in final.message
        assert worker.hung
        released.set()


async def test_a_cancelled_job_ends_at_its_next_step(broker: Broker) -> None:
    """Cancel reaches the engine of a running job, and its slot is free again."""
    async with listening(broker) as inbox, working(broker, spec(slots=1, tokens_per_second=20)) as worker:
        job = Job.new("m", Completion("a " * 500, max_tokens=500), gateway="g", stream=True)
        queue = JobQueue(broker)
        async with asyncio.timeout(10), inbox.watch(job) as watch:
            await queue.enqueue(job)
            events = list(await anext(watch))
            assert await queue.cancel(job.id, "enough")
            async for batch in watch:
                events += batch
        assert isinstance(events[-1], Cancelled)
        async with asyncio.timeout(5):
            while worker.facts()["jobs"]:
                await asyncio.sleep(0.005)
        assert isinstance((await ask(broker, inbox, "next"))[-1], Completed)


async def test_reasoning_that_goes_on_for_too_long_is_ended(broker: Broker) -> None:
    """The engine is told at its next step; a job that nobody computes is none to end."""
    async with listening(broker) as inbox, working(broker, spec(tokens_per_second=20)) as worker:
        job = Job.new("m", Completion("a b c", max_tokens=500), gateway="g", stream=True)
        queue = JobQueue(broker)
        assert not await queue.conclude(job.id)
        async with asyncio.timeout(10), inbox.watch(job) as watch:
            await queue.enqueue(job)
            await anext(watch)
            work = worker._held[job.id].work
            assert work is not None
            assert not work.thought_enough
            assert await queue.conclude(job.id)
            while not work.thought_enough:
                await asyncio.sleep(0.005)
            events = [event async for batch in watch for event in batch]
        assert isinstance(events[-1], Completed)
        assert not await queue.conclude(job.id)


async def test_a_drain_gives_back_what_it_cannot_finish(broker: Broker) -> None:
    """After the patience the rest goes back unharmed: another worker answers it as a first attempt."""
    async with listening(broker) as inbox:
        async with working(broker, spec(tokens_per_second=4), name="first", patience=0.1) as worker:
            asked = asyncio.create_task(ask(broker, inbox, "a b c d e f g h", stream=True))
            async with asyncio.timeout(10):
                while not worker.facts()["jobs"]:
                    await asyncio.sleep(0.005)
        assert not asked.done()
        async with working(broker, name="second"):
            *before, final = await asked
        assert "".join(event.text for event in before if isinstance(event, Delta)) == text_of(final)
    (record,) = await JobQueue(broker).recent(JobState.DONE)
    assert record.crashes == 0


async def test_a_model_that_cannot_be_loaded_fails_its_jobs_with_the_reason(brisk: Broker) -> None:
    """The client is told what the library said."""
    async with listening(brisk) as inbox, working(brisk, preload=False) as worker:
        resident = worker.residency._residents["m"]
        resident.backend = Broken()  # type: ignore[assignment]
        (final,) = await ask(brisk, inbox, "hello")
        assert isinstance(final, Failed)
        assert final.code == "model_load_failed"
        assert "no such file" in final.message


class Stuck:
    """A backend whose engines never return from a step until they are released."""

    def __init__(self, released: threading.Event) -> None:
        self.released = released

    def load(self, card: object, report: object) -> "Stuck":
        return self

    def admit(self, work: object) -> bool:
        return True

    def step(self) -> None:
        self.released.wait(30)

    def close(self) -> None:
        pass


class Broken:
    """A backend that cannot load anything."""

    def load(self, card: object, report: object) -> None:
        raise OSError("no such file")


async def test_a_job_cancelled_before_it_was_accepted_ends(broker: Broker) -> None:
    """An order that comes while the lease is on its way from the queue is obeyed as soon as the job is here."""
    queue = JobQueue(broker)
    async with listening(broker) as inbox, working(broker, spec(tokens_per_second=1)) as worker:
        take = worker._leases.take

        async def overtaken(*arguments: Any, **options: Any) -> Any:
            leases = await take(*arguments, **options)
            for lease in leases:
                await queue.cancel(lease.job.id, "no")
                while not lease.ending:
                    await asyncio.sleep(0.005)
            return leases

        worker._leases.take = overtaken  # type: ignore[method-assign]
        assert (await ask(broker, inbox, "a b c d e f g h", max_tokens=800))[-1] == Cancelled("no")


@asynccontextmanager
async def knowing(broker: Broker, workers: int = 1) -> AsyncIterator[Registry]:
    """A registry that has seen so many workers."""
    registry = Registry(broker)
    await registry.start()
    async with asyncio.timeout(5):
        while len(registry.workers()) < workers:
            await registry.changed(1.0)
    try:
        yield registry
    finally:
        await registry.close()


async def state_of(registry: Registry, model: str, state: str) -> ModelState:
    """The model's state, once it is this one."""
    async with asyncio.timeout(10):
        while (found := overall(registry.states(model))).state != state:
            await registry.changed(1.0)
    return found


async def test_a_gateway_has_a_model_loaded_and_unloaded(broker: Broker) -> None:
    """It sees the load make progress, waits for its end, and the same for unloading."""
    slow = spec(load_seconds=2.5)
    async with working(broker, slow, preload=False) as worker, knowing(broker) as registry:
        assert (await state_of(registry, "m", "unloaded")).progress == 0
        told = await wishes.load(broker, registry, "m", keep_alive=300.0)
        loading = await state_of(registry, "m", "loading")
        async with asyncio.timeout(5):
            while not 0 < loading.progress < 1:
                await registry.changed(1.0)
                loading = overall(registry.states("m"))
        [state] = await wishes.fulfilled(registry, told, 10)
        assert state.state == "loaded"
        assert state.expires_at is not None
        assert worker.residency.loaded == ["m"]
        told = await wishes.unload(broker, registry, "m")
        [state] = await wishes.fulfilled(registry, told, 10)
        assert (state.state, worker.residency.loaded) == ("unloaded", [])
        assert (await wishes.unload(broker, registry, "m")).workers == ()


async def test_unloading_lets_jobs_end_and_later_jobs_load_again(broker: Broker) -> None:
    """The job under way is answered whole; the one that waits meanwhile is answered by the model loaded anew."""
    slow = spec(slots=1, tokens_per_second=20)
    async with listening(broker) as inbox, working(broker, slow) as worker, knowing(broker) as registry:
        await state_of(registry, "m", "loaded")
        running = asyncio.create_task(ask(broker, inbox, "a b c d e f g h"))
        async with asyncio.timeout(5):
            while not worker.facts()["jobs"]:
                await asyncio.sleep(0.005)
        told = await wishes.unload(broker, registry, "m")
        waiting = asyncio.create_task(ask(broker, inbox, "later"))
        assert text_of((await running)[-1]) == "a b c d e f g h"
        await wishes.fulfilled(registry, told, 10)
        assert text_of((await waiting)[-1]) == "later"


async def test_a_job_keeps_its_model_for_as_long_as_it_says(broker: Broker) -> None:
    """The registry shows when the model will go; 0 unloads it when the job has ended."""
    async with listening(broker) as inbox, working(broker) as worker, knowing(broker) as registry:
        await state_of(registry, "m", "loaded")
        for keep_alive in (600.0, 0.0):
            job = Job.new("m", Completion("hello", keep_alive=keep_alive), gateway=inbox.gateway_id)
            async with inbox.watch(job) as watch:
                await JobQueue(broker).enqueue(job)
                async for _ in watch:
                    pass
            if keep_alive:
                async with asyncio.timeout(5):
                    while overall(registry.states("m")).expires_at is None:
                        await registry.changed(1.0)
        await state_of(registry, "m", "sleeping")
        assert worker.residency.loaded == []


async def test_the_worker_with_least_to_do_loads(broker: Broker) -> None:
    """Of two workers without the model, the one that has nothing else loaded; then only that one is told again."""
    both = (spec("a"), spec("b"))
    async with (
        working(broker, *both, name="one", preload=False) as one,
        working(broker, *both, name="two", preload=False) as two,
        knowing(broker, 2) as registry,
    ):
        for name in ("a", "b"):
            await wishes.fulfilled(registry, await wishes.load(broker, registry, name), 10)
        assert sorted(one.residency.loaded + two.residency.loaded) == ["a", "b"]
        assert len(one.residency.loaded) == 1
        again = await wishes.load(broker, registry, "a", keep_alive=5.0)
        await wishes.fulfilled(registry, again, 10)
        assert len(again.workers) == 1


async def free(worker: Worker) -> None:
    """Waits until a worker holds nothing."""
    async with asyncio.timeout(5):
        while worker.facts()["jobs"]:
            await asyncio.sleep(0.005)


async def test_a_defect_in_ending_a_job_costs_it_an_attempt(brisk: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place is free at once, and it is tried again; the next one ends as ever."""
    settle, defects = Leases.settle, [1]

    async def broken(self: Leases, lease: Any, final: Any) -> bool:
        if isinstance(final, Completed) and defects:
            defects.clear()
            raise TypeError("a defect")
        return await settle(self, lease, final)

    monkeypatch.setattr(Leases, "settle", broken)
    async with listening(brisk) as inbox, working(brisk, spec(slots=1)) as worker:
        assert text_of((await ask(brisk, inbox, "one two"))[-1])
        await free(worker)
    (record,) = await JobQueue(brisk).recent(JobState.DONE)
    assert (record.attempts, record.crashes) == (2, 0)


async def test_a_job_that_cannot_be_ended_at_all_is_left_to_others(
    broker: Broker, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease is renewed no more, so it runs out; this worker's place is free meanwhile."""
    settle, defects = Leases.settle, [1, 2]

    async def broken(self: Leases, lease: Any, final: Any) -> bool:
        if defects:
            defects.pop()
            raise TypeError("a defect")
        return await settle(self, lease, final)

    monkeypatch.setattr(Leases, "settle", broken)
    section = QueueSection(lease=0.4, beat=0.1, reclaim_interval=0.1)
    brief = await Broker.connect(RedisSection(url=valkey_url), section)
    async with listening(brief) as inbox, working(brief, spec(slots=1)) as worker:
        lost = asyncio.create_task(ask(brief, inbox, "one two"))
        assert text_of((await lost)[-1])
        await free(worker)
    (record,) = await JobQueue(brief).recent(JobState.DONE)
    assert (record.attempts, record.crashes) == (2, 1)
    await brief.close()
