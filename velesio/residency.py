"""Residency: which models are loaded: each once, on demand, within a budget of bytes; idle ones leave first."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path

import structlog

from velesio.backends.base import Backend, ModelCard
from velesio.engines import Deliver, EngineThread
from velesio.errors import ModelNotFound, OutOfMemory, ShuttingDown, VelesioError
from velesio.jobs import TextResult
from velesio.resident import Resident
from velesio.states import Counts, ModelState, State, Wish, added

log = structlog.get_logger(__name__)

AFTERTHOUGHT = 10.0
"""Seconds within which a model that was unloaded and is loaded again belongs to the same matter: a request may need a
second job, and its keep-alive still counts."""


class Residency:
    """The models that this worker can serve and the engines that serve them."""

    def __init__(
        self,
        backends: Sequence[Backend],
        deliver: Deliver,
        *,
        patterns: Sequence[str] = (),
        budget: int = 0,
        keep_alive: float = -1.0,
        keep_alives: Mapping[str, float] | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        """`patterns` of names limit which models are served (none: all); `budget` in bytes, 0 for four fifths of the
        machine's memory; `keep_alive` in seconds, negative: for ever, `keep_alives` the same by model. `changed` is
        called when a model's state is another."""
        self._deliver = deliver
        self.budget = budget or _four_fifths_of_memory()
        self._patterns = tuple(patterns)
        self._usual, self._own = keep_alive, keep_alives or {}
        self._residents = {card.name: self._resident(card, backend) for card, backend in self._chosen(backends)}
        self._changed = changed
        self._freed = asyncio.Condition()
        self._wanting_space = 0
        self._closed = False

    def _chosen(self, backends: Sequence[Backend]) -> Iterator[tuple[ModelCard, Backend]]:
        for backend in backends:
            for card in backend.models():
                if not self._patterns or any(fnmatch(card.name, pattern) for pattern in self._patterns):
                    yield card, backend

    def _resident(self, card: ModelCard, backend: Backend) -> Resident:
        return Resident(card, backend, self._own.get(card.name, self._usual))

    def restock(self, backends: Sequence[Backend]) -> bool:
        """Serve what these backends have from now on. A model that is not among them any more, or whose card is another
        now, ends the jobs that it has, is unloaded, and only then gone or loaded anew. False: nothing is another."""
        chosen = {card.name: (card, backend) for card, backend in self._chosen(backends)}
        before = self.cards
        residents = {name: self._residents.get(name) or self._resident(*found) for name, found in chosen.items()}
        for name, (card, backend) in chosen.items():
            resident = residents[name]
            resident.gone, resident.leaving = False, resident.leaving and not resident.stale
            resident.successor = None if resident.card == card else (card, backend)
            if resident.successor is None:
                resident.backend = backend
        for name, resident in self._residents.items():
            if name not in chosen:
                residents[name], resident.gone = resident, True
        self._residents = residents  # as a whole: another thread may be reading
        for resident in tuple(residents.values()):
            resident.leaving = resident.leaving or resident.stale
            if resident.stale and not resident.occupied:
                self._retire(resident)
        return self.cards != before

    def _retire(self, resident: Resident) -> None:
        """A stale model is loaded no more: its successor takes its place, or nothing does."""
        if resident.successor is not None:
            (resident.card, resident.backend), resident.successor = resident.successor, None
            resident.failure, resident.leaving = None, False
        elif resident.gone:
            self._residents = {name: each for name, each in self._residents.items() if each is not resident}

    @property
    def cards(self) -> list[ModelCard]:
        """What this worker advertises."""
        return [resident.card for resident in self._residents.values() if not resident.gone]

    @property
    def loaded(self) -> list[str]:
        """The names of the loaded models."""
        return [name for name, resident in self._residents.items() if resident.engine]

    def states(self) -> dict[str, ModelState]:
        """The state of each model. May be called in another thread."""
        return {name: resident.described() for name, resident in self._residents.items()}

    def counts(self) -> dict[str, Counts]:
        """What was computed with each model. May be read in another thread."""
        return {name: resident.counts for name, resident in self._residents.items()}

    def count(self, name: str, result: TextResult) -> None:
        """A job of this model was settled with a text."""
        if (resident := self._residents.get(name)) is None:
            return
        counts, usage, timings = resident.counts, result.usage, result.timings
        counts.prompt_tokens += usage.prompt_tokens - usage.cached_tokens
        counts.cached_tokens += usage.cached_tokens
        counts.generated_tokens += usage.completion_tokens
        counts.prompt_seconds += timings.prompt_ms / 1000
        counts.generated_seconds += timings.predicted_ms / 1000
        counts.longest = max(counts.longest, usage.prompt_tokens + usage.completion_tokens)
        counts.drafted += timings.drafted
        counts.accepted += timings.accepted
        counts.drafts += timings.drafts
        counts.accepted_at = added((counts.accepted_at, timings.accepted_at))

    @property
    def progressing(self) -> bool:
        """Whether a model is being loaded."""
        return any(resident.starting for resident in self._residents.values())

    def engines(self) -> list[EngineThread]:
        """The loaded engines."""
        return [resident.engine for resident in self._residents.values() if resident.engine]

    def room(self) -> Mapping[str, int]:
        """How many jobs of each model could be admitted now; models without room are left out."""
        if self._wanting_space:  # let the loaded ones run dry, so that the model that waits gets its turn
            return {}
        now = time.monotonic()
        rooms = {name: self._room(resident, now) for name, resident in self._residents.items()}
        return {name: room for name, room in rooms.items() if room > 0}

    def _room(self, resident: Resident, now: float) -> int:
        if resident.leaving or resident.blocked(now):
            return 0
        if resident.engine is None and not resident.loading.locked() and not self._fits(resident):
            return 0
        return resident.card.slots - resident.held

    def _fits(self, resident: Resident) -> bool:
        """Whether the model could be loaded at once, perhaps by unloading idle ones. One model alone always may."""
        busy = sum(
            other.card.bytes
            for other in self._residents.values()
            if (other.held or (other.pinned and other.engine)) and other is not resident
        )
        return not busy or busy + resident.card.bytes <= self.budget

    def reserve(self, name: str) -> None:
        """Counts a lease that was taken, until `engine_for` has answered it."""
        if resident := self._residents.get(name):
            resident.reserved += 1

    def unreserve(self, name: str) -> None:
        """The lease reached its engine or was given back."""
        if resident := self._residents.get(name):
            resident.reserved -= 1

    def engine_at_hand(self, name: str) -> EngineThread | None:
        """The engine of a model that is loaded and stays; None: ask `engine_for`, which may take a while."""
        resident = self._residents.get(name)
        if resident is None or resident.engine is None or resident.loading.locked() or not resident.engine.alive:
            return None
        resident.used = time.monotonic()
        return resident.engine

    async def engine_for(self, name: str) -> EngineThread:
        """The loaded engine of a model, loading it first if need be.

        Raises:
            ModelNotFound: this worker has no such model.
            ModelLoadFailed: it cannot be loaded, now or a moment ago.
        """
        resident = self._residents.get(name)
        if resident is None:
            raise ModelNotFound(f"this worker has no model {name!r}")
        resident.used = time.monotonic()
        async with resident.loading:
            if resident.engine is not None and not resident.engine.alive:
                await self._unload(resident)
            if resident.engine is None:
                await self._load(resident)
            assert resident.engine is not None  # noqa: S101 - narrows for the type checker
            return resident.engine

    async def _load(self, resident: Resident) -> None:
        if self._closed:
            raise ShuttingDown
        if resident.blocked(time.monotonic()) and resident.failure is not None:
            raise resident.failure
        if time.time() - resident.since > AFTERTHOUGHT:
            resident.asked = None
        self._enter(resident, "loading")
        try:
            resident.engine = await self._started(resident)
        except ShuttingDown:
            self._enter(resident, "unloaded")
            raise
        except VelesioError as error:
            resident.failed = time.monotonic()
            resident.failure = error
            self._enter(resident, "failed")
            raise
        finally:
            resident.starting = None
        resident.failure = None
        resident.used = time.monotonic()
        self._enter(resident, "loaded")

    async def _started(self, resident: Resident) -> EngineThread:
        await self._make_space(resident)
        card, backend = resident.card, resident.backend
        log.info("loading model", model=card.name, backend=card.backend, megabytes=card.bytes // 2**20)
        began = time.monotonic()
        engine = EngineThread(card, lambda report: backend.load(card, report), self._deliver, resident.counts)
        resident.starting = engine
        await engine.start()
        log.info("model loaded", model=card.name, seconds=round(time.monotonic() - began, 2))
        return engine

    async def _make_space(self, wanted: Resident) -> None:
        """Unloads idle models, least recently used first, until `wanted` fits; waits while all are busy.

        Raises:
            OutOfMemory: it does not fit beside those that are pinned.
        """
        self._wanting_space += 1
        try:
            while self.used and self.used + wanted.card.bytes > self.budget:
                self._check_pinned(wanted)
                idle = [
                    item
                    for item in self._residents.values()
                    if item.engine and not item.held and not item.pinned and item is not wanted
                ]
                if idle:
                    await self._unload(min(idle, key=lambda item: item.used))
                elif self._closed:
                    raise ShuttingDown
                else:
                    async with self._freed:
                        await self._freed.wait()
        finally:
            self._wanting_space -= 1

    def _check_pinned(self, wanted: Resident) -> None:
        pinned = [item for item in self._residents.values() if item.engine and item.pinned]
        held = sum(item.card.bytes for item in pinned)
        if pinned and held + wanted.card.bytes > self.budget:
            raise OutOfMemory(
                f"{wanted.card.name} needs {wanted.card.bytes // 2**20} MiB; of the {self.budget // 2**20} MiB of the "
                f"budget {held // 2**20} are pinned ({', '.join(item.card.name for item in pinned)})"
            )

    @property
    def used(self) -> int:
        """Bytes of the budget that loaded models take."""
        return sum(item.card.bytes for item in self._residents.values() if item.engine)

    async def _unload(self, resident: Resident, state: State = "unloaded") -> None:
        engine, resident.engine = resident.engine, None
        resident.leaving = resident.gone
        if engine is not None:
            log.info("unloading model", model=resident.card.name)
            self._enter(resident, state)
            await engine.close()
        if resident.stale and not resident.held:
            self._retire(resident)
            self._changed()

    def _enter(self, resident: Resident, state: State) -> None:
        resident.enter(state)
        self._changed()

    async def fulfil(self, wish: Wish) -> None:
        """Loads a model, or unloads it when its jobs have ended; a wish for a model that is not here is none.

        Raises:
            ModelLoadFailed: it cannot be loaded, now or a moment ago.
        """
        resident = self._residents.get(wish.model)
        if resident is None:
            return
        resident.leaving = not wish.loaded or resident.stale
        if wish.keep_alive is not None or resident.engine is None:
            resident.asked = wish.keep_alive
        try:
            if wish.loaded:
                await self.engine_for(wish.model)
                resident.pinned = resident.pinned if wish.pinned is None else wish.pinned
            else:
                resident.pinned = False
                await self._leave(resident)
        finally:
            resident.wish = max(resident.wish, wish.number)
            self._changed()

    async def _leave(self, resident: Resident) -> None:
        """Unloads a model that nobody uses; one that has jobs is unloaded by `touch` when the last one has ended."""
        async with resident.loading:
            if resident.leaving and not resident.held:
                await self._unload(resident)

    async def touch(self, name: str, keep_alive: float | None = None) -> None:
        """A job of this model has ended: its keep-alive begins anew, with the seconds that the job asked for if it
        did, and its memory may be free for another. Even one of 0 s waits for the next `sweep`: the same request may
        have a second job."""
        if (resident := self._residents.get(name)) is None:
            return
        resident.used = time.monotonic()
        if keep_alive is not None and keep_alive != resident.asked:
            resident.asked = keep_alive
            self._changed()
        if resident.engine and not resident.held and resident.leaving:
            await self._leave(resident)
        if self._wanting_space:
            async with self._freed:
                self._freed.notify_all()

    async def sweep(self) -> None:
        """Unloads the models that were idle for longer than their keep-alive, or whose files are others now."""
        now = time.monotonic()
        for resident in tuple(self._residents.values()):
            if resident.stale and not resident.held and not resident.loading.locked():
                await self._leave(resident)
            elif resident.engine and resident.expired(now) and not resident.loading.locked():
                async with resident.loading:
                    await self._unload(resident, "sleeping")

    def replace(self, engine: EngineThread) -> None:
        """Forgets an engine whose thread hangs; the next job loads the model anew."""
        for resident in self._residents.values():
            if resident.engine is engine:
                resident.engine = None
                self._enter(resident, "unloaded")

    async def close(self) -> None:
        """Unloads everything, and loads nothing more."""
        self._closed = True
        async with self._freed:
            self._freed.notify_all()
        for resident in tuple(self._residents.values()):
            async with resident.loading:  # a load under way is let to its end: a library cannot be interrupted
                await self._unload(resident)


def _four_fifths_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 4 // 5


def resident_bytes() -> int:
    """Bytes of memory that this process holds; 0 where the system does not tell."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")
