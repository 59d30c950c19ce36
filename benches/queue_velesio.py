"""Velesio as a contestant: the gateway's queue and inbox here, `velesio --role worker` with an echo model beside it.

Variants: `one process` runs the worker in here, as `--role all` does; `direct` calls the engine without a queue.
"""

import asyncio
import contextlib
import os
import secrets
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from benches import protocol
from velesio import catalogue, config, logs
from velesio.engines import Delivery, EngineThread
from velesio.jobs import Completed, Completion, Event, Job, is_final
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.leases import Leases
from velesio.queue.replies import Inbox, Publisher
from velesio.worker import Worker

MODEL = "noop"
SETTINGS = """\
demo = false
[server]
data_dir = "{folder}/data"
models_dir = "{folder}/models"
[redis]
url = "{url}"
[log]
level = "warning"
[[models]]
name = "noop"
backend = "echo"
[models.options]
slots = 64
"""
_VERSIONS = ("velesio", "redis", "hiredis", "msgspec")
_NOTHING = Completion(prompt="", max_tokens=0)
_DEFAULTS = "default timings and caps; an echo model of 64 slots; log level warning"


def main() -> None:
    """Serves the variant that was asked for."""
    with tempfile.TemporaryDirectory(prefix="velesio-bench-") as folder:
        file = Path(folder) / "config.toml"
        file.write_text(SETTINGS.format(folder=folder, url=protocol.url()), encoding="utf-8")
        settings = config.load(file, environment={})
        logs.configure(settings.log)
        contestant, client = _variant(settings, file)
        protocol.serve(contestant, client)


def _variant(
    settings: config.Config, file: Path
) -> tuple[protocol.Contestant, Callable[[], AbstractAsyncContextManager[protocol.Calls]]]:
    match protocol.variant():
        case "direct":
            return protocol.Contestant("the same engine on its thread, no queue", _VERSIONS), lambda: _direct(settings)
        case "one process":
            about = protocol.Contestant(f"gateway and worker in one event loop; {_DEFAULTS}", _VERSIONS)
            return about, lambda: _client(settings, own_worker=True)
        case _:
            command = (sys.executable, "-m", "velesio", "--role", "worker", "--config", str(file))
            about = protocol.Contestant(f"`velesio --role worker` beside the client; {_DEFAULTS}", _VERSIONS, command)
            return about, lambda: _client(settings, own_worker=False)


@contextlib.asynccontextmanager
async def _client(settings: config.Config, *, own_worker: bool) -> AsyncIterator[protocol.Calls]:
    """What a gateway holds: a queue and an inbox."""
    broker = await Broker.connect(settings.redis, settings.queue)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(broker.close)
        if own_worker:
            await stack.enter_async_context(_worker(settings))
        queue = JobQueue(broker)
        inbox = Inbox(broker, f"bench-{os.getpid()}-{secrets.token_hex(3)}")
        await inbox.start()
        stack.push_async_callback(inbox.close)

        async def call() -> None:
            job = Job.new(MODEL, _NOTHING, gateway=inbox.gateway_id)
            async with inbox.watch(job) as watch:
                await queue.enqueue(job)
                async for events in watch:
                    if is_final(events[-1]):
                        _check(events[-1])

        yield protocol.Calls(call, call)


@contextlib.asynccontextmanager
async def _worker(settings: config.Config) -> AsyncIterator[None]:
    """A worker on this event loop, put together as the server does."""
    broker = await Broker.connect(settings.redis, settings.queue)
    publisher = Publisher(broker)
    leases = Leases(broker, publisher, "bench", lambda job_id, reason: worker.abort(job_id, reason))  # noqa: PLW0108 - no worker yet
    worker = Worker(settings.worker, catalogue.backends(settings), leases, publisher)
    leases.advertise(worker.residency.cards, worker.facts)
    await leases.start()
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        await worker.drain(5.0, asyncio.Event())
        await running
        await leases.close()
        await publisher.close()
        await broker.close()


@contextlib.asynccontextmanager
async def _direct(settings: config.Config) -> AsyncIterator[protocol.Calls]:
    """The engine that the worker would load, called without a queue."""
    waiting: dict[str, asyncio.Future[Event]] = {}

    def deliver(deliveries: Sequence[Delivery]) -> None:
        for work, event in deliveries:
            if event is not None and is_final(event):
                waiting.pop(work.job.id).set_result(event)

    backend = catalogue.backends(settings)[0]
    card = backend.models()[0]
    engine = EngineThread(card, lambda report: backend.load(card, report), deliver)
    await engine.start()

    async def call() -> None:
        job = Job.new(MODEL, _NOTHING)
        future = waiting[job.id] = asyncio.get_running_loop().create_future()
        engine.submit(job)
        _check(await future)

    try:
        yield protocol.Calls(call, call)
    finally:
        await engine.close()


def _check(event: Event) -> None:
    if not isinstance(event, Completed):
        raise RuntimeError(f"the job ended with {event}")  # noqa: TRY004 - a failed job, not a wrong type


if __name__ == "__main__":
    main()
