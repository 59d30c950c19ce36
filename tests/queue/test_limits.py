"""Limits: the scripts against the few lines that they must amount to, and what a gateway is told."""

import re
from typing import Any

import msgspec
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.queue.driver import Driver, Taken
from tests.queue.meters import STEPS, Meters
from velesio.config import Limits, QueueSection
from velesio.queue.limits import LETTERS, WINDOWS, Line, RateLimited, Spent, Subject, Terms, read_lines

LETTER = st.sampled_from(sorted(LETTERS.values()))
AMOUNTS = st.dictionaries(st.sampled_from(["t", "i", "g"]), st.integers(1, 6), max_size=3)


def monthly(amounts: dict[str, int]) -> dict[str, int]:
    """The same for the month."""
    return amounts | {letter.upper(): amount for letter, amount in amounts.items()}


def queue(driver: Driver, job: str, terms: bytes, *, index: int = 0, ttl: int = 60_000) -> list[Any]:
    """What `enqueue` answers."""
    answer: list[Any] = driver.run(
        "enqueue", job, driver.now, "text", "m", 1, "a", 1.0, 1.0, ttl, "", 0, b"payload", "", "", "", 0, b"", b"", b"",
        terms, f"{int(not index)} k", "",
    )  # fmt: skip
    return answer


def finish(driver: Driver, lease: Taken, line: str) -> None:
    assert driver.run(
        "finish", "w", lease.id, lease.attempt, driver.now, "done", b"", 0, b"\x90", b"", "", line
    ) == b"OK"  # fmt: skip


def used(driver: Driver, letter: str, subject: str) -> dict[int, int]:
    """A meter as the broker has it."""
    found = driver.client.hgetall(f"{driver.root}rl:{letter}:{subject}")
    return {int(part): int(amount) for part, amount in found.items()}


