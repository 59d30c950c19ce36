"""The tables of the performance and the planning page, each from the records."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benches import images, planning, report
from benches.growth_record import Line
from benches.page_records import Records
from benches.planning import GPU, Demand, costs, need, scales
from benches.report import markdown, number
from benches.simulation import Run

_USERS = (100, 1_000, 10_000, 100_000)


def _machine(records: Records) -> str:
    """Where and when each bench ran, and on which versions."""
    found: list[tuple[str, report.Circumstances]] = [
        ("queue", records.queue.circumstances),
        ("text", records.text.circumstances),
        ("images", records.images.circumstances),
        ("gateway", records.gateway.circumstances),
        ("growth", records.growth.circumstances),
        ("simulation", records.simulation.circumstances),
    ]
    rows = [
        [
            f"`{name}`",
            around.date[:16].replace("T", " "),
            f"`{around.commit}`",
            f"{around.cores} × {around.processor}",
            around.python,
            number(around.busy_before),
        ]
        for name, around in found
    ]
    heads = ("bench", "UTC", "commit", "cores", "Python", "cores busy before")
    return markdown(heads, rows)


def _versions(records: Records) -> str:
    rivals = {name: version for row in records.queue.rows for name, version in row.versions.items()}
    known = {
        "Valkey": records.queue.broker,
        "llama.cpp": f"of llama-cpp-python {records.text.llama_cpp_python}",
        **records.growth.versions,
        **{
            name: rivals[name]
            for name in ("arq", "taskiq-redis", "streaq", "dramatiq", "celery", "rq")
            if name in rivals
        },
    }
    return markdown(("what", "version"), list(known.items()))


def _queue(records: Records) -> str:
    rows = sorted(records.queue.rows, key=lambda row: -(row.jobs_per_s or 0))
    lines = [
        [row.name, number(row.p50_ms), number(row.p99_ms), number(row.jobs_per_s, 0), _spread(row), row.missing or ""]
        for row in rows
    ]
    return markdown(("", "p50 ms", "p99 ms", "jobs/s", "jobs/s of the rounds", ""), lines)


def _spread(row: Any) -> str:
    """From the lowest to the highest round."""
    rates = [each.jobs_per_s for each in row.rounds]
    return f"{min(rates):,.0f} to {max(rates):,.0f}" if rates else "-"


def _ratios(records: Records) -> str:
    ratios, depth = records.queue.ratios, records.queue.depth
    lines = [
        ("jobs/s over the best of the others", number(ratios.jobs_per_s_vs_best)),
        ("the same, with polls turned up", number(ratios.jobs_per_s_vs_best_polling)),
        ("p50 over the best of the others", number(ratios.p50_vs_best)),
        ("the same, with polls turned up", number(ratios.p50_vs_best_polling)),
        ("ms that queue and lease add to a call of the engine", number(ratios.added_latency_ms)),
    ]
    if depth:
        lines += [
            (f"enqueue with {depth.deep_jobs:,} jobs over {depth.shallow_jobs}", number(ratios.depth_enqueue_p50)),
            ("take, the same", number(ratios.depth_take_p50)),
        ]
    return markdown(("ratio", "value"), lines)


def _text(records: Records) -> str:
    rows = [
        [
            row.goal.name,
            _figure(row.own),
            _figure(row.rival),
            number(row.value if row.rival is not None else None),
            row.goal.claim,
            {True: "reached", False: "missed", None: "-"}[row.passed],
            row.rival_name or "",
        ]
        for row in records.text.rows
    ]
    return markdown(("", "Velesio", "rival", "ratio", "must be", "", "rival's name"), rows)


def _figure(value: float | None) -> str:
    return number(value, 2 if value is not None and value < 100 else 0)


def _images(records: Records) -> str:
    def seconds(values: Sequence[float]) -> str:
        return number(statistics.median(values) if values else None)

    rows = [
        [
            row.name.replace("_", " "),
            seconds(row.own),
            seconds(row.pipeline),
            number(row.ratio),
            f"{'≥' if images.REACH[row.name][1] else '≤'} {images.REACH[row.name][0]:.2f}",
            "reached" if images.reached(row.name, row.ratio) else "missed",
        ]
        for row in records.images.rows
    ]
    return markdown(("", "Velesio s", "diffusers' pipeline s", "ratio", "must be", ""), rows)


def _gateway(records: Records) -> str:
    found = records.gateway

    def row(name: str, field: str, digits: int) -> list[str]:
        own, bare = (statistics.median(getattr(turn, field) for turn in turns) for turns in (found.velesio, found.bare))
        return [name, number(own, digits), number(bare, digits), number(own / bare)]

    lines = [
        row("`/v1/models`, p50 ms", "models_p50_ms", 2),
        row("`/v1/models`, a second", "models_per_s", 0),
        row("a no-op job, p50 ms", "job_p50_ms", 2),
        row("a no-op job, p99 ms", "job_p99_ms", 2),
        row("no-op jobs a second", "jobs_per_s", 0),
        row("processor time of one, us", "job_cpu_us", 0),
    ]
    if streams := found.streams:
        rate = streams.tokens / streams.seconds
        lines += [
            [f"{streams.count:,} streams: tokens a second", number(rate, 0), "-", "-"],
            ["a token after it was made, p50 ms", number(streams.p50_ms, 1), "-", "-"],
            ["the same, p99", number(streams.p99_ms, 1), "-", "-"],
            *(
                [f"{name}'s processor time for a token, us", number(cores / rate * 1e6, 1), "-", "-"]
                for name, cores in streams.cores.items()
            ),
        ]
    return markdown(("", "Velesio", "a bare aiohttp handler", "ratio"), lines)


def _growth(axis: str, heads: Mapping[str, tuple[str, int]], memory: Mapping[str, str]) -> Callable[[Records], str]:
    """The table of an axis: figures with their heads and digits, processes with theirs."""

    def table(records: Records) -> str:
        line: Line | None = records.growth.lines.get(axis)
        if line is None:
            return f"Not measured yet: `scripts/bench growth --only {axis}`."
        rows = [
            [
                f"{point.at:,}",
                *(number(point.figures.get(name), digits) for name, (_, digits) in heads.items()),
                *(number(point.memory_mib.get(name), 0) for name in memory),
                number(point.broker_mib, 1),
            ]
            for point in line.points
        ]
        titles = [line.label, *(head for head, _ in heads.values()), *memory.values(), "Valkey's keys, MiB"]
        return _warning(line, records.growth.circumstances.cores) + markdown(titles, rows)

    return table


def _warning(line: Line, cores: int) -> str:
    """What must be said before figures of a machine that others used, too."""
    busiest = max(point.busy for point in line.points)
    if busiest <= cores / 8:
        return ""
    return (
        f"**Not to be quoted: others used up to {busiest:.1f} of {cores} cores meanwhile.** "
        "Times and rates are worse than on a quiet machine, memory is what it is.\n\n"
    )


def _largest(records: Records) -> Run:
    return max(records.simulation.runs, key=lambda run: run.plan.workers)


def _shares(records: Records) -> str:
    rows = [
        [
            share.name,
            f"{share.weight:g}",
            number(share.demand),
            number(share.fair, 3),
            number(share.got, 3),
            number(share.got / share.fair),
            f"{share.accepted:,}",
            f"{share.refused:,}",
            number(share.wait_p50_s, 1),
            number(share.wait_p99_s, 1),
        ]
        for share in _largest(records).shares
    ]
    heads = (
        "tenant",
        "weight",
        "asks for",
        "fair share",
        "got",
        "got/fair",
        "accepted",
        "refused",
        "wait p50 s",
        "p99 s",
    )
    return markdown(heads, rows)


def _outcomes(records: Records) -> str:
    rows = []
    for run in records.simulation.runs:
        out = run.outcome
        rows.append(
            [
                f"{run.plan.workers:,}",
                f"{out.accepted:,}",
                f"{out.done:,}",
                f"{out.failed:,}",
                f"{out.lost:,}",
                f"{out.ended_twice:,}",
                f"{out.deaths:,} + {out.cuts:,}",
                f"{out.begun_again:,}",
                number(out.back_p50_s, 1),
                number(out.back_p99_s, 1),
                f"{out.fenced:,}",
                f"{run.used:.1%}",
                number(run.evenness, 4),
            ]
        )
    heads = (
        "workers", "jobs", "done", "dead letters", "lost", "ended twice", "deaths + cuts", "attempts again",
        "again after s, p50", "p99", "late ends refused", "slots used", "evenness",
    )  # fmt: skip
    return markdown(heads, rows)


def _scripts(records: Records) -> str:
    runs = records.simulation.runs
    names = [cost.name for cost in _largest(records).costs]
    rows = []
    for name in names:
        cells = [name]
        for run in runs:
            cost = next((cost for cost in run.costs if cost.name == name), None)
            cells.append(f"{cost.p50_us:,.0f} / {cost.p99_us:,.0f}" if cost else "-")
        largest = next(cost for cost in _largest(records).costs if cost.name == name)
        rows.append([*cells, number(largest.per_s, 0), number(largest.per_s * largest.mean_us / 1e6, 3)])
    rows.append(["a call that does nothing", *(number(run.ping_us, 0) for run in runs), "", ""])
    rows.append(["all together", *("" for _ in runs), "", number(_largest(records).cores, 3)])
    heads = [*(f"{run.plan.workers:,} workers, us p50 / p99" for run in runs), "calls/s at the largest", "cores"]
    around = records.simulation.circumstances
    busy = (
        f"**Not to be quoted: others used {around.busy_before:.1f} of {around.cores} cores.**\n\n"
        if around.busy
        else ""
    )
    return busy + markdown(("script", *heads), rows)


def _costs(records: Records) -> planning.Costs:
    return costs(records)


def _planned_costs(records: Records) -> str:
    found = _costs(records)
    rows = [
        (
            "a request, all its parts in one process",
            f"{found.request_us:,.0f} us",
            "gateway bench, 64 under way",
        ),
        ("a token that a gateway streams", f"{found.token_us:,.1f} us", "gateway bench, streams"),
        ("a job at the broker", f"{found.job_us:,.0f} us", "simulation, largest"),
        ("a token at the broker", f"{found.event_us:,.1f} us", "growth, four workers, paced"),
        ("a worker that lives, at the broker", f"{found.worker_us:,.1f} us a second", "simulation, beats"),
        ("a job that waits", f"{found.waiting_kib:,.2f} KiB", "growth, depth"),
        ("a gateway's memory", f"{found.gateway_mib:,.0f} MiB", "growth, clients without a model"),
        ("tokens of prompts a second", f"{found.cpu.prefill:,.0f}", "text bench, 1 client"),
        ("tokens of answers a second", f"{found.cpu.decode:,.0f}", "text bench, 8 clients"),
        ("a picture of 128 pixels, among eight", f"{found.cpu.picture_s:,.2f} s", "image bench"),
    ]
    return markdown(("what", "costs", "from"), rows)


def _steps(records: Records, *, gpu: bool) -> str:
    found = _costs(records)
    made = need(Demand(), found, GPU if gpu else found.cpu)
    return markdown(("what", "how", "comes to"), [(step.what, step.how, step.comes_to) for step in made.steps])


def _scales(records: Records) -> str:
    found = _costs(records)
    rows = [
        [
            f"{demand.users:,}",
            worker.name if worker.measured else f"{worker.name} (assumed)",
            number(made.requests_per_s),
            number(made.streams, 0),
            f"{made.gateways:,}",
            number(made.broker_cores, 3),
            f"{made.text_workers:,}",
            f"{made.picture_workers:,}",
        ]
        for worker, demand, made in scales(found, (found.cpu, GPU), _USERS)
    ]
    heads = (
        "users",
        "workers are",
        "requests/s",
        "streams",
        "gateways",
        "cores of the broker",
        "text workers",
        "picture workers",
    )
    return markdown(heads, rows)


TABLES: Mapping[str, Callable[[Records], str]] = {
    "machine": _machine,
    "versions": _versions,
    "queue": _queue,
    "queue ratios": _ratios,
    "text": _text,
    "images": _images,
    "gateway": _gateway,
    "growth clients": _growth(
        "clients",
        {
            "tokens_per_s": ("tokens/s", 0),
            "first_ms": ("ms to the first", 0),
            "token_ms": ("ms between two", 1),
            "cores": ("cores", 2),
        },
        {"python": "velesio MiB"},
    ),
    "growth prompts": _growth(
        "prompts",
        {
            "first_ms": ("ms to the first token", 0),
            "prompt_tokens_per_s": ("tokens of the prompt/s", 0),
            "token_ms": ("ms between two tokens after it", 1),
            "cores": ("cores", 2),
        },
        {"python": "velesio MiB"},
    ),
    "growth requests": _growth(
        "requests",
        {"jobs_per_s": ("jobs/s", 0), "mean_ms": ("ms of one, mean", 2), "cpu_us": ("processor time of one, us", 0)},
        {"velesio": "velesio MiB", "valkey": "valkey MiB"},
    ),
    "growth depth": _growth(
        "depth",
        {
            f"{name}_{part}_ms": (f"{name} {part}, ms", 3)
            for name in ("enqueue", "take", "settle")
            for part in ("p50", "p99")
        },
        {},
    ),
    "growth workers": _growth(
        "workers",
        {
            "noop_jobs_per_s": ("no-op jobs/s", 0),
            "broker_us_per_job": ("broker us for each", 0),
            "paced_jobs_per_s": ("paced jobs/s", 1),
            "paced_tokens_per_s": ("their tokens/s", 0),
            "broker_us_per_token": ("broker us for each", 1),
            "paced_part_of_ideal": ("part of the ideal", 2),
        },
        {"worker": "MiB of each"},
    ),
    "growth pictures": _growth(
        "pictures",
        {"one_s": ("s alone", 2), "four_s": ("s, four together", 2)},
        {"python": "velesio MiB", "peak": "its peak"},
    ),
    "simulation shares": _shares,
    "simulation outcomes": _outcomes,
    "simulation scripts": _scripts,
    "planning costs": _planned_costs,
    "planning measured": lambda records: _steps(records, gpu=False),
    "planning assumed": lambda records: _steps(records, gpu=True),
    "planning scales": _scales,
}
