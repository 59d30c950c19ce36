"""Residency: loaded once, within the budget, least recently used first, never under a running job."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import msgspec
import pytest

from velesio.backends.base import Engine, ModelCard, Work
from velesio.engines import Delivery
from velesio.errors import ModelLoadFailed, ModelNotFound, OutOfMemory, ShuttingDown
from velesio.jobs import Completed, Completion, Job, TextResult
from velesio.residency import Residency
from velesio.states import Wish


class Shelf:
    """A backend of toy models, each of 10 bytes and 2 slots, that counts its loads; `broken` cannot be loaded."""

    name: ClassVar[str] = "shelf"

    def __init__(self, *names: str) -> None:
        self.names = names
        self.loads: list[str] = []
        self.open: set[str] = set()
        self.most_open = 0
        self.gate = threading.Event()

    def models(self) -> list[ModelCard]:
        return [ModelCard(name=name, backend="shelf", capability="text", slots=2, bytes=10) for name in self.names]

    def load(self, card: ModelCard, report: Callable[[float], None]) -> Engine:
        self.loads.append(card.name)
        if card.name == "broken":
            raise ValueError("cannot read it")
        self.open.add(card.name)
        self.most_open = max(self.most_open, len(self.open))
        report(0.5)
        return Book(self, card.name)


class Book:
    """An engine that holds its works until the shelf's gate opens."""

    def __init__(self, shelf: Shelf, name: str) -> None:
        self.shelf, self.name = shelf, name
        self.works: list[Work] = []

    def admit(self, work: Work) -> bool:
        self.works.append(work)
        return True

    def step(self) -> None:
        assert self.shelf.gate.wait(10)
        for work in self.works:
            work.emit(Completed(TextResult("")))
        self.works.clear()

    def close(self) -> None:
        self.shelf.open.discard(self.name)


@asynccontextmanager
async def residency(shelf: Shelf, **options: Any) -> AsyncIterator[Residency]:
    ended = asyncio.Event()

    def deliver(deliveries: Sequence[Delivery]) -> None:
        ended.set()
        for work, _ in deliveries:
            tasks.append(asyncio.ensure_future(resident.touch(work.job.model)))

    tasks: list[asyncio.Future[None]] = []
    resident = Residency([shelf], deliver, **options)
    try:
        yield resident
    finally:
        shelf.gate.set()
        await resident.close()
        await asyncio.gather(*tasks)


def job(model: str) -> Job:
    return Job.new(model, Completion(""))


async def test_callers_together_load_once() -> None:
    """Ten callers that ask for the same model at once share one load."""
    shelf = Shelf("a")
    async with residency(shelf) as models:
        engines = await asyncio.gather(*(models.engine_for("a") for _ in range(10)))
        assert shelf.loads == ["a"]
        assert len(set(map(id, engines))) == 1


async def test_the_least_recently_used_idle_model_leaves() -> None:
    """With room for two, a third model takes the place of the one that was used longest ago."""
    shelf = Shelf("a", "b", "c")
    async with residency(shelf, budget=25) as models:
        for name in ("a", "b", "a", "c"):
            await models.engine_for(name)
        assert sorted(models.loaded) == ["a", "c"]
        assert shelf.open == {"a", "c"}


async def test_a_model_with_jobs_is_never_unloaded() -> None:
    """A model that needs the space of a busy one waits for its jobs to end; meanwhile nobody offers room."""
    shelf = Shelf("a", "b")
    async with residency(shelf, budget=15) as models:
        (await models.engine_for("a")).submit(job("a"))
        assert models.room() == {"a": 1}  # b does not fit beside a busy a
        waiting = asyncio.create_task(models.engine_for("b"))
        async with asyncio.timeout(10):
            while models.room():
                await asyncio.sleep(0)
        assert shelf.open == {"a"}
        shelf.gate.set()
        await waiting
        assert models.loaded == ["b"]
        assert shelf.most_open == 1


