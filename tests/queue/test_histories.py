"""Generated histories of the scripts beside a model of them.

`VELESIO_HISTORIES=10000 pytest tests/queue/test_histories.py` runs that many of each kind.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.queue.driver import Driver, Taken
from tests.queue.model import LIVE, ModelJob, ModelQueue
from velesio.config import QueueSection

HISTORIES = int(os.environ.get("VELESIO_HISTORIES", "100"))
PROFILE = settings(
    max_examples=HISTORIES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
QUEUE = QueueSection(cap=6, tenant_cap=3, max_attempts=3, max_crashes=2, retry_delay_max=8.0, look_ahead=3, lease=60.0)
"""Caps that a history reaches."""

TENANTS = {"a": 1.0, "b": 2.0, "c": 0.5}
"""Names and weights."""


SNAPSHOT = """
local root = KEYS[1]
local function pairs_of(list)
  local found = {}
  for index = 1, #list, 2 do found[list[index]] = list[index + 1] end
  return found
end
local seen = {waiting = {}, flying = {}, states = {}, eternal = {}, pending = 0}
for priority = 0, 2 do seen.waiting[priority + 1] = redis.call('ZRANGE', root .. 'w:text:m:' .. priority, 0, -1) end
seen.scheduled = redis.call('ZRANGE', root .. 'sched', 0, -1)
seen.deadlines = redis.call('ZRANGE', root .. 'dl', 0, -1)
local flight = root .. 'f:text:m'
for _, entry in ipairs(redis.call('XRANGE', flight, '-', '+')) do seen.flying[#seen.flying + 1] = entry[2][2] end
if #seen.flying > 0 then seen.pending = redis.call('XPENDING', flight, 'w')[1] end
seen.queued = pairs_of(redis.call('HGETALL', root .. 'cnt:q'))
seen.running = pairs_of(redis.call('HGETALL', root .. 'cnt:r'))
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('PTTL', key) == -1 then seen.eternal[#seen.eternal + 1] = key end
  if key:sub(1, #root + 2) == root .. 'j:' then seen.states[key:sub(#root + 3)] = redis.call('HGET', key, 'st') end
end
return cjson.encode(seen)
"""
"""What lies in the server. cjson writes an empty table as {}, which is empty as well."""


class History:
    """What clients, workers and the clock may do, each done to the scripts and to the model.

    Every step takes two numbers, which choose the rest.
    """

    def __init__(self, client: redis.Redis) -> None:
        client.flushall()
        self.client = client
        self.driver = Driver(client, QUEUE)
        self.model = ModelQueue(cap=6, tenant_cap=3, max_attempts=3, max_crashes=2, retry_max=8000, alone_wait=1000)
        self.leases: list[tuple[str, Taken]] = []
        self.serial = 0

    def enqueue(self, pick: int, other: int) -> None:
        for number in range(1 + pick % 3):
            self.serial += 1
            tenant, priority, cost = "abc"[(pick + number) % 3], (other + number) % 3, (0.5, 1.0, 4.0)[other % 3]
            ttl, delay = (10_000_000, 10_000_000, 60_000, 3000)[pick % 4], 0 if other % 5 else 1500
            job = ModelJob(f"j{self.serial:04}", tenant, priority, cost, TENANTS[tenant], self.driver.now + ttl)
            expected = self.model.enqueue(job, delay, self.driver.now)
            answer = self.driver.enqueue(
                job.id, tenant=tenant, priority=priority, cost=cost, weight=job.weight, ttl=ttl, delay=delay
            )
            assert answer == expected

    def enqueue_again(self, pick: int, _: int) -> None:
        if self.model.jobs:
            job = self.model.jobs[sorted(self.model.jobs)[pick % len(self.model.jobs)]]
            assert self.driver.enqueue(job.id) == self.model.enqueue(job, 0, self.driver.now)

    def take(self, pick: int, other: int) -> None:
        owner, room = ("w1", "w2")[pick % 2], 1 + other % 4
        running = len([job for job in self.model.of("r") if job.owner == owner])
        expected = self.model.take(owner, room, running, self.driver.now)
        taken = self.driver.take(owner, room, running=running)
        assert [lease.id for lease in taken] == expected
        for lease in taken:
            job = self.model.jobs[lease.id]
            assert (lease.attempt, lease.crashes, lease.releases) == (job.attempt, job.crashes, job.releases)
            self.leases.append((owner, lease))

    def held(self) -> list[tuple[str, Taken]]:
        return [(owner, lease) for owner, lease in self.leases if self.model.holds(owner, lease.id, lease.attempt)]

    def some_lease(self, pick: int) -> tuple[str, Taken, ModelJob | None]:
        """Mostly a lease that is held, sometimes one that ended or was lost."""
        choice = self.held() if pick % 4 else self.leases
        owner, lease = (choice or self.leases)[-1 - pick % min(len(choice or self.leases), 6)]
        return owner, lease, self.model.holds(owner, lease.id, lease.attempt)

    def finish(self, pick: int, other: int) -> None:
        if not self.leases:
            return
        state = ("done", "failed", "cancelled")[other % 3]
        owner, lease, job = self.some_lease(pick)
        answer = self.driver.finish(lease, owner, state)
        if job:
            self.model.end(job, state)
            assert answer == "OK"
            assert self.driver.finish(lease, owner, state) == "AGAIN"
        else:
            assert answer in {"STALE", "AGAIN"}

    def retry(self, pick: int, other: int) -> None:
        if not self.leases:
            return
        owner, lease, job = self.some_lease(pick)
        delay = (500, 3000)[other % 2]
        expected = self.model.retry(job, delay, self.driver.now) if job else "STALE"
        assert self.driver.retry(lease, owner, delay) == expected

    def release(self, pick: int, _: int) -> None:
        if not self.leases:
            return
        owner, lease, job = self.some_lease(pick)
        if job:
            self.model.release(job, self.driver.now)
        assert self.driver.release(lease, owner) == ("OK" if job else "STALE")

    def beat(self, pick: int, _: int) -> None:
        if not self.leases:
            return
        owner, lease, job = self.some_lease(pick)
        gone, ordered = self.driver.beat(lease, owner=owner)
        assert gone == ([] if job else [lease.id])
        if job is None:
            self.model.forgive(self.model.jobs[lease.id], lease.attempt)
        assert ordered == ({lease.id: job.cancelled} if job and job.cancelled else {})

    def leases_run_out(self, pick: int, other: int) -> None:
        lost = self.held()[pick % 3 : pick % 3 + 1 + other % 3]
        self.driver.expire(*[lease for _, lease in lost])
        self.model.sweep(self.driver.now)
        for _, lease in lost:
            self.model.lose(self.model.jobs[lease.id], self.driver.now)
        self.driver.sweep()

    def cancel(self, pick: int, _: int) -> None:
        job = sorted(self.model.jobs)[-1 - pick % len(self.model.jobs)] if self.model.jobs else "none"
        assert self.driver.cancel(job) == self.model.cancel(job)

    def time_passes(self, pick: int, _: int) -> None:
        self.driver.now += (100, 1000, 4000)[pick % 3]

    def sweep(self, _: int, __: int) -> None:
        self.model.sweep(self.driver.now)
        self.driver.sweep()

    def answers_get_lost(self, pick: int, other: int) -> None:
        """A worker that asks with the entries it knows gets exactly those that it does not know."""
        owner = ("w1", "w2")[other % 2]
        own = [lease for holder, lease in self.held() if holder == owner]
        if not own:
            return
        forgotten = own[pick % len(own)]
        known = [lease.entry for lease in own if lease is not forgotten]
        self.model.promote(self.driver.now)
        job = self.model.jobs[forgotten.id]
        # A worker that turned out to live may have been forgiven a crash since the lease was taken.
        found = forgotten._replace(crashes=job.crashes, releases=job.releases)
        # The room is filled by what is found again, so that nothing new is leased.
        assert self.driver.take(owner, 1, running=len(known), known=known) == [found]

    def check(self) -> None:
        """No job is lost or in two places, counters agree, nothing stays for ever."""
        jobs, seen = self.model.jobs, self.snapshot()
        for priority, found in enumerate(seen["waiting"]):
            assert list(found) == [job.id for job in self.model.waiting(priority)]
        assert Counter(seen["scheduled"]) == Counter(job.id for job in self.model.of("s"))
        assert Counter(seen["flying"]) == Counter(job.id for job in self.model.of("r"))
        assert seen["pending"] == len(seen["flying"])
        assert seen["states"] == {name: job.state for name, job in jobs.items()}
        assert set(seen["deadlines"]) == {name for name, job in jobs.items() if job.state in LIVE}
        for kind, states in (("queued", ("q", "s")), ("running", ("r",))):
            counted = {tenant: int(count) for tenant, count in seen[kind].items()}
            assert counted == Counter(job.tenant for job in self.model.of(*states))
        assert not seen["eternal"]

    def snapshot(self) -> dict[str, Any]:
        """All that the server holds, in one call: a check after each step is most of what a history costs."""
        return json.loads(self.client.eval(SNAPSHOT, 1, self.driver.root))

    def finish_all(self) -> None:
        """Whatever happened, everything can be brought to an end."""
        for _ in range(200):
            if not self.model.of(*LIVE):
                return
            self.driver.now += 1000
            for owner, lease in self.held():
                assert self.driver.finish(lease, owner) == "OK"
                self.model.end(self.model.jobs[lease.id], "done")
            self.take(0, 2)
        raise AssertionError("jobs are left")


H = History
Step = tuple[Callable[..., None], int, int]
"""What is done, and two numbers."""
OFTEN = [
    H.enqueue,
    H.enqueue,
    H.take,
    H.take,
    H.take,
    H.finish,
    H.leases_run_out,
    H.release,
    H.retry,
    H.time_passes,
    H.time_passes,
]
SELDOM = [H.enqueue_again, H.beat, H.cancel, H.cancel, H.sweep, H.answers_get_lost]
steps = st.lists(
    st.tuples(st.sampled_from(OFTEN * 2 + SELDOM), st.integers(0, 255), st.integers(0, 255)), min_size=25, max_size=60
)


A_JOB = [(H.enqueue, 0, 1), (H.take, 0, 0)]
"""Leased by the first worker."""
A_SHORT_ONE = [(H.enqueue, 3, 1), (H.take, 0, 0)]
"""The same; its deadline is in three seconds."""
LATER = [(H.time_passes, 2, 0)]
AGAIN = [(H.retry, 1, 1), *LATER, (H.take, 0, 0)]
RARE: dict[str, list[Step]] = {
    # Of a class that nothing was leased of, the head is cancelled: who comes begins at the tag of the next one.
    "head-cancelled": [(H.enqueue, 0, 2), (H.enqueue, 0, 2), (H.cancel, 1, 0), (H.enqueue, 1, 2)],
    "over-while-it-runs": [*A_SHORT_ONE, *LATER, (H.sweep, 0, 0), (H.beat, 1, 0), (H.retry, 1, 0)],
    "cancelled-and-over": [*A_SHORT_ONE, (H.cancel, 0, 0), *LATER, (H.sweep, 0, 0), (H.beat, 1, 0), (H.release, 1, 0)],
    "over-this-moment": [*A_SHORT_ONE, *[(H.time_passes, 1, 0)] * 3, (H.release, 1, 0)],
    "asked-to-end": [*A_JOB, (H.cancel, 0, 0), (H.beat, 1, 0), (H.retry, 1, 0)],
    "released-is-not-lost": [
        *A_JOB, *[(H.release, 1, 0), (H.take, 0, 0)] * 2, (H.beat, 8, 0), (H.release, 1, 0), (H.take, 0, 0),
    ],
    "pauses-double": [*A_JOB, *AGAIN, (H.retry, 1, 1), *LATER, *[(H.time_passes, 1, 0)] * 2, (H.take, 0, 0)],
    "too-many-attempts": [*A_JOB, *AGAIN, (H.retry, 1, 0), *LATER, (H.take, 0, 0), (H.retry, 1, 0)],
    "too-many-crashes": [(H.enqueue, 0, 1), *[(H.take, 0, 0), (H.leases_run_out, 0, 0)] * 3],
}  # fmt: skip
"""What chance hardly finds."""


def unfold(client: redis.Redis, history: list[Step]) -> None:
    """Does each step to both, compares after each, and brings everything to its end."""
    state = History(client)
    for step, pick, other in history:
        step(state, pick, other)
        state.check()
    state.finish_all()
    state.check()


@settings(PROFILE)
@given(steps)
def test_histories(open_client: redis.Redis, history: list[Step]) -> None:
    """No job lost, none in two states, the right one served, fences hold, counters end at zero."""
    unfold(open_client, history)


@pytest.mark.parametrize("history", RARE.values(), ids=RARE)
def test_rare_histories(open_client: redis.Redis, history: list[Step]) -> None:
    """The same of edges that a generated history seldom reaches."""
    unfold(open_client, history)


@pytest.fixture(scope="module")
def open_client(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url, protocol=3, legacy_responses=False) as client:
        yield client


@pytest.fixture(scope="module")
def open_driver(open_client: redis.Redis) -> Callable[[], Driver]:
    def begin() -> Driver:
        open_client.flushall()
        return Driver(open_client, QueueSection(cap=10_000, tenant_cap=10_000))

    return begin


backlog = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.25, 1.0, 2.0, 5.0])), min_size=2, max_size=60)


@settings(PROFILE)
@given(backlog, st.fixed_dictionaries({name: st.sampled_from([0.5, 1.0, 3.0]) for name in "abc"}))
def test_shares_are_fair(open_driver, jobs: list[tuple[str, float]], weights: dict[str, float]) -> None:
    """While two tenants wait, the work served to each for its weight differs by at most one job of each."""
    driver = open_driver()
    costs = {}
    for number, (tenant, cost) in enumerate(jobs):
        driver.enqueue(f"{tenant}{number}", tenant=tenant, cost=cost, weight=weights[tenant])
        costs[f"{tenant}{number}"] = (tenant, cost / weights[tenant])
    left = Counter(tenant for tenant, _ in jobs)
    largest = {name: max((share for tenant, share in costs.values() if tenant == name), default=0) for name in "abc"}
    served = dict.fromkeys("abc", 0.0)
    for _ in jobs:
        [lease] = driver.take()
        tenant, share = costs[lease.id]
        served[tenant] += share
        left[tenant] -= 1
        busy = [name for name in "abc" if left[name]]
        for one in busy:
            for other in busy:
                assert abs(served[one] - served[other]) <= largest[one] + largest[other] + 1e-9
    assert driver.take() == []


@settings(PROFILE)
@given(st.lists(st.one_of(st.integers(0, 2), st.just("take")), max_size=80))
def test_no_priority_starves(open_driver, events: list[int | str]) -> None:
    """While a class waits, thirteen leases in a row serve it at least eight, four or one times."""
    driver = open_driver()
    streak: dict[int, list[int]] = {0: [], 1: [], 2: []}
    waiting = Counter()
    events = [0, 1, 2] * 5 + events + ["take"] * 40
    for number, event in enumerate(events):
        if event != "take":
            driver.enqueue(f"{event}-{number}", priority=event)
            waiting[event] += 1
            continue
        for lease in driver.take():
            served = int(lease.id[0])
            waiting[served] -= 1
            for priority, least in ((0, 8), (1, 4), (2, 1)):
                streak[priority].append(served)
                if not waiting[priority]:
                    streak[priority].clear()
                elif len(streak[priority]) >= 13:
                    assert streak[priority][-13:].count(priority) >= least
