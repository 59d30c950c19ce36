"""Growth of the queue's cost: jobs that wait in it, and workers that take from it; the engine is echo's."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import psutil

from benches import memory, protocol, queue_depth, queue_velesio, server
from benches.figures import percentile
from benches.growth_record import Axis, Measured
from benches.text_scenarios import words
from velesio.config import QueueSection, RedisSection
from velesio.jobs import Completed, Completion, Job, is_final
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.replies import Inbox

_DEEPEST = 100_000
_TURNS = 500
_WORDS = 100
"""Of each waiting job's prompt."""
_SLOTS = 32
_TOKENS = 16
_PACE = 20
"""Tokens a second of one job on the echo model that takes its time."""
_SECONDS = 4.0
_STARTING = 30.0
_CONFIG = f"""\
{queue_velesio.SETTINGS}
[[models]]
name = "paced"
backend = "echo"
options = {{{{ slots = {_SLOTS}, tokens_per_second = {_PACE} }}}}
"""


@contextlib.contextmanager
def _depths(folder: Path) -> Iterator[Callable[[int], Measured]]:
    prompt = words("waiting", _WORDS)
    with server.running(folder) as url, asyncio.Runner() as runner:
        opened = queue_depth.installation(url, "depth", 0, room=2 * _DEEPEST, prompt=prompt)
        queue = runner.run(opened.__aenter__())
        deep = 0

        def measure(depth: int) -> Measured:
            nonlocal deep
            runner.run(queue.fill(depth - deep))
            deep, used = depth, memory.used(url)
            return Measured(figures=runner.run(_turns(queue)), broker_mib=used)

        try:
            yield measure
        finally:
            runner.run(opened.__aexit__(None, None, None))


async def _turns(queue: queue_depth.Installation) -> dict[str, float]:
    for _ in range(20):
        await queue.turn()
    queue.forget()
    for _ in range(_TURNS):
        await queue.turn()
    timed = {"enqueue": queue.enqueues, "take": queue.takes, "settle": queue.settlements}
    parts = {"p50": 0.5, "p99": 0.99}
    return {
        f"{name}_{part}_ms": round(percentile(values, share), 4)
        for name, values in timed.items()
        for part, share in parts.items()
    }


@contextlib.contextmanager
def _workers(folder: Path) -> Iterator[Callable[[int], Measured]]:
    folder.mkdir()
    with server.running(folder / "valkey") as url:
        config = folder / "config.toml"
        config.write_text(_CONFIG.format(folder=folder, url=url), encoding="utf-8")

        def measure(count: int) -> Measured:
            with _running(config, url, count) as processes:
                figures = asyncio.run(_flooded(url, count))
                return Measured(
                    figures=figures,
                    memory_mib={"worker": round(memory.held(processes) / count, 1)},
                    broker_mib=memory.used(url),
                )

        yield measure


@contextlib.contextmanager
def _running(config: Path, url: str, count: int) -> Iterator[list[psutil.Process]]:
    """So many worker processes, all of them registered."""
    command = [sys.executable, "-m", "velesio", "--role", "worker", "--config", str(config)]
    with contextlib.ExitStack() as stack, config.with_suffix(".log").open("ab") as log:
        started = []
        for _ in range(count):
            process = subprocess.Popen(command, stdout=log, stderr=log)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            started.append(process)
        asyncio.run(_until_registered(url, count))
        yield [psutil.Process(process.pid) for process in started]


async def _until_registered(url: str, count: int) -> None:
    async with asyncio.timeout(_STARTING), _queue(url) as (broker, _, _inbox):
        while len(await broker.run("workers", 0)) < count:  # noqa: ASYNC110 - other processes have no event here
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def _queue(url: str) -> AsyncIterator[tuple[Broker, JobQueue, Inbox]]:
    """What a gateway holds."""
    broker = await Broker.connect(
        RedisSection(url=url), QueueSection(tenant_cap=1000)
    )  # the default refuses four workers' load
    inbox = Inbox(broker, f"bench-{os.getpid()}")
    await inbox.start()
    try:
        yield broker, JobQueue(broker), inbox
    finally:
        await inbox.close()
        await broker.close()


async def _flooded(url: str, workers: int) -> dict[str, float]:
    """Jobs a second of no work, and of jobs that take their time, with twice as many under way as there are slots."""
    prompt = " ".join(["word"] * _TOKENS)
    async with _queue(url) as (_, queue, inbox):

        async def run(model: str, params: Completion) -> None:
            job = Job.new(model, params, gateway=inbox.gateway_id, stream=True)
            async with inbox.watch(job) as watch:
                await queue.enqueue(job)
                async for events in watch:
                    if is_final(events[-1]) and not isinstance(events[-1], Completed):
                        raise RuntimeError(f"a job ended with {events[-1]}")

        async def noop() -> None:
            await run("noop", Completion(prompt="", max_tokens=0))

        async def paced() -> None:
            await run("paced", Completion(prompt=prompt, max_tokens=_TOKENS))

        for call in (noop, paced):
            await protocol.flood(call, 64, 0.5)  # every worker loads both
        [alone] = (await protocol.serial(paced, 1, 0.0))[:1]
        spent = [memory.computed(url)]
        jobs, seconds = await protocol.flood(noop, 64, _SECONDS)
        spent.append(memory.computed(url))
        slow, slow_seconds = await protocol.flood(paced, 2 * _SLOTS * workers, _SECONDS)
        spent.append(memory.computed(url))
    return {
        "noop_jobs_per_s": round(jobs / seconds, 1),
        "broker_us_per_job": round((spent[1] - spent[0]) / jobs * 1e6, 1),
        "paced_jobs_per_s": round(slow / slow_seconds, 1),
        "paced_tokens_per_s": round(slow * _TOKENS / slow_seconds, 1),
        "broker_us_per_token": round((spent[2] - spent[1]) / (slow * _TOKENS) * 1e6, 2),
        "paced_alone_ms": round(alone, 1),
        "paced_part_of_ideal": round(slow / slow_seconds / (_SLOTS * workers / alone * 1000), 3),
    }


DEPTH = Axis(
    name="depth",
    label="jobs waiting",
    setting=f"prompts of {_WORDS} words from ten tenants; one job in and one out, {_TURNS} times at each depth",
    places=(1, 10, 100, 1000, 10_000, _DEEPEST),
    quick=(1, 100),
    open=_depths,
)
WORKERS = Axis(
    name="workers",
    label="workers",
    setting=f"processes with echo models; paced: {_SLOTS} slots each, {_TOKENS} tokens at {_PACE} a second",
    places=(1, 2, 3, 4),
    quick=(1, 2),
    open=_workers,
)
