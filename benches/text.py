"""The text bench: Velesio through gateway and broker, llama-server, `python -m llama_cpp.server`; the same model.

The servers of a scenario are started and warmed up with other prompts; then, round by round, each has one turn, in a
shuffled order, while the others wait. Client, parsing and arithmetic are the same for all. A figure is the median over
the rounds; llama-server runs with its cache unified and not, and each row takes the better. What cannot be measured
stays in the table, with the reason. docs/text-bench.md says how and why.
"""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import psutil

from benches import report, text_figures, text_llama_server, text_plot
from benches.text_figures import OWN, Row, Turn
from benches.text_scenarios import SCENARIOS, Figures, Request, Scenario, Stream, openai_body, warm_up
from benches.text_servers import CONTESTANTS, WATCHED, Contestant, Machine, Running, ServerFailed, prepare, running
from benches.venvs import ROOT
from velesio.backends.llama.discovery import demo_file
from velesio.backends.llama.options import default_threads, may_repack

_Named = TypeVar("_Named", Contestant, Scenario)

_WAVE = 180.0
"""Seconds for which a wave of requests may run."""
_LAG = "velesio_loop_lag_seconds"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    rounds: int = 5
    waves: float = 1.0
    """Part of the scenarios' waves that is run, at least one (two where every second is another)."""
    seed: int = 1
    """Of the order within each round."""


QUICK = Plan(rounds=1, waves=0.0)


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured."""

    bench: str
    circumstances: report.Circumstances
    plan: Plan
    machine: Machine
    llama_cpp_python: str
    """The version whose llama.cpp all of them run."""
    order: list[list[str]]
    """Of the turns of each round."""
    rows: list[Row]
    ratios: dict[str, float | None]
    """What each row comes to: a multiple of its rival's figure, or the figure itself where there is no rival."""
    passed: dict[str, bool | None]
    turns: list[Turn]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only this bench has."""
    families = [_family(contestant) for contestant in CONTESTANTS]
    exact = [contestant.name for contestant in CONTESTANTS]
    names = list(dict.fromkeys([*families, *exact, *(scenario.name for scenario in SCENARIOS)]))
    parser.add_argument(
        "--only",
        action="append",
        metavar="NAME",
        choices=names,
        help=f"measure only this server or this scenario; may be given again: {'; '.join(names)}",
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds to take the medians over")
    parser.add_argument(
        "--also", type=Path, action="append", default=[], metavar="FILE", help="count an earlier run's JSON in, too"
    )
    parser.add_argument("--no-install", action="store_true", help="leave out the servers that are not installed yet")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the rows into a PNG file")


def run(options: argparse.Namespace) -> int:
    """Measures and reports; the status is 1 if Velesio itself could not be measured."""
    model = demo_file()
    if model is None:
        print("scripts/bench text: the demo model is missing: install velesio[demo]", file=sys.stderr)
        return 1
    plan = QUICK if options.quick else Plan()
    if options.rounds:
        plan = msgspec.structs.replace(plan, rounds=max(1, options.rounds))
    chosen = options.only or []
    contestants = _chosen(CONTESTANTS, chosen, lambda contestant: {contestant.name, _family(contestant)})
    scenarios = _chosen(SCENARIOS, chosen, lambda scenario: {scenario.name})
    missing = {contestant.name: prepare(contestant, install=not options.no_install) for contestant in contestants}
    drawing = text_plot.prepare(install=not options.no_install) if options.plot else None
    around = report.circumstances()
    machine = Machine(model=str(model), threads=default_threads(), repack=may_repack())
    earlier = [msgspec.json.decode(file.read_bytes(), type=Report) for file in options.also]
    alike = (_told(machine), text_llama_server.version())
    if odd := [each for each in earlier if (_told(each.machine), each.llama_cpp_python) != alike]:
        print(f"scripts/bench text: --also: another model, machine or version: {odd[0].machine}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="velesio-bench-") as folder:
        this = _Run(plan, machine, contestants, scenarios, missing=missing, folder=Path(folder)).measure(around)
    found = joined([*earlier, this])
    print(as_text(found))
    if options.json:
        report.write(options.json, found)
        print(f"\nwritten to {options.json.resolve()}")
    if drawing:
        bars = [msgspec.structs.asdict(bar) for bar in text_figures.bars(found.rows)]
        text_plot.draw(drawing, bars, _caption(found), options.plot)
        print(f"drawn to {options.plot.resolve()}")
    return int(any(turn.missing for turn in found.turns if turn.contestant == OWN))


def _told(machine: Machine) -> Machine:
    """As a record has it: the model's name, not where it lies on this machine."""
    return msgspec.structs.replace(machine, model=Path(machine.model).name)


def _family(contestant: Contestant) -> str:
    return contestant.name.partition(",")[0]


