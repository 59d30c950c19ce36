"""The soak: an hour of mixed load on a real `--role all` process and a worker beside it that is killed again and again;
does anything grow, is anything lost?

After every kind of request has been made once, the idle server is measured; then some clients send what comes to their
minds, with a sample every five seconds and the broker's keys every minute. Twelve times the load is held until nothing
runs: what is seen at rest, with the same models loaded, is what the verdicts are made of. The status is 1 if something
is not flat, an answer was wrong, a job has not ended as it should, or a server logged an error.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import aiohttp
import msgspec
import redis.asyncio

from benches import report, soak_plot
from benches.soak_jobs import Ledger, outcomes, unaccounted
from benches.soak_levels import Levels, Verdict, verdicts, wrong
from benches.soak_load import Load, Pace
from benches.soak_servers import CONTEXT, FIRST, FURTHER, PICTURES, SECOND, SLOTS, TOKEN, Victim, furnish, whole
from benches.soak_watch import Watch
from benches.text_scenarios import words
from benches.text_servers import Machine, Running, running
from velesio.backends.llama.discovery import demo_file
from velesio.queue.embedded import find_running

_MINUTES = 60.0
_QUICK = 3.0
_CORES = 1.0
_CLIENTS = 6
_RESTS = 12
_BETWEEN_RESTS = 100.0
"""Seconds between two rests at least."""
_EVERY = 5.0
_KEYS_EVERY = 60.0
_JOBS_EVERY = 15.0
_TOLD_EVERY = 30.0
_BACK = 2.0
"""Seconds after which a worker that was killed is started again."""
_LIFE = 125.0
"""Seconds, of which it lives between two fifths and four fifths before it is killed."""
_SERVES = 50.0
"""Seconds that the last one before a rest has, at least: by then it has loaded its models."""
_HASTE = "a step or a load does not end; leaving its thread"
"""What a worker logs that has to leave in the middle of a step, which on a busy machine takes seconds: its leases then
run out, as they do when it is killed, and its jobs go to another."""
_REQUEST = 300.0
_KEPT_OPEN = 2.0
"""Seconds for which the load keeps connections that it does not use."""
_STILL = 4.0
"""Seconds of a rest, so that they are closed when it is looked at."""


class Soaked(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was seen."""

    bench: str
    circumstances: report.Circumstances
    minutes: float
    verdicts: list[Verdict]
    samples: list[Levels]
    done: dict[str, int]
    """Requests that went as they should, by kind."""
    failed: dict[str, int]
    requests: dict[str, int]
    """By how they ended, as the clients saw it."""
    jobs: dict[str, int]
    """By how they ended, as the broker's records say."""
    counted: dict[str, int]
    """Ended jobs, as the broker counted them."""
    continued: int
    """Jobs that lost a worker and ended with another."""
    kills: int
    leaves: int
    wrong: list[str]
    """Why the status is 1."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that only the soak has."""
    parser.add_argument("--minutes", type=float, metavar="N", help=f"how long (default: {_MINUTES:g})")
    parser.add_argument(
        "--cores", type=float, default=_CORES, metavar="N", help="cores that the servers take (default: %(default)g)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw what was seen, as a PNG file")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave logs and data there, which must not exist")
    parser.add_argument(
        "--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="an option of the servers; repeatable"
    )


def run(options: argparse.Namespace) -> int:
    """Soaks and reports; the status is 1 if anything is wrong."""
    model = demo_file()
    if model is None:
        print("scripts/soak: the demo model is missing: install velesio[demo]", file=sys.stderr)
        return 1
    minutes = options.minutes or (_QUICK if options.quick else _MINUTES)
    python = soak_plot.prepare(install=True) if options.plot else None
    around = report.circumstances()
    with _folder(options.keep) as home:
        furnish(home, model)
        machine = Machine(model=str(model), threads=1, slots=SLOTS, context=CONTEXT)
        with running(whole(home, options.set), machine, home / "server") as server:
            soak = asyncio.run(_soaked(server, home, options.set, minutes * 60, options.cores))
        errors = [*_errors(home / "server" / "server.log"), *_errors(home / "worker.log", _HASTE)]
    found = soak.found(around, minutes, errors)
    print(as_text(found))
    if options.json:
        report.write(options.json, found)
    if python:
        soak_plot.draw(python, msgspec.json.encode(found), options.plot)
    return int(bool(found.wrong))


