"""A resident: one model that a worker can serve: its state, its engine while it is loaded, who holds it."""

import asyncio
import time
from dataclasses import dataclass, field

from velesio import metrics
from velesio.backends.base import Backend, ModelCard
from velesio.engines import EngineThread
from velesio.errors import VelesioError
from velesio.states import Counts, ModelState, State

RETRY_LOAD_AFTER = 30.0
"""Seconds for which a model that failed to load is not tried again."""


@dataclass(slots=True)
class Resident:
    """One model of this worker and, while it is loaded, its engine."""

    card: ModelCard
    backend: Backend
    configured: float
    """Seconds after the last use at which it is unloaded, negative: never; unless a client asks for something else."""
    engine: EngineThread | None = None
    starting: EngineThread | None = None
    """The engine, while it loads."""
    loading: asyncio.Lock = field(default_factory=asyncio.Lock)
    state: State = "unloaded"
    since: float = field(default_factory=time.time)
    reserved: int = 0
    """Leases taken that have not reached the engine yet."""
    used: float = 0.0
    """Monotonic time of the last use."""
    asked: float | None = None
    """The keep-alive that a client asked for; it holds until the model is unloaded, and a little longer."""
    pinned: bool = False
    """Whether it is not unloaded for others' sake, nor for having no jobs."""
    leaving: bool = False
    """Whether it takes no more jobs and is unloaded when those it has are done."""
    successor: tuple[ModelCard, Backend] | None = None
    """What takes its place then, since its files have changed."""
    gone: bool = False
    """Whether nothing does: its files are not there any more."""
    wish: int = 0
    """The number of the last wish that was fulfilled, as far as it could be."""
    counts: Counts = field(default_factory=Counts)
    failed: float = float("-inf")
    failure: VelesioError | None = None

    @property
    def held(self) -> int:
        """Jobs on their way to the engine or in it."""
        return self.reserved + (self.engine.held if self.engine else 0)

    @property
    def occupied(self) -> bool:
        """Whether it is loaded, or is being loaded, or will be."""
        return self.engine is not None or self.loading.locked() or self.reserved > 0

    @property
    def keep_alive(self) -> float:
        """Seconds after the last use at which it is unloaded; negative: never."""
        return self.configured if self.asked is None else self.asked

    @property
    def stale(self) -> bool:
        """Whether its files are not those that it was loaded from."""
        return self.gone or self.successor is not None

    def blocked(self, now: float) -> bool:
        """Whether a load failed a moment ago."""
        return self.failure is not None and now - self.failed < RETRY_LOAD_AFTER

    def expired(self, now: float) -> bool:
        """Whether it was idle for its keep-alive."""
        return not self.pinned and not self.held and 0 <= self.keep_alive <= now - self.used

    def enter(self, state: State) -> None:
        """Note the state and the time."""
        self.state, self.since = state, time.time()
        metrics.model_loaded.labels(self.card.name).set(state == "loaded")

    def described(self) -> ModelState:
        """What the registry is told."""
        starting, failure, expires = self.starting, self.failure, None
        if self.state == "loaded" and self.keep_alive >= 0 and not self.pinned:
            idle = 0.0 if self.held else time.monotonic() - self.used
            expires = round(time.time() - idle + self.keep_alive, 1)
        return ModelState(
            state=self.state,
            since=self.since,
            progress=starting.progress if starting else float(self.state == "loaded"),
            expires_at=expires,
            reason=failure.message if failure and self.state == "failed" else "",
            pinned=self.pinned,
            wish=self.wish,
        )