async def test_room_counts_what_is_on_its_way() -> None:
    """Slots less the works held and the leases that have not reached the engine."""
    shelf = Shelf("a")
    async with residency(shelf) as models:
        assert models.room() == {"a": 2}
        models.reserve("a")
        assert models.room() == {"a": 1}
        (await models.engine_for("a")).submit(job("a"))
        assert models.room() == {}
        models.unreserve("a")
        assert models.room() == {"a": 1}


async def test_a_failed_load_is_not_tried_in_a_loop() -> None:
    """The reason is given at once to the callers of the next seconds, and the model has no room for jobs."""
    shelf = Shelf("broken", "a")
    async with residency(shelf) as models:
        for _ in range(3):
            with pytest.raises(ModelLoadFailed, match="broken: cannot read it"):
                await models.engine_for("broken")
        assert shelf.loads == ["broken"]
        assert models.room() == {"a": 2}


async def test_idle_models_leave_after_their_keep_alive() -> None:
    """`sweep` unloads what was idle for longer, and nothing that has jobs."""
    shelf = Shelf("a", "b")
    async with residency(shelf, keep_alive=0.0) as models:
        await models.engine_for("a")
        (await models.engine_for("b")).submit(job("b"))
        await models.sweep()
        assert models.loaded == ["b"]


async def test_patterns_choose_the_models() -> None:
    """A worker that names models by pattern serves those and no other."""
    async with residency(Shelf("small-a", "small-b", "large"), patterns=("small-*",)) as models:
        assert [card.name for card in models.cards] == ["small-a", "small-b"]


async def test_closing_waits_for_a_load_and_starts_none() -> None:
    """A model that was being loaded when the end came is unloaded too, and callers that wait are refused."""
    shelf = Shelf("a", "b")
    async with residency(shelf, budget=15) as models:
        loading = asyncio.create_task(models.engine_for("a"))
        async with asyncio.timeout(10):
            while not shelf.loads:
                await asyncio.sleep(0)
        await models.close()
        await loading
        with pytest.raises(ShuttingDown):
            await models.engine_for("b")
    assert shelf.open == set()


async def test_an_unknown_model_is_refused() -> None:
    """A job for a model that this worker does not have is a clear error."""
    async with residency(Shelf("a")) as models:
        with pytest.raises(ModelNotFound):
            await models.engine_for("z")


def wish(
    model: str, loaded: bool, number: int = 1, keep_alive: float | None = None, pinned: bool | None = None
) -> Wish:
    return Wish(number=number, model=model, loaded=loaded, keep_alive=keep_alive, pinned=pinned)


async def test_each_model_has_a_keep_alive_of_its_own() -> None:
    """`keep_alives` overrides the general one for the models that it names."""
    async with residency(Shelf("a", "b"), keep_alive=0.0, keep_alives={"b": 1000.0}) as models:
        for name in ("a", "b"):
            await models.engine_for(name)
        await models.sweep()
        assert models.loaded == ["b"]
        assert models.states()["a"].state == "sleeping"


@pytest.mark.parametrize(("asked", "left"), [(None, ["a"]), (-1.0, ["a"]), (1000.0, ["a"]), (0.0, [])])
async def test_a_job_says_how_long_its_model_stays(asked: float | None, left: list[str]) -> None:
    """The keep-alive of the last job that named one counts: 0 unloads at the next sweep."""
    shelf = Shelf("a")
    async with residency(shelf, keep_alive=500.0) as models:
        await models.engine_for("a")
        await models.touch("a", asked)
        await models.sweep()
        assert models.loaded == left
        assert shelf.open == set(left)


@pytest.mark.parametrize(("later", "left"), [(True, ["a"]), (False, [])])
async def test_what_a_job_asked_for_ends_with_the_unloading(
    monkeypatch: pytest.MonkeyPatch, later: bool, left: list[str]
) -> None:
    """The next time that the model is loaded it stays for as long as configured; but a second job of the same request,
    which comes when the model is just gone, does not bring it back for ever."""
    monkeypatch.setattr("velesio.residency.AFTERTHOUGHT", -1.0 if later else 10.0)
    async with residency(Shelf("a")) as models:
        await models.engine_for("a")
        await models.touch("a", 0.0)
        await models.sweep()
        assert models.loaded == []
        await models.engine_for("a")
        await models.touch("a")
        await models.sweep()
        assert models.loaded == left