class Soak:
    """One run of it."""

    def __init__(self, load: Load, pace: Pace, watch: Watch, victim: Victim, ledger: Ledger) -> None:
        self._load = load
        self._pace = pace
        self._watch = watch
        self._victim = victim
        self._ledger = ledger
        self._chance = random.Random(1)
        self._end = 0.0
        self._counted: Counter[str] = Counter()

    async def run(self, session: aiohttp.ClientSession, seconds: float) -> None:
        """Everything from the first request to the last look."""
        async with asyncio.TaskGroup() as group:
            notes = group.create_task(self._note_jobs())
            await self._load.tour()
            self._watch.begin()
            await self._rest(session)
            self._end = time.monotonic() + seconds
            others = [group.create_task(self._sample()), group.create_task(self._tell())]
            load = group.create_task(self._load.run(_CLIENTS, self._over))
            while not self._over():
                await self._turn(session, max(_BETWEEN_RESTS, seconds / _RESTS))
            await load
            for task in others:
                task.cancel()
            await self._fill(session)
            await self._rest(session)
            notes.cancel()
        await self._ledger.read()
        self._counted = await self._ledger.totals()

    def found(self, around: report.Circumstances, minutes: float, errors: Sequence[str]) -> Soaked:
        """The report; `errors` are those of the logs."""
        jobs = list(self._ledger.jobs.values())
        rests = [level for level in self._watch.samples if level.resting]
        complaints = [
            *wrong(rests),
            *unaccounted(jobs, self._counted),
            *self._load.failures,
            *self._victim.wrong,
            *errors,
        ]
        return Soaked(
            bench="soak",
            circumstances=around,
            minutes=minutes,
            verdicts=verdicts(rests),
            samples=self._watch.samples,
            done=dict(sorted(self._load.done.items())),
            failed=dict(self._load.failed),
            requests=dict(self._load.outcomes),
            jobs=outcomes(jobs),
            counted=dict(self._counted),
            continued=sum(job.crashes > 0 and job.state == "done" for job in jobs),
            kills=self._victim.kills,
            leaves=self._victim.leaves,
            wrong=complaints,
        )

    def _over(self) -> bool:
        return time.monotonic() >= self._end

    async def _turn(self, session: aiohttp.ClientSession, seconds: float) -> None:
        """So much load with a worker that is killed every now and then and leaves at the end; then a rest."""
        end = min(self._end, time.monotonic() + seconds)
        self._victim.start()
        while True:
            life = min(_LIFE, seconds * 0.6) * self._chance.uniform(0.4, 0.8)
            if time.monotonic() + life + _BACK + _SERVES > end:
                break
            await asyncio.sleep(life)
            self._victim.kill()
            await asyncio.sleep(_BACK)
            self._victim.start()
        await asyncio.sleep(max(0.0, end - time.monotonic()))
        await self._victim.leave()
        await self._load.hold()
        await self._rest(session)
        self._load.go_on()

    async def _rest(self, session: aiohttp.ClientSession) -> None:
        """Nothing runs, and the same models are loaded each time: then it is looked at."""
        await self._watch.idle()
        for order, model in (("unload", SECOND), ("unload", FURTHER), ("load", FIRST), ("load", PICTURES)):
            async with session.post(f"/admin/models/{order}", json={"model": model, "wait": True}) as answer:
                if answer.status != 200:
                    self._load.failures.append(f"{order} {model}: status {answer.status}: {await answer.text()}")
        await self._watch.idle()
        await asyncio.sleep(_STILL)
        level = await self._watch.look(keys=True, resting=True)
        print(f"at rest: {_level(level)}", file=sys.stderr)

    async def _sample(self) -> None:
        """Every five seconds, with the broker's keys every minute."""
        keys_at = 0.0
        while True:
            await asyncio.sleep(_EVERY)
            if self._load.held:
                continue
            now = time.monotonic()
            level = await self._watch.look(keys=now >= keys_at)
            keys_at = now + _KEYS_EVERY if now >= keys_at else keys_at
            self._pace.heed(level.cores)

    async def _note_jobs(self) -> None:
        while True:
            await self._ledger.read()
            await asyncio.sleep(_JOBS_EVERY)

    async def _tell(self) -> None:
        """A word every half minute."""
        while True:
            await asyncio.sleep(_TOLD_EVERY)
            done, failed = sum(self._load.done.values()), sum(self._load.failed.values())
            level = self._watch.samples[-1]
            print(f"{_level(level)}; {done} requests, {failed} failed, pause {self._pace.pause:.2f}", file=sys.stderr)

    async def _fill(self, session: aiohttp.ClientSession) -> None:
        """As many prompts as there are slots, each nearly as long as the context: a slot or cells that are lost are
        missed here."""

        async def one(number: int) -> None:
            body = {"prompt": words(f"fill {number}", CONTEXT - 64), "n_predict": 16, "cache_prompt": False}
            async with session.post("/completion", json=body | {"model": FIRST}) as answer:
                if answer.status != 200:
                    raise RuntimeError(f"status {answer.status}: {(await answer.text())[:300]}")

        ended = await asyncio.gather(*(one(number) for number in range(SLOTS)), return_exceptions=True)
        self._load.failures += [f"a full context in each slot: {error!r}" for error in ended if error]


