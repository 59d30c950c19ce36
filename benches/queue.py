"""The queue bench: no-op jobs through Velesio and six other job queues, in one interleaved run.

In each round every contestant has one turn, in a shuffled order: a fresh Valkey, one client process, one worker
process (none of the others runs meanwhile); jobs one after another for the latency, then 64 in flight for the
throughput. A figure is the median over the rounds. What cannot be measured stays in the table, with the reason.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import msgspec

from benches import queue_depth, report, server, venvs
from benches.contestants import ContestantFailed, Entrant, Turn
from benches.figures import OWN, Depth, Ratios, Row, ratios, round_of

DIRECT = "direct call"
ENTRANTS = (
    Entrant(name=OWN, module="benches.queue_velesio"),
    Entrant(name="velesio, one process", module="benches.queue_velesio", variant="one process"),
    Entrant(name=DIRECT, module="benches.queue_velesio", variant="direct"),
    Entrant(name="arq", module="benches.rivals.arq", venv="arq"),
    Entrant(name="taskiq-redis", module="benches.rivals.taskiq_redis", venv="taskiq-redis"),
    Entrant(name="streaq", module="benches.rivals.streaq", venv="streaq"),
    Entrant(name="dramatiq", module="benches.rivals.dramatiq", venv="dramatiq"),
    Entrant(name="celery", module="benches.rivals.celery", venv="celery"),
    Entrant(name="rq", module="benches.rivals.rq", venv="rq"),
    *(
        Entrant(name=f"{name}, polling each ms", module=module, venv=name, variant="polling", as_documented=False)
        for name, module in (
            ("arq", "benches.rivals.arq"),
            ("taskiq-redis", "benches.rivals.taskiq_redis"),
            ("dramatiq", "benches.rivals.dramatiq"),
        )
    ),
)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    rounds: int = 5
    serial_jobs: int = 500
    serial_seconds: float = 5.0
    """A slow contestant does what it can in this time."""
    flood_seconds: float = 3.0
    in_flight: int = 64
    depth_samples: int = 2000
    seed: int = 1
    """Of the order within each round."""


QUICK = Plan(rounds=1, serial_jobs=60, serial_seconds=1.0, flood_seconds=0.5, depth_samples=100)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured."""

    bench: str
    circumstances: report.Circumstances
    plan: Plan
    broker: str
    broker_settings: dict[str, str]
    order: list[list[str]]
    """Of each round."""
    rows: list[Row]
    direct: Row | None
    """The engine called without a queue: what `added_latency_ms` is measured from."""
    depth: Depth | None
    ratios: Ratios


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only this bench has."""
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=sorted({entrant.venv or OWN for entrant in ENTRANTS}),
        help="measure only this one (velesio or a rival); may be given again",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds to take the medians over")
    parser.add_argument("--no-install", action="store_true", help="run only the rivals that are installed already")


def run(options: argparse.Namespace) -> int:
    """Measures and reports; the status is 1 if Velesio itself could not be measured."""
    plan = QUICK if options.quick else Plan()
    if options.rounds:
        plan = msgspec.structs.replace(plan, rounds=max(1, options.rounds))
    around = report.circumstances()
    entrants = [entrant for entrant in ENTRANTS if not options.only or (entrant.venv or OWN) in options.only]
    with tempfile.TemporaryDirectory(prefix="velesio-bench-") as folder:
        found = _Run(plan, entrants, Path(folder), install=not options.no_install).measure(around)
    print(_as_text(found))
    if options.json:
        report.write(options.json, found)
        print(f"\nwritten to {options.json.resolve()}")
    return int(any(row.missing for row in found.rows if row.name == OWN))


class _Run:
    """One interleaved run."""

    def __init__(self, plan: Plan, entrants: list[Entrant], folder: Path, *, install: bool) -> None:
        self._plan = plan
        self._folder = folder
        self._servers = 0
        self._rows = {entrant.name: Row(name=entrant.name, as_documented=entrant.as_documented) for entrant in entrants}
        self._pythons: dict[str, Path] = {}
        self._ready = [entrant for entrant in entrants if self._install(entrant, install)]
        self._order: list[list[str]] = []

    def _install(self, entrant: Entrant, install: bool) -> bool:
        try:
            own = not entrant.venv
            python = Path(sys.executable) if own else venvs.python_of(entrant.venv, install=install)
        except venvs.MissingRival as missing:
            self._rows[entrant.name].missing = str(missing)
            return False
        self._pythons[entrant.name] = python
        return True

    def measure(self, around: report.Circumstances) -> Report:
        """All rounds, then the depths."""
        with server.running(self._new_folder()) as url:
            broker = server.version(url)
        shuffled = random.Random(self._plan.seed)
        for number in range(1, self._plan.rounds + 1):
            order = shuffled.sample(self._ready, len(self._ready))
            self._order.append([entrant.name for entrant in order])
            for entrant in order:
                self._turn(entrant, number)
        for row in self._rows.values():
            row.summarise()
        depth = self._depth() if OWN in self._rows else None
        direct = self._rows.pop(DIRECT, None)
        rows = list(self._rows.values())
        own = self._rows.get(OWN, Row(name=OWN))
        rivals = [row for entrant in ENTRANTS if entrant.venv for row in rows if row.name == entrant.name]
        return Report(
            bench="queue",
            circumstances=around,
            plan=self._plan,
            broker=broker,
            broker_settings=server.SETTINGS,
            order=self._order,
            rows=rows,
            direct=direct,
            depth=depth,
            ratios=ratios(own, rivals, direct, depth),
        )

    def _turn(self, entrant: Entrant, number: int) -> None:
        row, plan = self._rows[entrant.name], self._plan
        log = self._folder / f"{entrant.name}-{number}.log"
        try:
            with (
                server.running(self._new_folder()) as url,
                Turn(entrant, self._pythons[entrant.name], url, log) as turn,
            ):
                row.configuration = turn.greeting["configuration"]
                row.versions = turn.greeting["versions"]
                serial = turn.serial(plan.serial_jobs, plan.serial_seconds)
                measured = round_of(serial, *turn.flood(plan.in_flight, plan.flood_seconds))
        except ContestantFailed as failed:
            row.missing = f"round {number}: {failed}"
            print(f"round {number}: {entrant.name}: {failed}", file=sys.stderr)
        else:
            row.rounds.append(measured)
            print(
                f"round {number}: {entrant.name}: p50 {measured.p50_ms:.2f} ms, {measured.jobs_per_s:,.0f} jobs/s",
                file=sys.stderr,
            )

    def _depth(self) -> Depth:
        print(f"depth: {queue_depth.SHALLOW} and {queue_depth.DEEP} jobs", file=sys.stderr)
        with server.running(self._new_folder()) as url:
            return queue_depth.measure(url, self._plan.depth_samples)

    def _new_folder(self) -> Path:
        self._servers += 1
        return self._folder / f"valkey-{self._servers}"


def _as_text(found: Report) -> str:
    around = found.circumstances
    machine = f"{around.cores} cores ({around.processor}), Python {around.python}, {found.broker}"
    parts = [f"{found.plan.rounds} rounds on {machine}, {around.date}"]
    if around.busy:
        parts.append(f"The machine was busy ({around.busy_before} cores in use): these figures are not to be quoted.")
    heads = ("", "p50 ms", "p99 ms", "jobs/s", "versions")
    ordered = sorted(found.rows, key=lambda row: -(row.jobs_per_s or 0))
    parts.append("\n" + report.table(heads, [_cells(row) for row in ordered]))
    everyone = [*found.rows, found.direct] if found.direct else found.rows
    parts += [f"{row.name}: missing: {row.missing}" for row in everyone if row.missing]
    if found.direct and found.direct.p50_ms is not None:
        parts.append(f"\nthe engine called without a queue: p50 {found.direct.p50_ms:.2f} ms")
    if depth := found.depth:
        parts.append(
            f"enqueue p50 {depth.enqueue_shallow_ms:.3f} ms with {depth.shallow_jobs:,} jobs queued, "
            f"{depth.enqueue_deep_ms:.3f} ms with {depth.deep_jobs:,}; "
            f"take {depth.take_shallow_ms:.3f} ms and {depth.take_deep_ms:.3f} ms"
        )
    lines = [(name, report.number(value)) for name, value in msgspec.structs.asdict(found.ratios).items()]
    parts.append("\n" + report.table(("ratio", "value"), lines))
    return "\n".join(parts)


def _cells(row: Row) -> tuple[str, ...]:
    first = next(iter(row.versions.items()), None)
    return (
        row.name,
        report.number(row.p50_ms),
        report.number(row.p99_ms),
        report.number(row.jobs_per_s, 0),
        " ".join(first) if first else "-",
    )
