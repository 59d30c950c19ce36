"""The plots of the performance page, each from the records."""

from collections.abc import Mapping

from benches.growth_record import Line
from benches.page_records import Records
from benches.plots import Panel, Plot, Series

_PANELS: tuple[tuple[str, str, Mapping[str, str], bool], ...] = (
    ("clients", "text: tokens/s, all clients together", {"tokens_per_s": "tokens/s"}, False),
    ("clients", "text: ms", {"first_ms": "to the first token", "token_ms": "between two"}, True),
    ("prompts", "text: tokens of the prompt/s", {"prompt_tokens_per_s": "tokens/s"}, False),
    ("prompts", "text: ms between two tokens after the prompt", {"token_ms": "ms"}, False),
    ("requests", "no-op jobs/s, one process", {"jobs_per_s": "jobs/s"}, False),
    ("requests", "no-op jobs: ms of one, mean", {"mean_ms": "ms"}, False),
    (
        "depth",
        "queue: ms of one call, p50",
        {"enqueue_p50_ms": "enqueue", "take_p50_ms": "take", "settle_p50_ms": "settle"},
        False,
    ),
    ("workers", "queue: jobs/s of 0.8 s each, 32 slots a worker", {"paced_jobs_per_s": "jobs/s"}, False),
    ("pictures", "pictures: s for 20 steps", {"one_s": "one alone", "four_s": "four together"}, False),
)
"""Axis, title, figures by what they are called, whether logarithmic."""


def of(records: Records) -> Mapping[str, Plot]:
    """By the names of their files."""
    return {"growth": _growth(records), "memory": _memory(records), "simulation": _simulation(records)}


def _caption(records: Records) -> str:
    around = records.growth.circumstances
    busiest = max(point.busy for line in records.growth.lines.values() for point in line.points)
    busy = f"; others used up to {busiest:.1f} of them meanwhile" if busiest > around.cores / 8 else ""
    return f"{around.cores} cores ({around.processor}), {around.date[:10]}{busy}"


def _panel(line: Line, title: str, figures: Mapping[str, str], *, log_y: bool = False, log_x: bool = True) -> Panel:
    """An axis with some of its figures, by what they are called."""
    return Panel(
        title=title,
        x=line.label,
        at=[float(point.at) for point in line.points],
        log_x=log_x,
        log_y=log_y,
        series=[
            Series(label=label, values=[point.figures.get(name) for point in line.points])
            for name, label in figures.items()
        ],
    )


def _growth(records: Records) -> Plot:
    lines = records.growth.lines
    panels = [
        _panel(lines[axis], title, figures, log_y=log_y, log_x=axis not in {"workers", "pictures"})
        for axis, title, figures, log_y in _PANELS
        if axis in lines
    ]
    return Plot(caption=_caption(records), panels=panels)


def _memory(records: Records) -> Plot:
    panels: list[Panel] = []
    for axis, title, log_x in (
        ("clients", "text, 64 slots", True),
        ("prompts", "text, one slot of 8,192 tokens", True),
        ("requests", "no model, all in one process", True),
        ("depth", "jobs waiting", True),
        ("workers", "without models, each", False),
        ("pictures", "pictures, 20 steps", False),
    ):
        line = records.growth.lines.get(axis)
        if line is None:
            continue
        names = dict.fromkeys(name for point in line.points for name in point.memory_mib)
        series = [Series(label=name, values=[point.memory_mib.get(name) for point in line.points]) for name in names]
        series.append(Series(label="Valkey's keys", values=[point.broker_mib for point in line.points]))
        panels.append(
            Panel(
                title=f"MiB: {title}",
                x=line.label,
                at=[float(point.at) for point in line.points],
                log_x=log_x,
                log_y=axis == "depth",
                series=series,
            )
        )
    return Plot(caption=_caption(records), panels=panels)


def _simulation(records: Records) -> Plot:
    runs = records.simulation.runs
    largest = max(runs, key=lambda run: run.plan.workers)
    tenants = [f"{share.name} ({share.weight:g})" for share in largest.shares]
    scripts = ("enqueue", "take", "finish", "beat", "sweep")
    by_name = [{cost.name: cost for cost in run.costs} for run in runs]
    panels = [
        Panel(
            title=f"shares of {largest.plan.workers:,} workers, by tenant (weight)",
            kind="bars",
            at=tenants,
            series=[
                Series(label="asked for", values=[share.demand for share in largest.shares]),
                Series(label="fair", values=[share.fair for share in largest.shares]),
                Series(label="got", values=[share.got for share in largest.shares]),
            ],
        ),
        Panel(
            title="s until a job begins",
            kind="bars",
            at=tenants,
            series=[
                Series(label="p50", values=[share.wait_p50_s for share in largest.shares]),
                Series(label="p99", values=[share.wait_p99_s for share in largest.shares]),
            ],
        ),
        Panel(
            title="us of one call, p50",
            x="workers",
            at=[float(run.plan.workers) for run in runs],
            log_x=True,
            log_y=True,
            series=[
                Series(label=name, values=[costs[name].p50_us if name in costs else None for costs in by_name])
                for name in scripts
            ],
        ),
    ]
    around = records.simulation.circumstances
    return Plot(
        caption=f"{largest.outcome.accepted:,} jobs, virtual time, the real scripts on {records.simulation.broker}; "
        f"{around.cores} cores ({around.processor}), {around.date[:10]}",
        panels=panels,
    )
