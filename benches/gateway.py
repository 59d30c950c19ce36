"""The gateway bench: what a request costs on its way through Velesio's middleware, against a bare aiohttp handler.

In each round both servers stand and take turns: `/v1/models` one request after the other, then a no-op job, which is a
completion of no tokens by an echo model; then with 64 under way. At the end a thousand streams at ten tokens a second,
each token the moment at which the engine made it. The client is a process of its own.
"""

import argparse
import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from benches import gateway_client as client
from benches import report
from benches.figures import percentile
from benches.gateway_servers import CLOCK, KEY, MODEL, Running, bare, velesio

_JOB = msgspec.json.encode({"model": MODEL, "prompt": "hello", "max_tokens": 0})


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much is measured."""

    rounds: int = 3
    serial: int = 600
    """Requests of each kind in a round."""
    flood_seconds: float = 4.0
    in_flight: int = 64
    streams: int = 1000
    opening: float = 10.0
    """Seconds over which the streams are opened."""
    tokens: int = 250
    """Of each stream, ten a second."""


QUICK = Plan(rounds=1, serial=60, flood_seconds=0.5, streams=50, opening=0.5, tokens=20)


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One server's turn in a round."""

    models_p50_ms: float
    job_p50_ms: float
    job_p99_ms: float
    models_per_s: float
    models_cpu_us: float
    """Processor time of the server for one, with many under way: what a busy machine does not change."""
    jobs_per_s: float
    job_cpu_us: float


class Streams(msgspec.Struct, frozen=True, kw_only=True):
    """The streams, while all of them were open."""

    count: int
    finished: int
    tokens: int
    seconds: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    cores: dict[str, float]
    """That each process used."""


class Ratios(msgspec.Struct, frozen=True, kw_only=True):
    """One number for each claim."""

    models_p50_vs_bare: float
    job_p50_vs_bare: float
    job_added_ms: float
    jobs_per_s: float
    streams_p99_ms: float | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured."""

    bench: str
    circumstances: report.Circumstances
    plan: Plan
    velesio: list[Turn]
    bare: list[Turn]
    streams: Streams | None
    ratios: Ratios


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only this bench has."""
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds to take the medians over")
    parser.add_argument("--streams", type=int, metavar="N", help="streams at once; 0: leave them out")
    parser.add_argument(
        "--together", action="store_true", help="streams through one process instead of gateway and worker apart"
    )
    parser.add_argument("--profile", type=Path, metavar="FOLDER", help="have py-spy write there where the time goes")


def run(options: argparse.Namespace) -> int:
    """Measures and reports."""
    plan = QUICK if options.quick else Plan()
    if options.rounds is not None:
        plan = msgspec.structs.replace(plan, rounds=max(1, options.rounds))
    if options.streams is not None:
        plan = msgspec.structs.replace(plan, streams=options.streams)
    around = report.circumstances()
    with tempfile.TemporaryDirectory(prefix="velesio-bench-") as folder:
        own, other = _requests(plan, Path(folder), options.profile)
        streams = _streams(plan, Path(folder), options) if plan.streams else None
    found = Report(
        bench="gateway",
        circumstances=around,
        plan=plan,
        velesio=own,
        bare=other,
        streams=streams,
        ratios=_ratios(own, other, streams),
    )
    print(_as_text(found))
    if options.json:
        report.write(options.json, found)
        print(f"\nwritten to {options.json.resolve()}")
    return 0


def _requests(plan: Plan, folder: Path, profile: Path | None) -> tuple[list[Turn], list[Turn]]:
    with velesio(folder / "together", apart=False) as own:
        answers = [asyncio.run(_first(own.port, sent)) for sent in _sent(own.port)]
        with bare(folder, answers) as other:
            turns: tuple[list[Turn], list[Turn]] = ([], [])
            for number in range(plan.rounds):
                for server, taken in zip((own, other), turns, strict=True):
                    taken.append(_turn(server, plan))
                    print(f"round {number + 1}: {', '.join(server.processes)}: {_line(taken[-1])}", file=sys.stderr)
        if profile:
            with _spied(own, profile, "jobs", 2 * plan.flood_seconds):
                asyncio.run(client.flood(own.port, _sent(own.port)[1], plan.in_flight, 2 * plan.flood_seconds + 1))
        return turns


def _sent(port: int) -> tuple[bytes, bytes]:
    """The two requests."""
    return client.request("GET", "/v1/models", port, KEY), client.request("POST", "/v1/completions", port, KEY, _JOB)


async def _first(port: int, sent: bytes) -> bytes:
    line = await client.connect(port)
    answer = await line.ask(sent)
    line.close()
    return answer


def _turn(server: Running, plan: Plan) -> Turn:
    models, job = _sent(server.port)

    async def flooded(sent: bytes, seconds: float) -> tuple[float, float]:
        before = sum(server.seconds().values())
        done, took = await client.flood(server.port, sent, plan.in_flight, seconds)
        return done / took, (sum(server.seconds().values()) - before) * 1e6 / done

    async def measured() -> Turn:
        listed = await client.serially(server.port, models, plan.serial)
        jobs = await client.serially(server.port, job, plan.serial)
        lists_per_s, list_cost = await flooded(models, plan.flood_seconds / 4)
        jobs_per_s, job_cost = await flooded(job, plan.flood_seconds)
        return Turn(
            models_p50_ms=percentile(listed, 0.5),
            job_p50_ms=percentile(jobs, 0.5),
            job_p99_ms=percentile(jobs, 0.99),
            models_per_s=lists_per_s,
            models_cpu_us=list_cost,
            jobs_per_s=jobs_per_s,
            job_cpu_us=job_cost,
        )

    return asyncio.run(measured())