async def test_states_tell_what_becomes_of_a_model() -> None:
    """Unloaded, loading with its progress, loaded until a time, unloaded again; each change is told."""
    told: list[str] = []
    shelf = Shelf("a")
    opened = threading.Event()

    def load(card: ModelCard, report: Callable[[float], None]) -> Engine:
        report(0.5)
        assert opened.wait(10)
        return Book(shelf, card.name)

    shelf.load = load  # type: ignore[method-assign]
    async with residency(shelf, keep_alive=60.0, changed=lambda: told.append(models.states()["a"].state)) as models:
        began = time.time()
        assert models.states()["a"].state == "unloaded"
        loading = asyncio.create_task(models.engine_for("a"))
        async with asyncio.timeout(10):
            while models.states()["a"].progress < 0.5:
                await asyncio.sleep(0)
        assert models.states()["a"].state == "loading"
        assert models.progressing
        opened.set()
        await loading
        state = models.states()["a"]
        assert (state.state, state.progress, models.progressing) == ("loaded", 1.0, False)
        assert state.expires_at is not None
        assert began + 59 < state.expires_at < time.time() + 61
        assert state.since >= began
        await models.fulfil(wish("a", loaded=False))
    assert told[:3] == ["loading", "loaded", "unloaded"]


async def test_a_failed_load_is_a_state_with_its_reason() -> None:
    """`failed`, and a wish for it counts as done, so that whoever waits learns the reason."""
    async with residency(Shelf("broken")) as models:
        with pytest.raises(ModelLoadFailed):
            await models.fulfil(wish("broken", loaded=True, number=7))
        state = models.states()["broken"]
        assert (state.state, state.wish) == ("failed", 7)
        assert "cannot read it" in state.reason


async def test_a_wish_loads_and_unloads() -> None:
    """Its keep-alive counts from then on; one for a model that is elsewhere does nothing."""
    async with residency(Shelf("a"), keep_alive=0.0) as models:
        await models.fulfil(wish("a", loaded=True, keep_alive=-1.0))
        await models.sweep()
        assert models.loaded == ["a"]
        await models.fulfil(wish("a", loaded=False, number=2))
        assert models.loaded == []
        assert models.states()["a"].wish == 2
        await models.fulfil(wish("elsewhere", loaded=True))


async def test_a_busy_model_is_unloaded_when_its_jobs_have_ended() -> None:
    """Until then it keeps its engine and takes no more jobs; afterwards it can be loaded again."""
    shelf = Shelf("a")
    async with residency(shelf) as models:
        (await models.engine_for("a")).submit(job("a"))
        await models.fulfil(wish("a", loaded=False))
        assert shelf.open == {"a"}
        assert models.room() == {}
        shelf.gate.set()
        async with asyncio.timeout(10):
            while models.loaded:
                await asyncio.sleep(0)
        assert models.room() == {"a": 2}
        await models.engine_for("a")
        assert models.loaded == ["a"]


async def test_a_model_that_loads_is_unloaded_afterwards() -> None:
    """A wish to unload that comes in the middle of a load waits for its end."""
    shelf = Shelf("a")
    async with residency(shelf) as models:
        loading = asyncio.create_task(models.engine_for("a"))
        await asyncio.sleep(0)
        await models.fulfil(wish("a", loaded=False))
        await loading
        assert (models.loaded, shelf.loads) == ([], ["a"])


