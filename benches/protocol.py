"""The contestant's side: starts its worker, then answers the driver's orders, one JSON object a line.

    → {"order": "serial", "jobs": 100, "seconds": 5}      ← {"milliseconds": [0.71, …]}
    → {"order": "flood", "in_flight": 64, "seconds": 3}   ← {"jobs": 9000, "seconds": 3.01}
    → end of file: stops the worker and ends

The first line it writes says that a job has gone through: {"ready": true, "configuration": "…", "versions": {…}}.
Imports the standard library alone, since it runs in the venvs of libraries that know nothing of Velesio.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from importlib import metadata
from typing import Any, NamedTuple, TextIO

URL_VARIABLE = "BENCH_URL"  # not VELESIO_…: Velesio takes such names for options of its own
VARIANT_VARIABLE = "BENCH_VARIANT"
STARTING = 60.0
"""Seconds that a worker has for its first job."""
WARM_UP = 50
"""Serial jobs before the first measurement; as many seconds of flood as `WARM_UP_FLOOD` follow."""
WARM_UP_FLOOD = 0.3

Call = Callable[[], Awaitable[object]]
BlockingCall = Callable[[], object]


class Contestant(NamedTuple):
    """What a module says of the library that it drives."""

    configuration: str
    """How worker and client are set up, and why, in one line."""
    distributions: tuple[str, ...]
    """Whose versions to record."""
    worker: tuple[str, ...] = ()
    """The worker's command; empty: none of its own."""


class Calls(NamedTuple):
    """How a client awaits one job: what is quickest for one job may not be what is quickest for many."""

    serial: Call
    flood: Call


class BlockingCalls(NamedTuple):
    """The same for libraries without asyncio; `flood` is called by many threads."""

    serial: BlockingCall
    flood: BlockingCall


def url() -> str:
    """The broker's `redis://` address."""
    return os.environ[URL_VARIABLE]


def variant() -> str:
    """Which of its rows a module shall be; empty for its first."""
    return os.environ.get(VARIANT_VARIABLE, "")


def script(name: str) -> str:
    """A console script of this venv."""
    return os.path.join(os.path.dirname(sys.executable), name)  # noqa: PTH118, PTH120 - resolve() would leave the venv


def serve(contestant: Contestant, client: Callable[[], AbstractAsyncContextManager[Calls]]) -> None:
    """Runs an asyncio contestant until standard input ends."""

    async def main() -> None:
        with _worker(contestant.worker), _answers() as answer:
            async with client() as calls:
                await asyncio.wait_for(calls.serial(), STARTING)
                await serial(calls.serial, WARM_UP, 1.0)
                await flood(calls.flood, 64, WARM_UP_FLOOD)
                answer(_greeting(contestant))
                async for order in _orders():
                    answer(await _obey(calls, order))

    asyncio.run(main())


def serve_blocking(contestant: Contestant, client: Callable[[], AbstractContextManager[BlockingCalls]]) -> None:
    """Runs a contestant without asyncio until standard input ends; its calls must end by themselves."""
    with _worker(contestant.worker), _answers() as answer, client() as calls:
        calls.serial()
        serial_blocking(calls.serial, WARM_UP, 1.0)
        flood_blocking(calls.flood, 64, WARM_UP_FLOOD)
        answer(_greeting(contestant))
        for line in sys.stdin:
            answer(_obey_blocking(calls, json.loads(line)))


async def serial(call: Call, jobs: int, seconds: float) -> list[float]:
    """Milliseconds of one job after another, up to `jobs`, begun within `seconds`; at least three."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < 3 or (len(taken) < jobs and time.perf_counter() < end):
        began = time.perf_counter()
        await call()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def serial_blocking(call: BlockingCall, jobs: int, seconds: float) -> list[float]:
    """`serial` without asyncio."""
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < 3 or (len(taken) < jobs and time.perf_counter() < end):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


async def flood(call: Call, in_flight: int, seconds: float) -> tuple[int, float]:
    """Round trips begun within `seconds` with `in_flight` of them at any time, and the seconds until all had ended."""
    began = time.perf_counter()

    async def lane() -> int:
        jobs = 0
        while time.perf_counter() - began < seconds:
            await call()
            jobs += 1
        return jobs

    counts = await asyncio.gather(*(lane() for _ in range(in_flight)))
    return sum(counts), time.perf_counter() - began


def flood_blocking(call: BlockingCall, in_flight: int, seconds: float) -> tuple[int, float]:
    """`flood` with a thread for each job in flight.

    Raises:
        RuntimeError: if a call raised.
    """
    counts = [0] * in_flight
    errors: list[Exception] = []
    began = time.perf_counter()

    def lane(number: int) -> None:
        try:
            while time.perf_counter() - began < seconds:
                call()
                counts[number] += 1
        except Exception as error:  # whatever a library raises is raised again below
            errors.append(error)

    threads = [threading.Thread(target=lane, args=(number,)) for number in range(in_flight)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise RuntimeError(f"{len(errors)} of {in_flight} threads failed") from errors[0]
    return sum(counts), time.perf_counter() - began


async def _obey(calls: Calls, order: dict[str, Any]) -> dict[str, Any]:
    if order["order"] == "serial":
        return {"milliseconds": await serial(calls.serial, order["jobs"], order["seconds"])}
    jobs, seconds = await flood(calls.flood, order["in_flight"], order["seconds"])
    return {"jobs": jobs, "seconds": seconds}


def _obey_blocking(calls: BlockingCalls, order: dict[str, Any]) -> dict[str, Any]:
    if order["order"] == "serial":
        return {"milliseconds": serial_blocking(calls.serial, order["jobs"], order["seconds"])}
    jobs, seconds = flood_blocking(calls.flood, order["in_flight"], order["seconds"])
    return {"jobs": jobs, "seconds": seconds}


def _greeting(contestant: Contestant) -> dict[str, Any]:
    versions = {name: metadata.version(name) for name in contestant.distributions}
    return {"ready": True, "configuration": contestant.configuration, "versions": versions}


async def _orders() -> AsyncIterator[dict[str, Any]]:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        yield json.loads(line)


@contextlib.contextmanager
def _answers() -> Iterator[Callable[[dict[str, Any]], None]]:
    """The real standard output, for answers alone: what libraries print goes to standard error."""
    stream: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        stream.write(json.dumps(content) + "\n")
        stream.flush()

    with stream:
        yield answer


@contextlib.contextmanager
def _worker(command: Sequence[str]) -> Iterator[None]:
    """The worker in a process of its own; it gets SIGTERM, then SIGKILL. It stays in this process's group, so that
    the driver can end all of it."""
    if not command:
        yield
        return
    worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2)
    try:
        yield
    finally:
        worker.terminate()
        try:
            worker.wait(5)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
