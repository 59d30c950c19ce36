"""Live: requests for pictures that this gateway answers now, by who asks: their progress, and how they are stopped."""

import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from aiohttp import web

from velesio.errors import Conflict
from velesio.jobs import Event, Job, Preview, Progress

_REMEMBERED = 1000
"""Ended requests that are told from unknown ones."""

Owner = tuple[str, str]
"""Tenant and id of a key."""


class Round:
    """One job of a request."""

    def __init__(self, job_id: str, model: str) -> None:
        self.job_id = job_id
        self.model = model
        self.begun = False
        self.over = False
        self.stopped = False
        """Whether its client stopped it: it then gives what it has."""
        self.done, self.total = 0, 0
        """Steps."""
        self.preview = b""

    def see(self, event: Event) -> None:
        """Note what an event says."""
        self.begun = True
        if isinstance(event, Progress | Preview):
            self.done, self.total = max(self.done, event.done), event.total
        if isinstance(event, Preview):
            self.preview = event.picture

    @property
    def part(self) -> float:
        """How much of it is done, 0 to 1."""
        if self.over:
            return 1.0
        return self.done / self.total if self.total else 0.0


class Running:
    """One request."""

    def __init__(self, task: str, jobs: Sequence[Job], steps: int) -> None:
        self.task = task
        self.rounds = [Round(job.id, job.model) for job in jobs]
        self.steps = steps
        self.began = time.monotonic()
        self.stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
        self.interrupted = False
        self.skipped = False

    @property
    def begun(self) -> bool:
        """Whether a worker has one of its jobs."""
        return any(each.begun for each in self.rounds)

    @property
    def current(self) -> Round:
        """The job that is computed, the first of several."""
        return next((each for each in self.rounds if not each.over), self.rounds[-1])

    @property
    def progress(self) -> float:
        """0.01 when it begins, up to 1."""
        if not self.begun:
            return 0.0
        return min(0.01 + sum(each.part for each in self.rounds) / len(self.rounds), 1.0)

    @property
    def eta(self) -> float:
        """Seconds that are left, by its pace so far."""
        elapsed, progress = time.monotonic() - self.began, self.progress
        return max(elapsed / progress - elapsed, 0.0) if progress else 0.0

    @property
    def preview(self) -> bytes:
        """The latest one, of the job that is computed if it has one."""
        found = [each.preview for each in self.rounds if each.preview and not each.over]
        return found[0] if found else b""

    def stop(self, *, all_rounds: bool) -> list[str]:
        """Mark what shall stop; the ids of its jobs."""
        self.interrupted, self.skipped = self.interrupted or all_rounds, self.skipped or not all_rounds
        rounds = [each for each in self.rounds if not each.over]
        for each in rounds if all_rounds else rounds[:1]:
            each.stopped = True
        return [each.job_id for each in rounds if each.stopped]


class Live:
    """All of them. What one key asks for, no other key sees."""

    def __init__(self) -> None:
        self._running: dict[tuple[Owner, str], Running] = {}
        self._ended: OrderedDict[tuple[Owner, str], None] = OrderedDict()

    @contextmanager
    def following(self, owner: Owner, running: Running) -> Iterator[None]:
        """Knows a request inside the block.

        Raises:
            Conflict: another one of the same owner has its name.
        """
        place = owner, running.task
        if place in self._running:
            raise Conflict(
                f"a request with the task id {running.task!r} is running; choose another", param="force_task_id"
            )
        self._ended.pop(place, None)
        self._running[place] = running
        try:
            yield
        finally:
            del self._running[place]
            self._ended[place] = None
            while len(self._ended) > _REMEMBERED:
                self._ended.popitem(last=False)

    def of(self, owner: Owner, task: str = "") -> list[Running]:
        """An owner's requests, oldest first; those with that name only, if there is one."""
        return [running for (whose, name), running in self._running.items() if whose == owner and task in {"", name}]

    def ended(self, owner: Owner, task: str) -> bool:
        """Whether such a request has ended here not long ago."""
        return (owner, task) in self._ended


LIVE = web.AppKey("live", Live)
