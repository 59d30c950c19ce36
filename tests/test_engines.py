"""The engine thread: every submitted work gets exactly one end, whatever the engine does."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from velesio import heap
from velesio.backends.base import Engine, ModelCard, Work
from velesio.engines import Delivery, EngineThread
from velesio.errors import ModelLoadFailed
from velesio.jobs import Cancelled, Completed, Completion, Delta, Event, Failed, Job, TextResult, is_final

CARD = ModelCard(name="toy", backend="toy", capability="text", slots=2)


class Toy:
    """Counts down from the number in the prompt, one delta a step; `raise` raises in step, `bad` fails at once."""

    def __init__(self, slots: int = 2) -> None:
        self.slots = slots
        self.works: dict[Work, int] = {}
        self.threads = {threading.get_ident()}
        self.gate = threading.Event()
        self.gate.set()
        self.closed = False

    def admit(self, work: Work) -> bool:
        self.threads.add(threading.get_ident())
        if work.job.params.prompt == "bad":
            work.emit(Failed("invalid_request", "bad"))
            return True
        if len(self.works) >= self.slots:
            return False
        self.works[work] = 0
        return True

    def step(self) -> None:
        self.threads.add(threading.get_ident())
        assert self.gate.wait(10)
        for work in list(self.works):
            prompt = work.job.params.prompt
            if prompt == "raise":
                raise RuntimeError("toy broke")
            self.works[work] += 1
            if work.cancelled:
                del self.works[work]
                work.emit(Cancelled())
            elif prompt.isdigit() and self.works[work] > int(prompt):
                del self.works[work]
                work.emit(Completed(TextResult("done")))
            else:
                work.emit(Delta(str(self.works[work])))

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed = True


class Bench:
    """An engine thread with what it delivered."""

    def __init__(self, loader: Callable[[], Engine]) -> None:
        self.delivered: list[Delivery] = []
        self.arrived = asyncio.Condition()
        self.thread = EngineThread(CARD, lambda report: loader(), self._deliver)

    def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        self.delivered += deliveries
        self._notify = asyncio.ensure_future(self._tell())

    async def _tell(self) -> None:
        async with self.arrived:
            self.arrived.notify_all()

    def submit(self, prompt: str) -> Work:
        return self.thread.submit(Job.new("toy", Completion(prompt)))

    def of(self, work: Work) -> list[Event | None]:
        return [event for other, event in self.delivered if other is work]

    def ended(self, work: Work) -> bool:
        return any(event is None or is_final(event) for event in self.of(work))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(10), self.arrived:
            await self.arrived.wait_for(condition)


@pytest.fixture
def toys() -> list[Toy]:
    return []


@pytest.fixture
async def bench(toys: list[Toy]) -> AsyncIterator[Bench]:
    def load() -> Engine:
        toys.append(Toy())
        return toys[-1]

    bench = Bench(load)
    await bench.thread.start()
    yield bench
    await bench.thread.close()


async def test_one_thread_does_everything(bench: Bench, toys: list[Toy]) -> None:
    """Loading, admitting, stepping and closing happen on one thread, which is not the event loop's."""
    work = bench.submit("3")
    await bench.until(lambda: bench.ended(work))
    await bench.thread.close()
    assert toys[0].closed
    assert len(toys[0].threads) == 1
    assert threading.get_ident() not in toys[0].threads


async def test_events_arrive_in_order_and_end_once(bench: Bench) -> None:
    """Deltas in the order of emission, then one final event, for each of several works together."""
    works = [bench.submit(str(number)) for number in (5, 1, 3, 2)]  # more than slots
    await bench.until(lambda: all(map(bench.ended, works)))
    for work, number in zip(works, (5, 1, 3, 2), strict=True):
        *deltas, final = bench.of(work)
        assert [delta.text for delta in deltas] == [str(index + 1) for index in range(number)]
        assert isinstance(final, Completed)
    assert bench.thread.held == 0


async def test_a_raising_step_fails_its_members_and_hands_back_the_rest(bench: Bench, toys: list[Toy]) -> None:
    """Members fail with a retry allowed and the traceback kept; waiting works come back unharmed; the engine is new."""
    toys[0].gate.clear()
    member, other = bench.submit("raise"), bench.submit("9")
    waiting = bench.submit("1")
    toys[0].gate.set()
    await bench.until(lambda: all(map(bench.ended, (member, other, waiting))))
    failed = bench.of(member)[-1]
    assert isinstance(failed, Failed)
    assert failed.retry
    assert "toy broke" in failed.traceback
    assert bench.of(waiting) == [None]
    again = bench.submit("1")
    await bench.until(lambda: bench.ended(again))
    assert isinstance(bench.of(again)[-1], Completed)
    assert len(toys) == 2
    assert toys[0].closed


async def test_a_refused_work_disturbs_nobody(bench: Bench) -> None:
    """A work that fails in admit ends alone."""
    good, bad = bench.submit("2"), bench.submit("bad")
    await bench.until(lambda: bench.ended(good) and bench.ended(bad))
    assert isinstance(bench.of(bad)[-1], Failed)
    assert isinstance(bench.of(good)[-1], Completed)


async def test_cancel_is_seen_at_the_next_step(bench: Bench, toys: list[Toy]) -> None:
    """A cancelled work emits no delta that was computed after the cancel."""
    work = bench.submit("1000000")
    await bench.until(lambda: len(bench.of(work)) > 2)
    toys[0].gate.clear()
    bench.thread.cancel(work)
    toys[0].gate.set()
    await bench.until(lambda: bench.ended(work))
    assert isinstance(bench.of(work)[-1], Cancelled)


async def test_close_hands_back_what_is_held(bench: Bench, toys: list[Toy]) -> None:
    """Closing in the middle of works answers each of them with None."""
    works = [bench.submit("1000000") for _ in range(3)]
    await bench.until(lambda: bool(bench.of(works[0])))
    await bench.thread.close()
    await bench.until(lambda: all(map(bench.ended, works)))
    assert [bench.of(work)[-1] for work in works] == [None] * 3
    assert not bench.thread.alive


async def test_memory_goes_back_when_the_model_is_free(
    bench: Bench, toys: list[Toy], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the engine is closed, not before; on its own thread, so that nobody waits."""
    seen: list[tuple[bool, bool]] = []
    given = lambda: seen.append((toys[0].closed, threading.current_thread() is threading.main_thread()))  # noqa: E731
    monkeypatch.setattr(heap, "give_back", given)
    await bench.thread.close()
    assert seen == [(True, False)]


async def test_a_failed_load_says_why() -> None:
    """The library's reason reaches the caller as ModelLoadFailed."""

    def load() -> Engine:
        raise ValueError("no such tensor")

    bench = Bench(load)
    with pytest.raises(ModelLoadFailed, match="toy: no such tensor"):
        await bench.thread.start()
    assert not bench.thread.alive
    await bench.thread.close()


async def test_a_hanging_step_can_be_given_up(bench: Bench, toys: list[Toy]) -> None:
    """A step that does not return is noticed by its age, and its works are answered by whoever abandons it."""
    toys[0].gate.clear()
    work = bench.submit("5")
    async with asyncio.timeout(10):
        while bench.thread.stalled() == 0.0:
            await asyncio.sleep(0.001)  # the stall is a clock's reading: there is no event to await
    assert bench.thread.abandon() == [work]
    assert not bench.thread.alive
    toys[0].gate.set()
