"""Figures: percentiles, medians over rounds, and the ratios that the design asks for."""

import statistics
from collections.abc import Sequence

import msgspec

OWN = "velesio"
"""The row that the others are compared with: its worker runs in a process of its own, as theirs do."""


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What one contestant did in one round."""

    p50_ms: float
    p99_ms: float
    jobs_per_s: float
    samples: int
    """Serial jobs that the percentiles stand on."""


class Row(msgspec.Struct, kw_only=True):
    """One contestant over all rounds. A missing one has a reason and no rounds."""

    name: str
    configuration: str = ""
    versions: dict[str, str] = {}
    as_documented: bool = True
    """False: its polling was turned up beyond what its documentation shows."""
    missing: str = ""
    """Why there is no figure, or not from every round."""
    rounds: list[Round] = []
    p50_ms: float | None = None
    p99_ms: float | None = None
    jobs_per_s: float | None = None

    def summarise(self) -> None:
        """Sets the three figures to the medians over the rounds."""
        if self.rounds:
            self.p50_ms = statistics.median(each.p50_ms for each in self.rounds)
            self.p99_ms = statistics.median(each.p99_ms for each in self.rounds)
            self.jobs_per_s = statistics.median(each.jobs_per_s for each in self.rounds)


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """Median milliseconds of one call at two queue lengths."""

    shallow_jobs: int
    deep_jobs: int
    samples: int
    enqueue_shallow_ms: float
    enqueue_deep_ms: float
    take_shallow_ms: float
    take_deep_ms: float


class Ratios(msgspec.Struct, frozen=True, kw_only=True):
    """One number for each claim; None where nothing was measured to divide by.

    The others are what their documentation shows: that is what their users run, and turned-up polling burns a core in
    each worker and client for the whole day. The `_polling` ratios count those rows too, so that nobody need wonder.
    """

    jobs_per_s_vs_best: float | None = None
    p50_vs_best: float | None = None
    jobs_per_s_vs_best_polling: float | None = None
    p50_vs_best_polling: float | None = None
    depth_enqueue_p50: float | None = None
    depth_take_p50: float | None = None
    added_latency_ms: float | None = None


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which `part` (0 to 1) of the values lie, interpolated between the two nearest."""
    ordered = sorted(values)
    place = part * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def round_of(milliseconds: Sequence[float], jobs: int, seconds: float) -> Round:
    """A round from the serial latencies and from the count and duration of the flood."""
    return Round(
        p50_ms=percentile(milliseconds, 0.5),
        p99_ms=percentile(milliseconds, 0.99),
        jobs_per_s=jobs / seconds,
        samples=len(milliseconds),
    )


def ratios(own: Row, rivals: Sequence[Row], direct: Row | None = None, depth: Depth | None = None) -> Ratios:
    """Velesio against the best of the others, for each figure; the quickest need not be the one with most jobs/s."""
    documented = [row for row in rivals if row.as_documented]
    added = None
    if direct is not None and direct.p50_ms is not None and own.p50_ms is not None:
        added = own.p50_ms - direct.p50_ms
    return Ratios(
        jobs_per_s_vs_best=_over(own.jobs_per_s, max(_figures(documented, "jobs_per_s"), default=None)),
        p50_vs_best=_over(own.p50_ms, min(_figures(documented, "p50_ms"), default=None)),
        jobs_per_s_vs_best_polling=_over(own.jobs_per_s, max(_figures(rivals, "jobs_per_s"), default=None)),
        p50_vs_best_polling=_over(own.p50_ms, min(_figures(rivals, "p50_ms"), default=None)),
        depth_enqueue_p50=_over(depth.enqueue_deep_ms, depth.enqueue_shallow_ms) if depth else None,
        depth_take_p50=_over(depth.take_deep_ms, depth.take_shallow_ms) if depth else None,
        added_latency_ms=added,
    )


def _figures(rows: Sequence[Row], name: str) -> list[float]:
    found = [getattr(row, name) for row in rows]
    return [figure for figure in found if figure is not None]


def _over(figure: float | None, base: float | None) -> float | None:
    return figure / base if figure is not None and base else None
