"""The soak: mixed load against a real `--role all` process for some minutes; does it grow, or lose sequences or cells?

After every kind of request has been made once, the idle server is measured; then six clients send what comes to their
minds, with a sample every two seconds; then the idle server is measured again, and has to show that each of its slots
still works. The status is 1 if something leaked, an answer was wrong, or the server logged an error.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import redis.asyncio

from benches import report
from benches.soak_levels import Levels, families, growth, leaks
from benches.soak_load import Load
from benches.text_scenarios import words
from benches.text_servers import Contestant, Machine, Running, running, velesio
from velesio.backends.llama.discovery import demo_file
from velesio.backends.llama.options import default_threads, may_repack
from velesio.queue.embedded import find_running

CELLS = "velesio_engine_cells_running"
"""The metric that counts the cells of running sequences; not checked where the server has none of that name."""
_MINUTES = 30.0
_QUICK = 1.0
_BOUND = 64.0
_CLIENTS = 6
_SLOTS = 4
_CONTEXT = 2048
_RESULTS = 60
"""Seconds for which the broker keeps results: else they would be what grows."""
_EVERY = 2.0
_REQUEST = 300.0
_IDLE = 60.0
"""Seconds in which everything must have ended when nobody asks any more."""


class Soaked(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was seen."""

    bench: str
    circumstances: report.Circumstances
    minutes: float
    bound_mib: float
    start: Levels
    end: Levels
    samples: list[Levels]
    mib_per_hour: float
    grown_mib: float
    """By the slope, over the time after the caches have filled."""
    done: dict[str, int]
    failed: dict[str, int]
    skipped: dict[str, str]
    """Kinds of requests that the server answered with 501."""
    wrong: list[str]
    """Why the status is 1."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only the soak has."""
    parser.add_argument("--minutes", type=float, metavar="N", help=f"how long (default: {_MINUTES:g})")
    parser.add_argument(
        "--bound", type=float, default=_BOUND, metavar="MIB", help="growth that is still allowed (default: %(default)g)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="an option of the server; repeatable"
    )


def run(options: argparse.Namespace) -> int:
    """Soaks and reports; the status is 1 if anything is wrong."""
    model = demo_file()
    if model is None:
        print("scripts/soak: the demo model is missing: install velesio[demo]", file=sys.stderr)
        return 1
    minutes = options.minutes or (_QUICK if options.quick else _MINUTES)
    around = report.circumstances()
    machine = Machine(model=str(model), threads=default_threads(), repack=may_repack(), slots=_SLOTS, context=_CONTEXT)
    further = [f"queue.result_ttl={_RESULTS}", "log.format=json", "backends.llama.pooling=mean", *options.set]
    contestant = Contestant(
        name="velesio",
        command=lambda machine, port: [*velesio(machine, port), *(word for one in further for word in ("--set", one))],
        health="/readyz",
    )
    with tempfile.TemporaryDirectory(prefix="velesio-soak-") as folder:
        home = Path(folder) / "server"
        with running(contestant, machine, home) as server:
            watch = Watch(server, home)
            load, start, end = asyncio.run(_soak(watch, minutes))
        errors = _errors(home / "server.log")
    rate, grown = growth(watch.samples)
    wrong = [*leaks(start, end, grown, options.bound), *load.failures, *errors]
    found = Soaked(
        bench="soak",
        circumstances=around,
        minutes=minutes,
        bound_mib=options.bound,
        start=start,
        end=end,
        samples=watch.samples,
        mib_per_hour=round(rate, 2),
        grown_mib=round(grown, 2),
        done=dict(sorted(load.done.items())),
        failed=dict(load.failed),
        skipped=load.skipped,
        wrong=wrong,
    )
    print(as_text(found))
    if options.json:
        report.write(options.json, found)
    return int(bool(wrong))


class Watch:
    """Reads the levels of a running server."""

    def __init__(self, server: Running, folder: Path) -> None:
        self._folder = folder
        self._server = server
        self._began = time.monotonic()
        self.port = server.port
        self.samples: list[Levels] = []

    async def sample(self, until: float) -> None:
        """Every two seconds, until it is time."""
        while time.monotonic() < until:
            self.samples.append(await self.levels())
            await asyncio.sleep(_EVERY)

    def begin(self) -> None:
        """The load begins."""
        self._began = time.monotonic()

    async def levels(self, *, keys: bool = False) -> Levels:
        """Of this moment; `keys`: also those in the broker, which takes a walk through all of them."""
        metrics, status = await asyncio.to_thread(self._server.metrics), await self._status()
        process, *children = self._server.family()
        broker = sum(child.memory_info().rss for child in children if "valkey" in child.name())
        with process.oneshot():
            return Levels(
                seconds=round(time.monotonic() - self._began, 1),
                memory_mib=round(process.memory_info().rss / 2**20, 2),
                broker_mib=round(broker / 2**20, 2),
                threads=process.num_threads(),
                files=process.num_fds(),
                keys=await self._keys() if keys else {},
                sequences=metrics.get("velesio_engine_sequences", 0.0),
                inflight=metrics.get("velesio_worker_jobs", 0.0),
                cells=metrics.get(CELLS),
                pending=status["pending"] + status["active"],
                jobs=await asyncio.to_thread(self._server.outcomes),
            )

    async def idle(self) -> Levels:
        """When nothing waits or runs any more, or when that has taken too long."""
        end = time.monotonic() + _IDLE
        while time.monotonic() < end:
            now = await self.levels()
            if not (now.pending or now.sequences or now.inflight or now.cells):
                break
            await asyncio.sleep(0.2)
        return await self.levels(keys=True)

    async def _status(self) -> dict[str, int]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}/queue/status") as answer,
        ):
            found: dict[str, int] = await answer.json()
            return found

    async def _keys(self) -> dict[str, int]:
        broker = redis.asyncio.Redis.from_url(await find_running(self._folder / "data"))
        async with broker:
            names = [key async for key in broker.scan_iter(count=1000)]
            async with broker.pipeline(transaction=False) as pipeline:
                for name in names:
                    pipeline.pttl(name)
                lives = await pipeline.execute()
        return families([(name.decode(), life) for name, life in zip(names, lives, strict=True)])


