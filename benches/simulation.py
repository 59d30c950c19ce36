"""The simulation: the queue with up to a thousand workers, in virtual time, its real scripts on a real Valkey.

Tenants with different weights ask for more than all workers can do; jobs take as long as they cost; workers die, are
cut off and come back. What comes out: whether shares follow weights, how long jobs wait, whether one is lost or ended
twice, and what each script costs at that size, which is the only thing that is timed.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from benches import memory, report, server
from benches import simulation_figures as figures
from benches.figures import percentile
from benches.simulation_scripts import Scripts
from benches.simulation_world import Plan, Tenant, World

TENANTS = (
    Tenant(name="studio", weight=4.0, demand=0.80, size=20.0),
    Tenant(name="games", weight=2.0, demand=0.45, size=5.0),
    Tenant(name="bulk", weight=1.0, demand=0.80, size=40.0),
    Tenant(name="small", weight=1.0, demand=0.02, size=10.0),
)
"""Together they ask for twice as much as there is; `small` for less than its share."""
SIZES = (10, 100, 1000)
_QUICK = (10,)
_PINGS = 5000


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One world and what it came to."""

    plan: Plan
    took_s: float
    """Of the machine's time."""
    seconds: float
    """Of the world's."""
    used: float
    """Part of the slots' time that was spent on work which counted, in what the shares are of."""
    shares: list[figures.Share]
    evenness: float
    outcome: figures.Outcome
    costs: list[figures.Cost]
    ping_us: float
    cores: float
    """Of the broker, busy in a second of the world."""
    broker_mib: float
    """Valkey's `used_memory` at the end."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was seen."""

    bench: str
    circumstances: report.Circumstances
    broker: str
    runs: list[Run]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only this bench has."""
    parser.add_argument("--workers", type=int, action="append", metavar="N", help="only this many; may be given again")
    parser.add_argument("--seconds", type=float, metavar="S", help="for which jobs come, in the simulated world (240)")


def run(options: argparse.Namespace) -> int:
    """Simulates and reports; the status is 1 if a job was lost or ended twice."""
    sizes = options.workers or (_QUICK if options.quick else SIZES)
    around = report.circumstances()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory(prefix="velesio-bench-") as folder:
        with server.running(Path(folder) / "version") as url:
            broker = server.version(url)
        for workers in sizes:
            plan = Plan(tenants=TENANTS, workers=workers)
            if options.seconds:
                plan = msgspec.structs.replace(plan, seconds=options.seconds, warm=options.seconds / 5)
            with server.running(Path(folder) / str(workers)) as url:
                runs.append(simulate(plan, url))
            print(_progress(runs[-1]), file=sys.stderr)
            found = Report(bench="simulation", circumstances=around, broker=broker, runs=runs)
            if options.json:
                report.write(options.json, found)
    print(as_text(found))
    return int(any(each.outcome.lost or each.outcome.ended_twice or each.outcome.left for each in runs))


def simulate(plan: Plan, url: str) -> Run:
    """One world on an empty server."""
    scripts = Scripts(url, plan.settings(), now=round(time.time() * 1000))
    try:
        scripts.round_trip(_PINGS)
        world = World(plan, scripts)
        began = time.perf_counter()
        world.run()
        took = time.perf_counter() - began
        shares = figures.shares(plan, world.jobs, world.refused, world.begun)
        loaded = {name: scripts.samples[name][:calls] for name, calls in world.loaded.items()}
        costs = figures.costs(loaded, plan.seconds)
        return Run(
            plan=plan,
            took_s=round(took, 1),
            seconds=round(world.seconds, 1),
            used=round(world.busy_ms / 1000 / (plan.capacity * (plan.seconds - plan.warm)), 4),
            shares=shares,
            evenness=figures.evenness(shares),
            outcome=figures.outcome(world, scripts),
            costs=costs,
            ping_us=percentile(scripts.samples["ping"], 0.5) / 1000,
            cores=figures.cores(costs),
            broker_mib=memory.used(url),
        )
    finally:
        scripts.close()


def _progress(done: Run) -> str:
    return (
        f"{done.plan.workers} workers: {done.outcome.accepted:,} jobs in {done.seconds:,.0f} s of the world, "
        f"{done.took_s:.0f} s here"
    )


def as_text(found: Report) -> str:
    """The tables for people."""
    around = found.circumstances
    parts = [f"{found.broker}, {around.cores} cores ({around.processor}), {around.date}"]
    if around.busy:
        parts.append("The machine was busy: the costs are not to be quoted.")
    for each in found.runs:
        parts += ["", _progress(each), "", shares_table(each), "", costs_table(each), "", outcome_line(each)]
    return "\n".join(parts)


def shares_table(each: Run) -> str:
    """Tenants."""
    heads = ("tenant", "weight", "asked", "fair", "got", "got/fair", "accepted", "refused", "wait p50 s", "p99 s")
    rows = [
        (
            share.name,
            f"{share.weight:g}",
            report.number(share.demand),
            report.number(share.fair, 3),
            report.number(share.got, 3),
            report.number(share.got / share.fair),
            f"{share.accepted:,}",
            f"{share.refused:,}",
            report.number(share.wait_p50_s, 1),
            report.number(share.wait_p99_s, 1),
        )
        for share in each.shares
    ]
    return report.table(heads, rows)


def costs_table(each: Run) -> str:
    """Scripts."""
    heads = ("script", "calls", "a second", "p50 us", "p99 us", "mean us without the way", "cores")
    rows = [
        (
            cost.name,
            f"{cost.calls:,}",
            report.number(cost.per_s, 1),
            report.number(cost.p50_us, 0),
            report.number(cost.p99_us, 0),
            report.number(cost.mean_us, 0),
            report.number(cost.per_s * cost.mean_us / 1e6, 4),
        )
        for cost in each.costs
    ]
    return report.table(heads, rows)


def outcome_line(each: Run) -> str:
    """Jobs, deaths, load."""
    out = each.outcome
    return (
        f"{out.accepted:,} jobs accepted: {out.done:,} done, {out.failed:,} failed with their second worker, "
        f"{out.lost} lost, {out.ended_twice} ended twice; {out.left} places still held.\n"
        f"{out.deaths} workers died, {out.cuts} were cut off: {out.begun_again:,} attempts again, "
        f"{out.back_p50_s:.1f} s (p50) and {out.back_p99_s:.1f} s (p99) later; {out.fenced} ends refused.\n"
        f"Slots were used for {each.used:.1%} of the time; evenness {each.evenness:.4f}; "
        f"the broker used {each.cores:.2f} of a core and {each.broker_mib:,.1f} MiB; a call that does nothing took "
        f"{each.ping_us:.0f} us."
    )
