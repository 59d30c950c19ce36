"""Figures of the text bench: medians over rounds, and each claim as a ratio with what it must be."""

import statistics
from collections.abc import Mapping, Sequence

import msgspec

OWN = "velesio"
SERVER = "llama-server"
"""The beginning of the names of its variants, of which each row takes the better."""
PYTHON_SERVER = "llama_cpp.server"


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """What one server did in one scenario of one round."""

    round: int
    scenario: str
    contestant: str
    figures: dict[str, float] = {}
    memory_mib: dict[str, float] = {}
    """Of each process."""
    cores: float = 0.0
    """Cores that the server's processes kept busy."""
    busy: float = 0.0
    """Cores that other programs used just before."""
    missing: str = ""
    """Why there are no figures."""


class Goal(msgspec.Struct, frozen=True, kw_only=True):
    """One claim: a figure of Velesio's over the same of a rival's, or over nothing."""

    name: str
    scenario: str
    figure: str
    must: float
    rival: str = SERVER
    """Empty: the figure stands by itself."""
    least: bool = True
    """True: at least `must`; false: at most."""
    more_is_better: bool = True
    ratio: bool = True
    """Whether its value is a ratio."""

    @property
    def claim(self) -> str:
        """As it stands in the table."""
        return f"{'≥' if self.least else '≤'} {self.must:g}"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One claim, measured; None where there is nothing to measure or to divide by."""

    goal: Goal
    own: float | None = None
    rival: float | None = None
    rival_name: str = ""
    """The variant that was best."""
    value: float | None = None
    """What must be at least or at most `goal.must`: the median of the rounds, since the machine is another in each."""
    lowest: float | None = None
    highest: float | None = None
    """The same of the single rounds."""

    @property
    def passed(self) -> bool | None:
        """Whether the claim holds; None: not measured."""
        if self.value is None:
            return None
        return self.value >= self.goal.must if self.goal.least else self.value <= self.goal.must


GOALS = (
    *(
        Goal(name=f"tokens/s, clients: {count}", scenario=f"clients-{count}", must=1.0, figure="tokens_per_s")
        for count in (1, 4, 8, 16)
    ),
    Goal(
        name="ms to the first token, 8 clients together",
        scenario="clients-8",
        figure="first_ms",
        must=1.0,
        least=False,
        more_is_better=False,
    ),
    Goal(
        name="mean ms to the first token, shared prompt",
        scenario="shared",
        figure="mean_first_ms",
        must=0.4,
        least=False,
        more_is_better=False,
    ),
    Goal(
        name="worst pause in ms while a long prompt comes",
        scenario="long",
        figure="worst_gap_ms",
        must=1.0,
        least=False,
        more_is_better=False,
    ),
    Goal(
        name="tokens/s, 8 clients, against llama_cpp.server",
        scenario="clients-8",
        figure="tokens_per_s",
        must=2.0,
        rival=PYTHON_SERVER,
    ),
    Goal(
        name="µs of Python for each token",
        scenario="python",
        figure="python_us",
        must=200.0,
        rival="",
        least=False,
        more_is_better=False,
        ratio=False,
    ),
    Goal(
        name="ms that the event loop is late, 8 clients (p99)",
        scenario="python",
        figure="lag_p99_ms",
        must=20.0,
        rival="",
        least=False,
        more_is_better=False,
        ratio=False,
    ),
    Goal(name="tokens/s with a JSON schema over without", scenario="grammar", figure="part", must=0.75, rival=""),
)


def rows(turns: Sequence[Turn], goals: Sequence[Goal] = GOALS) -> list[Row]:
    """Each goal with its figures."""
    return [_row(goal, turns) for goal in goals]


def _row(goal: Goal, turns: Sequence[Turn]) -> Row:
    own = _by_round(goal, turns, OWN)
    if not goal.rival:
        return _with_value(goal, own, dict.fromkeys(own, 1.0), "")
    names = sorted({turn.contestant for turn in turns if turn.contestant.startswith(goal.rival)})
    measured = [(name, found) for name in names if (found := _by_round(goal, turns, name))]
    if not measured:
        return Row(goal=goal, own=_median(own))
    better = max if goal.more_is_better else min
    name, best = better(measured, key=lambda each: statistics.median(each[1].values()))
    return _with_value(goal, own, best, name)


def _with_value(goal: Goal, own: Mapping[int, float], rival: Mapping[int, float], name: str) -> Row:
    ratios = [own[number] / rival[number] for number in own.keys() & rival.keys() if rival[number]]
    mine, theirs = _median(own), _median(rival)
    return Row(
        goal=goal,
        own=mine,
        rival=theirs if goal.rival else None,
        rival_name=name,
        value=statistics.median(ratios) if ratios else None,
        lowest=min(ratios, default=None),
        highest=max(ratios, default=None),
    )


def _by_round(goal: Goal, turns: Sequence[Turn], contestant: str) -> dict[int, float]:
    return {
        turn.round: turn.figures[goal.figure]
        for turn in turns
        if turn.contestant == contestant and turn.scenario == goal.scenario and goal.figure in turn.figures
    }


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the picture."""

    name: str
    value: float
    must: float
    more_is_better: bool
    passed: bool


def bars(found: Sequence[Row]) -> list[Bar]:
    """The rows that were measured, as ratios: one that stands by itself is divided by what it must be."""
    return [
        Bar(
            name=row.goal.name,
            value=row.value if row.goal.ratio else row.value / row.goal.must,
            must=row.goal.must if row.goal.ratio else 1.0,
            more_is_better=row.goal.more_is_better,
            passed=bool(row.passed),
        )
        for row in found
        if row.value is not None
    ]


def _median(found: Mapping[int, float]) -> float | None:
    return statistics.median(found.values()) if found else None


def quantile(before: Mapping[float, float], after: Mapping[float, float], part: float) -> float:
    """A bound that at least `part` of the values kept which a histogram counted between two readings."""
    counts = {bound: after[bound] - before.get(bound, 0.0) for bound in sorted(after)}
    wanted = part * max(counts.values(), default=0.0)
    return next((bound for bound, count in counts.items() if count >= wanted), 0.0)


def medians(turns: Sequence[Turn], scenario: str, contestant: str) -> dict[str, float]:
    """The median over the rounds of each figure of one contestant in one scenario."""
    measured = [turn.figures for turn in turns if (turn.scenario, turn.contestant) == (scenario, contestant)]
    names = dict.fromkeys(name for figures in measured for name in figures)
    return {name: statistics.median(each[name] for each in measured if name in each) for name in names}


def memory(turns: Sequence[Turn], contestant: str) -> dict[str, float]:
    """The most MiB that each process of a contestant held at the end of a turn."""
    most: dict[str, float] = {}
    for turn in turns:
        if turn.contestant == contestant:
            for name, held in turn.memory_mib.items():
                most[name] = max(held, most.get(name, 0.0))
    return most