async def _soak(watch: Watch, minutes: float) -> tuple[Load, Levels, Levels]:
    address = f"http://127.0.0.1:{watch.port}"
    limits = aiohttp.ClientTimeout(total=_REQUEST)
    async with aiohttp.ClientSession(address, timeout=limits, connector=aiohttp.TCPConnector(limit=0)) as session:
        load = Load(session)
        await load.tour()
        for kind, words_of in load.skipped.items():
            print(f"skipped, the server answers 501: {kind}: {words_of}", file=sys.stderr)
        start = await watch.idle()
        print(f"start: {_level(start)}", file=sys.stderr)
        watch.begin()
        end = time.monotonic() + minutes * 60
        async with asyncio.TaskGroup() as group:
            group.create_task(watch.sample(end))
            group.create_task(_tell(watch, load, end))
            group.create_task(load.run(_CLIENTS, lambda: time.monotonic() > end))
        await watch.idle()
        await _fill(session, load)
        return load, start, await watch.idle()


async def _tell(watch: Watch, load: Load, end: float) -> None:
    """A word every half minute."""
    while (left := end - time.monotonic()) > 0:
        await asyncio.sleep(min(30.0, left))
        done, failed = sum(load.done.values()), sum(load.failed.values())
        print(f"{_level(watch.samples[-1])}; {done} requests, {failed} failed", file=sys.stderr)


async def _fill(session: aiohttp.ClientSession, load: Load) -> None:
    """As many prompts as there are slots, each nearly as long as the context: a slot or cells that are lost are missed
    here."""

    async def one(number: int) -> None:
        body = {"prompt": words(f"fill {number}", _CONTEXT - 64), "n_predict": 16, "cache_prompt": False}
        async with session.post("/completion", json=body) as answer:
            if answer.status != 200:
                raise RuntimeError(f"status {answer.status}: {(await answer.text())[:300]}")

    ended = await asyncio.gather(*(one(number) for number in range(_SLOTS)), return_exceptions=True)
    load.failures += [f"a full context in each slot: {error!r}" for error in ended if error]


def _errors(log: Path) -> list[str]:
    """What the server logged as errors, each kind once."""
    found: Counter[str] = Counter()
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            found[line.strip()[:200]] += "Traceback" in line
            continue
        found[str(entry.get("event"))] += entry.get("level") in {"error", "critical"}
    return [f"{count} errors in the log: {event}" for event, count in found.items() if count]


def as_text(found: Soaked) -> str:
    """The report for people."""
    names = ("memory_mib", "broker_mib", "threads", "files", "sequences", "inflight", "cells", "pending")
    lines: list[Sequence[str]] = [(name, _cell(found.start, name), _cell(found.end, name)) for name in names]
    counted = (("keys", found.start.keys, found.end.keys), ("jobs", found.start.jobs, found.end.jobs))
    for title, start, end in counted:
        lines += [(f"{title}: {name}", f"{start.get(name, 0):g}", f"{end.get(name, 0):g}") for name in {**start, **end}]
    done = sum(found.done.values())
    parts = [
        f"{done} requests in {found.minutes:g} minutes, {sum(found.failed.values())} failed: "
        + ", ".join(f"{kind} {count}" for kind, count in found.done.items()),
        "\n" + report.table(("idle", "start", "end"), lines),
        "\n" + _memory(found),
        *(f"skipped: {kind}: the server answers 501: {words_of}" for kind, words_of in found.skipped.items()),
        *(f"WRONG: {what}" for what in found.wrong),
    ]
    if found.end.cells is None:
        parts.append(f"not checked: the server has no metric {CELLS}")
    return "\n".join([*parts, "FAILED" if found.wrong else "passed"])


def _memory(found: Soaked) -> str:
    rate, bound = f"{found.mib_per_hour:+.1f}/h", f"{found.bound_mib:g} allowed"
    return f"memory: {found.grown_mib:+.1f} MiB once caches were full ({rate}), {bound}"


def _cell(level: Levels, name: str) -> str:
    value: Any = getattr(level, name)
    return "-" if value is None else f"{value:g}"


def _level(level: Levels) -> str:
    return (
        f"{level.seconds:.0f} s: {level.memory_mib:.1f} MiB, broker {level.broker_mib:.1f} MiB, "
        f"{level.threads} threads, {level.files} files, {level.pending} jobs"
    )