def _chosen(every: Sequence[_Named], names: Sequence[str], names_of: Callable[[_Named], set[str]]) -> list[_Named]:
    """Those that are named; all of them if none is."""
    return [one for one in every if names_of(one) & set(names)] or list(every)


class _Run:
    """One interleaved run."""

    def __init__(
        self,
        plan: Plan,
        machine: Machine,
        contestants: Sequence[Contestant],
        scenarios: Sequence[Scenario],
        *,
        missing: dict[str, str],
        folder: Path,
    ) -> None:
        self._plan = plan
        self._machine = machine
        self._folder = folder
        self._turns: list[Turn] = []
        self._order: list[list[str]] = [[] for _ in range(plan.rounds)]
        self._ready = []
        for contestant in contestants:
            for scenario in scenarios:
                if not _takes_part(contestant, scenario):
                    continue
                if why := missing[contestant.name]:
                    self._miss(0, scenario, contestant, why)
                else:
                    self._ready.append((scenario, contestant))
        self._scenarios = scenarios

    def measure(self, around: report.Circumstances) -> Report:
        """All rounds of all scenarios."""
        shuffled = random.Random(self._plan.seed)
        for scenario in self._scenarios:
            with contextlib.ExitStack() as stack:
                servers = self._started(stack, scenario)
                for number, order in enumerate(self._order, 1):
                    for contestant, server in shuffled.sample(servers, len(servers)):
                        order.append(f"{scenario.name}: {contestant.name}")
                        self._turn(number, scenario, contestant, server)
        run = Report(
            bench="text",
            circumstances=around,
            plan=self._plan,
            machine=_told(self._machine),
            llama_cpp_python=text_llama_server.version(),
            order=self._order,
            rows=[],
            ratios={},
            passed={},
            turns=self._turns,
        )
        return joined([run])

    def _started(self, stack: contextlib.ExitStack, scenario: Scenario) -> list[tuple[Contestant, Running]]:
        """The scenario's servers, warmed up; they stay until `stack` is left."""
        servers = []
        for number, contestant in enumerate(each for ready, each in self._ready if ready is scenario):
            folder = self._folder / f"{scenario.name}-{number}"
            started = WATCHED if scenario.watched else contestant
            try:
                server = stack.enter_context(running(started, self._machine, folder))
                send(server.port, contestant, warm_up(scenario.name))
            except (ServerFailed, WaveFailed) as failed:
                self._miss(0, scenario, contestant, str(failed))
            else:
                servers.append((contestant, server))
        return servers

    def _turn(self, number: int, scenario: Scenario, contestant: Contestant, server: Running) -> None:
        busy = round(psutil.cpu_percent(0.3) / 100 * (psutil.cpu_count() or 1), 2)
        try:
            turn = self._measured(number, scenario, contestant, server, busy)
        except WaveFailed as failed:
            self._miss(number, scenario, contestant, str(failed))
        else:
            self._turns.append(turn)
            told = ", ".join(f"{name} {value:,.1f}" for name, value in turn.figures.items())
            print(f"round {number}: {scenario.name}: {contestant.name}: {told}", file=sys.stderr)

    def _measured(self, number: int, scenario: Scenario, contestant: Contestant, server: Running, busy: float) -> Turn:
        seed = f"{number} {scenario.name}"
        lag = server.buckets(_LAG) if scenario.watched else {}
        before = [server.metrics(), server.metrics()] if scenario.watched else []
        computed = server.cpu()
        least = 2 if scenario.second else 1
        count = max(least, round(scenario.waves * self._plan.waves))
        waves = [send(server.port, contestant, scenario.requests(seed, wave)) for wave in range(count)]
        computed = server.cpu() - computed
        figures = scenario.figures(waves)
        if scenario.watched:
            figures |= watched([*before, server.metrics()], figures["tokens"])
            figures["lag_p99_ms"] = text_figures.quantile(lag, server.buckets(_LAG), 0.99) * 1000
        return Turn(
            round=number,
            scenario=scenario.name,
            contestant=contestant.name,
            figures={name: round(value, 4) for name, value in figures.items()},
            memory_mib=server.memory(),
            cores=round(computed / sum(max(stream.ended for stream in wave) for wave in waves), 2),
            busy=busy,
        )

    def _miss(self, number: int, scenario: Scenario, contestant: Contestant, why: str) -> None:
        self._turns.append(Turn(round=number, scenario=scenario.name, contestant=contestant.name, missing=why))
        print(f"round {number}: {scenario.name}: {contestant.name}: {why}", file=sys.stderr)


