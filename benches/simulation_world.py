"""A world in virtual time: tenants that send jobs, workers that take, beat and die; the queue between them is real.

An event is a moment and what happens then; nothing waits for the clock of the machine. The scripts get the moment as
their time. What is simulated is the work (a job takes as many seconds as it costs, a quarter more or less) and what
`velesio.queue.leases` does: ask while there is room and jobs may wait, wait for a token otherwise, beat, settle.
"""

import heapq
import itertools
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from benches.simulation_scripts import Leased, Scripts
from velesio.config import QueueSection

_NOISE = 0.25
_SPREAD, _LARGEST = 0.7, 4.0
"""Of the logarithm of jobs' sizes; the largest, in means."""
_POLL = 100
"""Milliseconds until a worker with room asks again that got nothing though jobs wait."""
_SWEEPS = 1.0
_ANSWERED = 200
_EVERY = 15.0
"""Seconds of the machine between two words about how far it is."""


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """Who sends jobs."""

    name: str
    weight: float
    demand: float
    """Work that it asks for, as a part of what all workers can do."""
    size: float
    """Seconds that its jobs cost, on average."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A world."""

    tenants: tuple[Tenant, ...]
    workers: int
    slots: int = 4
    seconds: float = 240.0
    """For which jobs come."""
    warm: float = 60.0
    """Of these, at the beginning, which are left out of the shares."""
    between_deaths: float = 6 * 3600.0
    """Seconds between two deaths of one worker, on average."""
    away: float = 40.0
    """Seconds until it is back."""
    cut_off: float = 0.25
    """Part of the deaths that are none: the worker goes on without reaching the broker, and comes back."""
    backlog: float = 0.25
    """Jobs that a tenant may have waiting, for each slot there is."""
    seed: int = 1

    @property
    def capacity(self) -> int:
        """Seconds of work done in a second."""
        return self.workers * self.slots

    def settings(self) -> QueueSection:
        """Those of the queue: the defaults, with room for what waits."""
        cap = max(1, round(self.backlog * self.capacity))
        return QueueSection(cap=cap * len(self.tenants), tenant_cap=cap)


class Track(msgspec.Struct, kw_only=True):
    """What became of one job; times in ms."""

    tenant: str
    cost: float
    queued: int
    taken: list[int] = []
    """When each attempt began."""
    ended: int = 0
    """When it was recorded as done."""
    ends: int = 0
    """How often that was."""
    lost: int = 0
    """When its worker died, if one did."""


class Worker(msgspec.Struct, kw_only=True, eq=False):
    """One worker process."""

    number: int
    life: int = 0
    up: bool = True
    reachable: bool = True
    ready: bool = True
    """Jobs may wait."""
    idle: bool = False
    asked: int = 0
    running: dict[str, Leased] = {}
    renewed: dict[str, int] = {}
    """When each lease was last good for its whole length."""

    @property
    def name(self) -> str:
        """New in each life, as in production."""
        return f"worker-{self.number}.{self.life:06x}"

    @property
    def alone(self) -> bool:
        """A job that is suspected of a crash runs here, and nothing beside it."""
        return any(lease.crashes for lease in self.running.values())