def _streams(plan: Plan, folder: Path, options: argparse.Namespace) -> Streams:
    body = {
        "model": CLOCK,
        "stream": True,
        "max_tokens": plan.tokens,
        "messages": [{"role": "user", "content": f"[[clock]] [[tokens {plan.tokens}]] now"}],
    }
    with velesio(folder / "streams", apart=not options.together) as server:
        sent = client.request("POST", "/v1/chat/completions", server.port, KEY, msgspec.json.encode(body))
        spying = options.profile and _spied(server, options.profile, "streams", plan.tokens / 20)
        with spying or contextlib.nullcontext():
            used: list[dict[str, float]] = []
            found = asyncio.run(_watched(server, sent, plan, used))
    begun = max(stream.late[0][0] for stream in found if stream.late)
    until = min(stream.late[-1][0] for stream in found if stream.late)
    late = [ms for stream in found for at, ms in stream.late if begun <= at <= until]
    if not late:
        raise RuntimeError(f"the streams were never all open; one began with {found[0].head[:500]!r}")
    return Streams(
        count=len(found),
        finished=sum(stream.finished for stream in found),
        tokens=len(late),
        seconds=until - begun,
        p50_ms=percentile(late, 0.5),
        p99_ms=percentile(late, 0.99),
        worst_ms=max(late),
        cores={name: (used[1][name] - used[0][name]) / _WINDOW for name in used[0]} if len(used) == 2 else {},
    )


_WINDOW = 5.0
"""Seconds over which processor time is counted, once all streams are open."""


async def _watched(server: Running, sent: bytes, plan: Plan, used: list[dict[str, float]]) -> Sequence[client.Stream]:
    async def count() -> None:
        await asyncio.sleep(plan.opening + 1)
        used.append(server.seconds())
        await asyncio.sleep(_WINDOW)
        used.append(server.seconds())

    counting = asyncio.create_task(count())
    found = await client.streams(server.port, sent, plan.streams, plan.opening)
    counting.cancel()
    return found


@contextlib.contextmanager
def _spied(server: Running, folder: Path, name: str, seconds: float):  # noqa: ANN202
    """Profiles of each process while the block runs, a little later than it begins."""
    folder.mkdir(parents=True, exist_ok=True)
    how = ("--duration", str(round(seconds)), "--rate", "200", "--format", "raw", "--threads", "--nonblocking")
    spies = [
        subprocess.Popen(
            [
                str(Path(sys.executable).with_name("py-spy")),
                "record",
                "--pid",
                str(process.pid),
                *how,
                "--output",
                str(folder / f"{name}-{role}.txt"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for role, process in server.processes.items()
    ]
    time.sleep(0.5)
    try:
        yield
    finally:
        for spy in spies:
            spy.wait()


def _ratios(own: Sequence[Turn], other: Sequence[Turn], streams: Streams | None) -> Ratios:
    return Ratios(
        models_p50_vs_bare=_median(own, lambda turn: turn.models_p50_ms)
        / _median(other, lambda turn: turn.models_p50_ms),
        job_p50_vs_bare=_median(own, lambda turn: turn.job_p50_ms) / _median(other, lambda turn: turn.job_p50_ms),
        job_added_ms=_median(own, lambda turn: turn.job_p50_ms) - _median(other, lambda turn: turn.job_p50_ms),
        jobs_per_s=_median(own, lambda turn: turn.jobs_per_s),
        streams_p99_ms=streams.p99_ms if streams else None,
    )


def _median(turns: Sequence[Turn], figure: Callable[[Turn], float]) -> float:
    return statistics.median(map(figure, turns))


def _line(turn: Turn) -> str:
    return (
        f"models {turn.models_p50_ms:.2f} ms, job {turn.job_p50_ms:.2f} ms, {turn.models_per_s:,.0f} lists/s, "
        f"{turn.jobs_per_s:,.0f} jobs/s, {turn.job_cpu_us:,.0f} us of processor time for a job"
    )


def _as_text(found: Report) -> str:
    around = found.circumstances
    parts = [f"{found.plan.rounds} rounds on {around.cores} cores ({around.processor}), {around.date}"]
    if around.busy:
        parts.append(f"The machine was busy ({around.busy_before} cores in use): these figures are not to be quoted.")
    names = Turn.__struct_fields__
    rows = [
        (server, *(report.number(_median(turns, lambda turn, name=name: getattr(turn, name))) for name in names))
        for server, turns in (("velesio", found.velesio), ("bare aiohttp", found.bare))
    ]
    parts.append("\n" + report.table(("", *(name.replace("_", " ") for name in names)), rows))
    if streams := found.streams:
        cores = ", ".join(f"{name} {used:.2f}" for name, used in streams.cores.items())
        parts.append(
            f"\n{streams.count} streams ({streams.finished} to their end), {streams.tokens / streams.seconds:,.0f} "
            f"tokens/s over {streams.seconds:.0f} s: a token came {streams.p50_ms:.1f} ms (p50), "
            f"{streams.p99_ms:.1f} ms (p99), {streams.worst_ms:.0f} ms (worst) after it was made; "
            f"cores used: {cores or 'not counted'}"
        )
    lines = [(name, report.number(value)) for name, value in msgspec.structs.asdict(found.ratios).items()]
    parts.append("\n" + report.table(("ratio", "value"), lines))
    return "\n".join(parts)
