"""Residency: which models are loaded: each once, on demand, within a budget of bytes; idle ones leave first."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch

import structlog

from velesio import metrics
from velesio.backends.base import Backend, ModelCard
from velesio.engines import Deliver, EngineThread
from velesio.errors import ModelNotFound, ShuttingDown, VelesioError

log = structlog.get_logger(__name__)

RETRY_LOAD_AFTER = 30.0
"""Seconds for which a model that failed to load is not tried again."""


@dataclass(slots=True)
class Resident:
    """One model of this worker and, while it is loaded, its engine."""

    card: ModelCard
    backend: Backend
    engine: EngineThread | None = None
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    reserved: int = 0
    """Leases taken that have not reached the engine yet."""
    used: float = 0.0
    """Monotonic time of the last use."""
    failed: float = float("-inf")
    failure: VelesioError | None = None

    @property
    def held(self) -> int:
        """Jobs on their way to the engine or in it."""
        return self.reserved + (self.engine.held if self.engine else 0)

    def blocked(self, now: float) -> bool:
        """Whether a load failed a moment ago."""
        return self.failure is not None and now - self.failed < RETRY_LOAD_AFTER


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
    ) -> None:
        """`patterns` of names limit which models are served (none: all); `budget` in bytes, 0 for four fifths of the
        machine's memory; `keep_alive` in seconds, negative: for ever."""
        self._deliver = deliver
        self.budget = budget or _four_fifths_of_memory()
        self._keep_alive = keep_alive
        self._residents = {
            card.name: Resident(card, backend)
            for backend in backends
            for card in backend.models()
            if not patterns or any(fnmatch(card.name, pattern) for pattern in patterns)
        }
        self._freed = asyncio.Condition()
        self._wanting_space = 0
        self._closed = False

    @property
    def cards(self) -> list[ModelCard]:
        """What this worker advertises."""
        return [resident.card for resident in self._residents.values()]

    @property
    def loaded(self) -> list[str]:
        """The names of the loaded models."""
        return [name for name, resident in self._residents.items() if resident.engine]

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
        if resident.blocked(now):
            return 0
        if resident.engine is None and not resident.loading.locked() and not self._fits(resident):
            return 0
        return resident.card.slots - resident.held

    def _fits(self, resident: Resident) -> bool:
        """Whether the model could be loaded at once, perhaps by unloading idle ones. One model alone always may."""
        busy = sum(other.card.bytes for other in self._residents.values() if other.held and other is not resident)
        return not busy or busy + resident.card.bytes <= self.budget

    def reserve(self, name: str) -> None:
        """Counts a lease that was taken, until `engine_for` has answered it."""
        self._residents[name].reserved += 1

    def unreserve(self, name: str) -> None:
        """The lease reached its engine or was given back."""
        self._residents[name].reserved -= 1

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
        await self._make_space(resident)
        card, backend = resident.card, resident.backend
        log.info("loading model", model=card.name, backend=card.backend, megabytes=card.bytes // 2**20)
        began = time.monotonic()
        engine = EngineThread(card, lambda report: backend.load(card, report), self._deliver)
        try:
            await engine.start()
        except VelesioError as error:
            resident.failed = time.monotonic()
            resident.failure = error
            raise
        resident.engine = engine
        resident.failure = None
        metrics.model_loaded.labels(card.name).set(1)
        log.info("model loaded", model=card.name, seconds=round(time.monotonic() - began, 2))

    async def _make_space(self, wanted: Resident) -> None:
        """Unloads idle models, least recently used first, until `wanted` fits; waits while all are busy."""
        self._wanting_space += 1
        try:
            while self._used_bytes() and self._used_bytes() + wanted.card.bytes > self.budget:
                idle = [
                    item for item in self._residents.values() if item.engine and not item.held and item is not wanted
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

    def _used_bytes(self) -> int:
        return sum(item.card.bytes for item in self._residents.values() if item.engine)

    async def _unload(self, resident: Resident) -> None:
        engine, resident.engine = resident.engine, None
        if engine is not None:
            log.info("unloading model", model=resident.card.name)
            metrics.model_loaded.labels(resident.card.name).set(0)
            await engine.close()

    async def touch(self, name: str) -> None:
        """A job of this model has ended: its keep-alive begins anew, and its memory may be free for another."""
        self._residents[name].used = time.monotonic()
        if self._wanting_space:
            async with self._freed:
                self._freed.notify_all()

    async def sweep(self) -> None:
        """Unloads the models that were idle for longer than their keep-alive."""
        if self._keep_alive < 0:
            return
        limit = time.monotonic() - self._keep_alive
        for resident in self._residents.values():
            if resident.engine and not resident.held and resident.used < limit and not resident.loading.locked():
                async with resident.loading:
                    await self._unload(resident)

    def replace(self, engine: EngineThread) -> None:
        """Forgets an engine whose thread hangs; the next job loads the model anew."""
        for resident in self._residents.values():
            if resident.engine is engine:
                resident.engine = None
                metrics.model_loaded.labels(resident.card.name).set(0)

    async def close(self) -> None:
        """Unloads everything, and loads nothing more."""
        self._closed = True
        async with self._freed:
            self._freed.notify_all()
        for resident in self._residents.values():
            async with resident.loading:  # a load under way is let to its end: a library cannot be interrupted
                await self._unload(resident)


def _four_fifths_of_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 4 // 5