class World:
    """All of it, from the first job to the last."""

    def __init__(self, plan: Plan, scripts: Scripts) -> None:
        self.plan = plan
        self.scripts = scripts
        self.jobs: dict[str, Track] = {}
        self.refused: dict[str, int] = {tenant.name: 0 for tenant in plan.tenants}
        self.deaths = self.cuts = self.fenced = 0
        self.busy_ms = 0
        """Of slots, in the time that counts."""
        self.begun = scripts.now
        self.loaded: dict[str, int] = {}
        """Calls of each kind while jobs came: what follows is the end, with ever fewer of them."""
        self.over = False
        self._drained = False
        """No more jobs come and none waits: asking for them has nothing more to show, and sweeps find what is lost."""
        self._told = time.monotonic()
        self._settings = plan.settings()
        self._random = random.Random(plan.seed)
        self._events: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._workers = [Worker(number=number) for number in range(plan.workers)]
        self._idle: deque[Worker] = deque()
        self._unanswered: list[str] = []

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return (self.scripts.now - self.begun) / 1000

    def run(self) -> None:
        """Until every job that was accepted has ended."""
        self.scripts.listen()
        for tenant in self.plan.tenants:
            self._at(self._next(tenant), self._arrive, tenant)
        for worker in self._workers:
            self._at(self._random.random(), self._beat, worker, 0)
            self._at(self._random.random(), self._look, worker, 0)
            self._at(self._random.expovariate(1 / self.plan.between_deaths), self._die, worker)
        self._at(_SWEEPS, self._sweep)
        while not self.over:
            self.scripts.now, _, happens, to = heapq.heappop(self._events)
            happens(*to)

    def _at(self, later: float, happens: Callable[..., None], *to: Any) -> None:
        """In so many seconds."""
        moment = self.scripts.now + max(1, round(later * 1000))
        heapq.heappush(self._events, (moment, next(self._order), happens, to))

    # Tenants

    def _next(self, tenant: Tenant) -> float:
        return self._random.expovariate(tenant.demand * self.plan.capacity / tenant.size)

    def _arrive(self, tenant: Tenant) -> None:
        if self.seconds > self.plan.seconds:
            return
        self._at(self._next(tenant), self._arrive, tenant)
        job = f"{tenant.name}-{len(self.jobs) + self.refused[tenant.name]:016}"
        cost = tenant.size * min(_LARGEST, self._random.lognormvariate(-(_SPREAD**2) / 2, _SPREAD))
        if self.scripts.enqueue(job, tenant.name, tenant.weight, round(cost, 3)):
            self.jobs[job] = Track(tenant=tenant.name, cost=cost, queued=self.scripts.now)
            self._wake()
        else:
            self.refused[tenant.name] += 1

    # Workers

    def _wake(self) -> None:
        """Tokens go to those that have waited longest."""
        while self._idle:
            worker = self._idle[0]
            if worker.up and worker.reachable:
                if not self.scripts.woken():
                    return
                worker.ready = True
            self._idle.popleft()
            worker.idle = False
            self._ask(worker)

    def _ask(self, worker: Worker) -> None:
        """Take as much as there is room for; then wait for a token if nothing is left."""
        room = self.plan.slots - len(worker.running)
        if not (worker.up and worker.reachable) or room <= 0 or worker.alone:
            return
        leases, worker.ready = self.scripts.take(worker.name, len(worker.running), room)
        worker.asked = self.scripts.now
        for lease in leases:
            self._begin(worker, lease)
        if len(leases) < room and not worker.alone:
            if worker.ready:  # what waits must not run here now
                self._at(_POLL / 1000, self._ask_if_ready, worker, worker.life)
            elif not worker.idle:
                worker.idle = True
                self._idle.append(worker)

    def _ask_if_ready(self, worker: Worker, life: int) -> None:
        if worker.life == life and worker.ready and self.scripts.now - worker.asked >= _POLL:
            self._ask(worker)

    def _begin(self, worker: Worker, lease: Leased) -> None:
        track = self.jobs[lease.id]
        track.taken.append(self.scripts.now)
        worker.running[lease.id] = lease
        worker.renewed[lease.id] = self.scripts.now
        takes = track.cost * self._random.uniform(1 - _NOISE, 1 + _NOISE)
        self._at(takes, self._end, worker, worker.life, lease)

    def _end(self, worker: Worker, life: int, lease: Leased) -> None:
        """The work is done; a worker that cannot say so says it when it can."""
        if worker.life != life or worker.running.get(lease.id) is not lease:
            return
        if not worker.reachable:
            self._at(1.0, self._end, worker, life, lease)
            return
        track = self.jobs[lease.id]
        if self.scripts.finish(worker.name, lease):
            track.ended, track.ends = self.scripts.now, track.ends + 1
            self._count_busy(track.taken[-1])
            self._unanswered.append(lease.id)
        else:
            self.fenced += 1
        self._drop(worker, lease.id)
        if worker.ready or self._overdue(worker):
            self._ask(worker)
        elif not worker.idle:
            worker.idle = True
            self._idle.append(worker)

    def _count_busy(self, since: int) -> None:
        begin, end = (self.begun + round(moment * 1000) for moment in (self.plan.warm, self.plan.seconds))
        self.busy_ms += max(0, min(end, self.scripts.now) - max(begin, since))

    def _drop(self, worker: Worker, job: str) -> None:
        worker.running.pop(job, None)
        worker.renewed.pop(job, None)

    def _overdue(self, worker: Worker) -> bool:
        return self.scripts.now - worker.asked > self._settings.reclaim_interval * 1000

    def _look(self, worker: Worker, life: int) -> None:
        """Each second a worker with room asks, if it has not asked for long: a token may have got lost."""
        if worker.life == life:
            self._at(1.0, self._look, worker, life)
            if self._overdue(worker) and not self._drained:
                self._ask(worker)

    def _beat(self, worker: Worker, life: int) -> None:
        if worker.life != life:
            return
        self._at(self._settings.beat, self._beat, worker, life)
        if not worker.reachable:
            return
        for job in self.scripts.beat(worker.name, list(worker.running.values())):
            self._drop(worker, job)  # the worker aborts what it has lost
        worker.renewed = dict.fromkeys(worker.running, self.scripts.now)

    # Deaths

    def _die(self, worker: Worker) -> None:
        """A worker dies, or is cut off; its leases run out, each at its time."""
        for job, lease in worker.running.items():
            left = worker.renewed[job] / 1000 + self._settings.lease - self.scripts.now / 1000
            self._at(left, self._run_out, worker, worker.life, lease)
            self.jobs[job].lost = self.scripts.now
        if self._random.random() < self.plan.cut_off:
            self.cuts += 1
            worker.reachable = False
        else:
            self.deaths += 1
            worker.up, worker.life = False, worker.life + 1
            worker.running, worker.renewed = {}, {}
        self._at(self.plan.away, self._return, worker)
        self._at(self._random.expovariate(1 / self.plan.between_deaths) + self.plan.away, self._die, worker)

    def _run_out(self, worker: Worker, life: int, lease: Leased) -> None:
        if worker.life != life or (not worker.reachable and lease.id in worker.running):
            self.scripts.run_out([lease])

    def _return(self, worker: Worker) -> None:
        if not worker.up:
            worker.up, worker.ready = True, True
            self._at(1.0, self._look, worker, worker.life)
            self._beat(worker, worker.life)
        else:
            worker.reachable, worker.ready = True, True  # it has not heard yet what it has lost
        self._ask(worker)

    # Housekeeping

    def _sweep(self) -> None:
        """One worker sweeps, the others find that it has; the gateway's beat."""
        self._at(_SWEEPS, self._sweep)
        self.scripts.sweep()
        self.scripts.sweep(turn=False)
        self._wake()
        while len(self._unanswered) >= _ANSWERED or (self._unanswered and self.seconds > self.plan.seconds):
            self.scripts.answered(self._unanswered[:_ANSWERED])
            del self._unanswered[:_ANSWERED]
        if not self.loaded and self.seconds > self.plan.seconds:
            self.loaded = {name: len(taken) for name, taken in self.scripts.samples.items()}
        if round(self.seconds) % 5 == 0:
            self.scripts.listen()
            self._tell()
        waiting, running = self.scripts.left()
        self._drained = self.seconds > self.plan.seconds and not waiting
        self.over = self._drained and not running

    def _tell(self) -> None:
        """A word now and then, for who waits."""
        if time.monotonic() - self._told > _EVERY:
            self._told = time.monotonic()
            done = sum(track.ends for track in self.jobs.values())
            print(f"{self.seconds:.0f} s: {len(self.jobs):,} jobs accepted, {done:,} done", file=sys.stderr)