def make_machine(client: redis.Redis) -> type[RuleBasedStateMachine]:
    """The scripts on an empty server, beside the model."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            client.flushall()
            self.driver = Driver(client, QueueSection(cap=1000, tenant_cap=1000))
            self.meters = Meters()
            self.live: dict[str, tuple[Any, dict[str, int], int]] = {}
            self.count = 0
            self.limits: dict[str, dict[str, int]] = {}

        @rule(subject=st.sampled_from(["k:a", "k:b", "t:a", "m:m"]), limits=st.dictionaries(LETTER, st.integers(1, 12)))
        def configure(self, subject: str, limits: dict[str, int]) -> None:
            self.limits[subject] = limits

        @rule(key=st.sampled_from(["k:a", "k:b"]), amounts=AMOUNTS)
        def ask(self, key: str, amounts: dict[str, int]) -> None:
            """Admitted by all or charged by none, with the same waits."""
            subjects = [(name, self.limits.get(name, {})) for name in (key, "t:a", "m:m")]
            subjects = [subject for subject in subjects if subject[1]]
            caps = [limits.get(letter) for _, limits in subjects for letter in amounts]
            most = min((cap for cap in caps if cap), default=6)
            own = {"r": 1} | monthly({letter: min(amount, most) for letter, amount in amounts.items()})
            smallest = {
                letter: min([limits[letter] for _, limits in subjects if letter in limits], default=99)
                for letter in own
            }
            own = {letter: min(amount, smallest[letter]) for letter, amount in own.items()}
            self.count += 1
            job, now = f"j{self.count}", self.driver.now
            body = {"s": subjects, "e": own, "a": own, "n": 1, "id": job}
            answer = queue(self.driver, job, msgspec.msgpack.encode(body) if subjects else b"")
            waits = self.meters.admit(subjects, own, job, now + 60_000, now)
            assert answer[0] == (b"LIMIT" if waits else b"OK")
            told = {f"{line[1].decode()} {subjects[line[0] - 1][0]}": line[5] for line in answer[4] if line[5]}
            assert told == waits
            for line in answer[4]:
                subject, letter = subjects[line[0] - 1][0], line[1].decode()
                if letter == "c":
                    left = line[2] - self.meters.held(subject, now)
                else:
                    left = line[2] - self.meters.used(letter, subject, now)
                assert line[3] == max(0, left)
            if not waits:
                self.live[job] = (subjects, own, now)

        @precondition(lambda self: self.live)
        @rule(data=st.data(), amounts=AMOUNTS, how=st.sampled_from(["finish", "cancel"]))
        def end(self, data: st.DataObject, amounts: dict[str, int], how: str) -> None:
            """Settled by what was used, however it ends."""
            job = data.draw(st.sampled_from(sorted(self.live)))
            subjects, own, at = self.live.pop(job)
            if how == "cancel":
                amounts = {}
                self.driver.cancel(job)
            else:
                by_id = {lease.id: lease for lease in self.driver.take(room=100)}
                finish(
                    self.driver, by_id[job], f"{amounts.get('t', 0)} 0 0 {amounts.get('i', 0)} {amounts.get('g', 0)}"
                )
                for lease in by_id.values():
                    if lease.id != job:
                        self.driver.release(lease)
            self.meters.settle(subjects, own, monthly(amounts) | {"r": own["r"]}, job, at, self.driver.now)

        @rule(ms=st.sampled_from([1, 500, 2_000, 30_000]))
        def pass_time(self, ms: int) -> None:
            """Nobody's deadline passes: a job that is overdue is another law's."""
            if all(at + 60_000 > self.driver.now + ms for _, _, at in self.live.values()):
                self.driver.now += ms

        @precondition(lambda self: not self.live)
        @rule(ms=st.sampled_from([62_000, 3_600_000, 86_400_000, 31 * 86_400_000]))
        def pass_long(self, ms: int) -> None:
            self.driver.now += ms

        @invariant()
        def the_meters_agree(self) -> None:
            for (letter, subject), parts in self.meters.amounts.items():
                first = self.driver.now // STEPS[letter] - 40
                recent = {part: amount for part, amount in parts.items() if part >= first and amount}
                broker = {part: amount for part, amount in used(self.driver, letter, subject).items() if amount}
                counted = self.meters.used(letter, subject, self.driver.now)
                since = self.driver.now // STEPS[letter] - {"i": 24, "g": 24}.get(letter, 30)
                assert sum(amount for part, amount in broker.items() if part >= since) == counted, (letter, recent)

    return Machine


def test_the_scripts_amount_to_the_model(client: redis.Redis) -> None:
    """Whatever is asked for, used, cancelled and waited: admitted are exactly those whom the model admits, nothing is
    charged on a refusal, and what is left is told alike."""
    checks = settings(
        max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    run_state_machine_as_test(make_machine(client), settings=checks)


def test_a_limit_of_none_is_no_limit() -> None:
    """0 and nothing at all are left out; a fraction is a unit at least; times are in milliseconds."""
    limits = Limits(requests=0, tokens=None, images=3, gpu_seconds=1.5, month_gpu_seconds=0.0001)
    assert Subject("key", "a", limits).packed() == ("k:a", {"i": 3, "g": 1500, "G": 1})
    assert Terms(subjects=(Subject("key", "a", Limits()),)).packed() == b""


def test_own_limits_go_before_the_default() -> None:
    """Where they say nothing the default counts; 0 lifts it."""
    default = Limits(requests=60, concurrent=10)
    assert Limits(requests=0, images=5).over(default) == Limits(requests=0, concurrent=10, images=5)


def test_the_worst_limit_is_told() -> None:
    """A refusal names the limit that keeps for longest, in words, with the seconds to wait."""
    subjects = [Subject("tenant", "t", Limits()), Subject("key", "k", Limits(requests=60, gpu_seconds=2.5))]
    lines = read_lines(subjects, [(1, b"g", 2500, 100, 9000, 61_500), (1, b"r", 60, 0, 30_000, 2_000)])
    assert [(line.subject, line.limit, line.left) for line in lines] == [
        ("key", "requests", 0),
        ("key", "gpu_seconds", 0.1),
    ]
    assert [(line.allowed, line.reset, line.wait) for line in lines] == [(60, 30, 2), (2.5, 9, 61.5)]
    assert (RateLimited().lines, RateLimited().message) == ((), RateLimited.__doc__)
    error = RateLimited(lines)
    assert error.lines == tuple(lines)
    assert RateLimited(lines[:1]).message == "this key may use 60 requests a minute; try again in 2 s"
    assert (error.status, error.code, error.retry_after) == (429, "rate_limited", 61.5)
    assert error.message == "this key may use 2.5 seconds of engines' time a day; try again in 62 s"
    assert error.details == {"limit": {"of": "key", "name": "gpu_seconds", "allowed": 2.5}}


def test_each_limit_is_told_in_words() -> None:
    """Whose it is, how much, and the window in which it counts; no two are told alike."""
    windows = {60: "a minute", 86400: "a day", 30 * 86400: "in 30 days", None: "at a time"}
    told = {}
    for name in LETTERS:
        line = Line(subject="tenant", limit=name, allowed=7.0, left=0.0, reset=3.0, wait=2.5)
        told[name] = RateLimited([line]).message
        assert re.fullmatch(
            f"this tenant may use 7 [a-z' ]+ {windows[WINDOWS.get(name)]}; try again in 3 s", told[name]
        )
        kind = {"gpu_seconds": "seconds of engines' time", "images": "pictures", "concurrent": "requests"}
        what = name.removeprefix("month_")
        assert f" 7 {kind.get(what, what)} " in told[name]
    assert len(set(told.values())) == len(LETTERS)


def test_a_models_limit_names_the_model() -> None:
    """One request may draw with several; other subjects are named by their kind."""
    [line] = read_lines([Subject("model", "m", Limits(images=5))], [(1, b"i", 5, 0, 9000, 2000)])
    assert (line.subject, line.model) == ("model", "m")
    assert RateLimited([line]).message == "the model 'm' may use 5 pictures a day; try again in 2 s"


def test_terms_are_of_one_job_unless_they_say_more() -> None:
    """A request of one job, charged by it alone."""
    packed = msgspec.msgpack.decode(Terms(subjects=(Subject("key", "k", Limits(requests=5)),), slot="s").packed())
    assert packed == {"s": [["k:k", {"r": 5}]], "e": {}, "n": 1, "id": "s", "a": {}}


def test_a_request_of_several_jobs_is_one(driver: Driver) -> None:
    """The first job is charged with all of it; its place among those that run is free when the last one has ended."""
    subject = Subject("key", "k", Limits(requests=2, tokens=100, concurrent=1))
    terms = [
        Terms(subjects=(subject,), own={"t": 10} | ({} if index else {"r": 1}), whole={"r": 1, "t": 20}, index=index,
              jobs=2, slot="j0", admitted=True)
        for index in range(2)
    ]  # fmt: skip
    assert queue(driver, "j0", terms[0].packed())[0] == queue(driver, "j1", terms[1].packed(), index=1)[0] == b"OK"
    assert sum(used(driver, "t", "k:k").values()) == 20
    assert queue(driver, "k0", terms[0].packed())[0] == b"LIMIT"
    driver.cancel("j0")
    assert queue(driver, "k0", terms[0].packed())[0] == b"LIMIT"
    driver.cancel("j1")
    assert sum(used(driver, "t", "k:k").values()) == 0
    assert sum(used(driver, "r", "k:k").values()) == 1
    assert queue(driver, "k0", terms[0].packed())[0] == b"OK"
    driver.cancel("k0")


def test_a_place_is_free_when_nobody_says_so(driver: Driver) -> None:
    """A request whose end was never told holds its place no longer than its deadline allows."""
    packed = Terms(subjects=(Subject("key", "k", Limits(concurrent=1)),), slot="j0").packed()
    assert queue(driver, "j0", packed)[0] == b"OK"
    driver.client.delete(driver.keys.job("j0"))
    driver.now += 60_000 + 9_999
    assert queue(driver, "j1", packed)[0] == b"LIMIT"
    driver.now += 1
    assert queue(driver, "j1", packed)[0] == b"OK"


def test_what_is_not_queued_is_given_back(driver: Driver) -> None:
    """A refund takes back what was charged for jobs that never were, where it was charged."""
    terms = Terms(
        subjects=(Subject("key", "k", Limits(requests=5, images=9)),), own={"r": 1, "i": 3}, whole={"r": 1, "i": 3}
    )
    packed = terms.packed()
    *_, lines, at = queue(driver, "j0", packed)
    assert [line[3] for line in sorted(lines, key=lambda line: line[1])] == [6, 4]
    driver.run("refund", driver.now, 1, msgspec.msgpack.encode(msgspec.msgpack.decode(packed) | {"at": at}))
    assert sum(used(driver, "i", "k:k").values()) == sum(used(driver, "r", "k:k").values()) == 0
    driver.cancel("j0")


def test_what_was_used_is_a_line_of_numbers() -> None:
    """As the script reads it, never negative."""
    assert Spent(3, 4, 2, 1, -5).line() == "3 4 2 1 0"