async def test_a_pinned_model_stays() -> None:
    """Neither other models nor a keep-alive make it leave; what does not fit beside it is refused, or left to other
    workers; unloading it ends the pin."""
    async with residency(Shelf("a", "b", "c"), budget=25, keep_alive=0.0) as models:
        await models.fulfil(wish("a", loaded=True, number=1, pinned=True))
        await models.sweep()
        state = models.states()["a"]
        assert (state.state, state.pinned, state.expires_at) == ("loaded", True, None)
        for name in ("b", "c"):
            await models.engine_for(name)
        assert sorted(models.loaded) == ["a", "c"]
        assert models.used == 20
        await models.fulfil(wish("c", loaded=True, number=2, pinned=True))
        assert "b" not in models.room()
        with pytest.raises(OutOfMemory, match=r"b needs 0 MiB.*pinned \(a, c\)"):
            await models.engine_for("b")
        await models.fulfil(wish("a", loaded=False, number=3))
        assert not models.states()["a"].pinned
        await models.fulfil(wish("c", loaded=True, number=4, pinned=False))
        await models.sweep()
        assert models.loaded == []


class Editions(Shelf):
    """A shelf whose cards tell an edition: another one is another file under the same name."""

    def __init__(self, edition: int, *names: str) -> None:
        super().__init__(*names)
        self.edition = edition

    def models(self) -> list[ModelCard]:
        return [msgspec.structs.replace(card, created=self.edition) for card in super().models()]


async def test_models_come_and_go_while_others_are_used() -> None:
    """A new one can be loaded at once; one that is gone is told of no more, and is unloaded if it has no jobs."""
    shelf = Shelf("a", "b")
    async with residency(shelf) as models:
        engine = await models.engine_for("a")
        await models.engine_for("b")
        assert models.restock([Shelf("a", "b")]) is False
        later = Shelf("a", "c")
        assert models.restock([later]) is True
        assert [card.name for card in models.cards] == ["a", "c"]
        await models.sweep()
        assert shelf.open == {"a"}
        assert await models.engine_for("a") is engine
        await models.engine_for("c")
        assert later.loads == ["c"]
        with pytest.raises(ModelNotFound):
            await models.engine_for("b")


async def test_a_model_that_is_gone_ends_its_jobs_first() -> None:
    """It has no room meanwhile; after the last one nothing is left of it."""
    shelf = Shelf("a")
    async with residency(shelf) as models:
        engine = await models.engine_for("a")
        engine.submit(job("a"))
        assert models.restock([Shelf("b")]) is True
        await models.sweep()
        assert (shelf.open, dict(models.room())) == ({"a"}, {"b": 2})
        await models.fulfil(Wish(number=1, model="a", loaded=True))  # a wish does not bring it back
        assert dict(models.room()) == {"b": 2}
        shelf.gate.set()
        async with asyncio.timeout(5):
            while "a" in models.states():
                await asyncio.sleep(0.005)
        assert not shelf.open


async def test_a_changed_model_is_loaded_anew_when_its_jobs_have_ended() -> None:
    """The new card is in force then; one that was not loaded has it at once."""
    old, new = Editions(1, "a", "b"), Editions(2, "a", "b")
    async with residency(old) as models:
        (await models.engine_for("a")).submit(job("a"))
        models.restock([new])
        assert {card.name: card.created for card in models.cards} == {"a": 1, "b": 2}
        assert dict(models.room()) == {"b": 2}
        old.gate.set()
        async with asyncio.timeout(5):
            while models.room().get("a") != 2:
                await asyncio.sleep(0.005)
        await models.engine_for("a")
        assert (old.loads, new.loads, old.open) == (["a"], ["a"], set())


async def test_a_model_that_comes_back_in_time_stays_loaded() -> None:
    """A file that was away for a moment costs nothing while its jobs go on."""
    shelf = Shelf("a")
    async with residency(shelf) as models:
        engine = await models.engine_for("a")
        engine.submit(job("a"))
        models.restock([])
        models.restock([Shelf("a")])
        assert dict(models.room()) == {"a": 1}
        assert await models.engine_for("a") is engine


async def test_patterns_choose_among_what_comes() -> None:
    """As among what was there."""
    async with residency(Shelf("a1"), patterns=["a*"]) as models:
        models.restock([Shelf("a1", "a2", "b1")])
        assert [card.name for card in models.cards] == ["a1", "a2"]