async def _soaked(server: Running, home: Path, settings: Sequence[str], seconds: float, cores: float) -> Soak:
    url = await find_running(home / "server" / "data")
    victim = Victim(home, url, settings)
    limits, headers = aiohttp.ClientTimeout(total=_REQUEST), {"Authorization": f"Bearer {TOKEN}"}
    async with contextlib.AsyncExitStack() as stack:
        broker = await stack.enter_async_context(redis.asyncio.Redis.from_url(url))
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                f"http://127.0.0.1:{server.port}",
                headers=headers,
                timeout=limits,
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_OPEN),
            )
        )
        stack.callback(victim.kill)
        pace = Pace(cores)
        load = Load(session, pace)
        watch = Watch(server, home / "server", victim, load, session=session, broker=broker)
        soak = Soak(load, pace, watch, victim, Ledger(broker))
        await soak.run(session, seconds)
        return soak


@contextlib.contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    """That folder, made now, or one that is gone afterwards."""
    if kept is None:
        with tempfile.TemporaryDirectory(prefix="velesio-soak-") as name:
            yield Path(name)
    else:
        kept.mkdir(parents=True)
        yield kept.absolute()


def _errors(log: Path, borne: str = "") -> list[str]:
    """What a server logged as errors, each kind once, but for one that is borne."""
    found: Counter[str] = Counter()
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            found[line.strip()[:200]] += "Traceback" in line
            continue
        found[str(entry.get("event"))] += entry.get("level") in {"error", "critical"}
    return [f"{count} errors in the log: {event}" for event, count in found.items() if count and event != borne]


def as_text(found: Soaked) -> str:
    """The report for people."""
    rows: list[Sequence[str]] = [
        (
            verdict.name,
            *(
                f"{number:g}"
                for number in (verdict.start, verdict.end, verdict.per_hour, verdict.grown, verdict.allowed)
            ),
            "flat" if verdict.flat else "GROWS",
        )
        for verdict in found.verdicts
    ]
    parts = [
        f"{sum(found.done.values())} requests in {found.minutes:g} minutes, {sum(found.failed.values())} failed: "
        + _counts(found.done),
        f"requests by their end: {_counts(found.requests)}",
        f"jobs by their end: {_counts(found.jobs)}; {found.continued} of them lost a worker and were done by another",
        f"the worker was killed {found.kills} times and left {found.leaves} times",
        "\n" + report.table(("at rest", "start", "end", "an hour", "grown", "allowed", ""), rows),
        *(f"WRONG: {what}" for what in found.wrong),
    ]
    return "\n".join([*parts, "FAILED" if found.wrong else "passed"])


def _counts(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counted.items()) or "none"


def _level(level: Levels) -> str:
    server = level.server
    return (
        f"{level.seconds:.0f} s: {server.memory_mib:.1f} MiB, broker {level.used_mib:.1f} MiB, "
        f"{server.threads} threads, {server.files} files, {server.sockets} sockets, {level.pending} jobs, "
        f"{level.cores:.2f} cores"
    )