def joined(runs: Sequence[Report]) -> Report:
    """Several runs as one, in the circumstances of the last: their rounds are counted on."""
    turns: list[Turn] = []
    order: list[list[str]] = []
    for each in runs:
        turns += [msgspec.structs.replace(turn, round=turn.round + len(order)) for turn in each.turns]
        order += each.order
    rows = text_figures.rows(turns)
    return msgspec.structs.replace(
        runs[-1],
        plan=msgspec.structs.replace(runs[-1].plan, rounds=len(order)),
        order=order,
        turns=turns,
        rows=rows,
        ratios={row.goal.name: None if row.value is None else round(row.value, 4) for row in rows},
        passed={row.goal.name: row.passed for row in rows},
    )


class WaveFailed(Exception):
    """A server did not answer all requests as it should."""


def _takes_part(contestant: Contestant, scenario: Scenario) -> bool:
    if contestant.name == OWN:
        return True
    if _family(contestant) == OWN:  # its other way is shown beside, where tokens are counted
        return scenario.openai
    return scenario.openai if contestant.openai else scenario.rivals


def send(port: int, contestant: Contestant, requests: Sequence[Request]) -> list[Stream]:
    """Has the client send the requests and tells what came of them.

    Raises:
        WaveFailed: if an answer is an error or has no text.
    """
    model = "smollm2"
    asked = [
        request | {"path": contestant.path, "body": openai_body(request["body"], model)}
        if contestant.openai
        else request | {"path": contestant.path}
        for request in requests
    ]
    order = json.dumps({"port": port, "seconds": _WAVE, "requests": asked})
    done = subprocess.run(
        [sys.executable, "-m", "benches.text_client"],
        cwd=ROOT,
        input=order,
        capture_output=True,
        text=True,
        timeout=_WAVE + 30,
        check=False,
    )
    if done.returncode:
        raise WaveFailed(f"the client failed: {done.stderr.strip().splitlines()[-1:]}")
    streams = msgspec.json.decode(done.stdout, type=list[Stream])
    for stream in streams:
        if stream.error or not stream.frames:
            raise WaveFailed(f"status {stream.status}: {stream.error or 'no text'}")
    return streams


def watched(readings: Sequence[dict[str, float]], tokens: float) -> Figures:
    """Microseconds for each token, of what `benches.text_watched` counts, between the second of three readings and the
    third. To write one down is work of the server's too: as much as lies between the first two is taken off."""
    names = {"python_us": "bench_python", "choosing_us": "bench_choosing", "computing_us": "bench_computing"}
    spent = {}
    for name, metric in names.items():
        first, second, third = (reading[f"{metric}_seconds_total"] for reading in readings)
        spent[name] = third - second - (second - first)
    return {name: seconds / tokens * 1e6 for name, seconds in spent.items()}


def as_text(found: Report) -> str:
    """The tables for people."""
    parts = [_caption(found)]
    busiest = max((turn.busy for turn in found.turns), default=0.0)
    if found.circumstances.busy or busiest > found.circumstances.cores / 8:
        parts.append(f"The machine was busy (up to {busiest} cores in use): these figures are not to be quoted.")
    heads = ("", "velesio", "rival", "ratio", "rounds", "must", "", "rival's name")
    parts.append("\n" + report.table(heads, [_cells(row) for row in found.rows]))
    pairs = dict.fromkeys((turn.scenario, turn.contestant) for turn in found.turns if turn.figures)
    lines = [
        (f"{scenario}: {name}", *_figures(text_figures.medians(found.turns, scenario, name)))
        for scenario, name in pairs
    ]
    parts.append("\n" + "\n".join("  ".join(line) for line in lines))
    for name in dict.fromkeys(name for _, name in pairs):
        held = text_figures.memory(found.turns, name)
        each = ", ".join(f"{process} {mib:,.0f}" for process, mib in held.items())
        parts.append(f"memory of {name}: {sum(held.values()):,.0f} MiB ({each})")
    parts += [
        f"missing: round {turn.round}: {turn.scenario}: {turn.contestant}: {turn.missing}"
        for turn in found.turns
        if turn.missing
    ]
    return "\n".join(parts)


def _caption(found: Report) -> str:
    around = found.circumstances
    return (
        f"{found.plan.rounds} rounds on {around.cores} cores ({around.processor}), {Path(found.machine.model).stem}, "
        f"llama-cpp-python {found.llama_cpp_python}, {found.machine.threads} threads, {around.date}"
    )


def _cells(row: Row) -> tuple[str, ...]:
    passed = {True: "passed", False: "FAILED", None: "-"}[row.passed]
    digits = 2 if row.own is not None and row.own < 100 else 0
    spread = "-" if row.lowest is None else f"{row.lowest:.2f} to {row.highest:.2f}"
    figures = (report.number(row.own, digits), report.number(row.rival, digits))
    return (row.goal.name, *figures, report.number(row.value), spread, row.goal.claim, passed, row.rival_name or "-")


def _figures(found: Figures) -> list[str]:
    return [f"{name} {value:,.2f}" for name, value in found.items()]
