"""From the configuration to a running process, and to its end."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import structlog

from velesio import catalogue, garbage, metrics, notify, tracing
from velesio.config import Config
from velesio.errors import BrokerUnavailable, ConfigError
from velesio.queue.broker import Broker
from velesio.queue.embedded import EmbeddedValkey
from velesio.queue.replies import Publisher
from velesio.service import front
from velesio.service.process import Process, Role
from velesio.service.shift import Shift
from velesio.service.stopping import StopSignal

log = structlog.get_logger("velesio.service")

_LAG_INTERVAL = 0.25


async def serve(config: Config, role: Role) -> int:
    """Runs a role until a signal; answers the exit status: 1 if a part of it died, else 0.

    Raises:
        ConfigError: naming what is wrong and the remedy.
    """
    if role != "worker":
        catalogue.check_exposure(config)
    stop = StopSignal()
    async with AsyncExitStack() as stack:
        tracing.start(config.tracing)
        stack.callback(tracing.stop)
        broker = await _connected(config, role, stop, stack)
        if broker is None:
            return 0
        garbage.settle()  # before there is a model, which has to be freed some day
        publisher = Publisher(broker)
        stack.push_async_callback(publisher.close)
        process = Process(config, role, broker, stop, stack, publisher)
        shift = Shift(process) if role != "gateway" else None
        if shift is not None:
            await shift.begin()
        if role != "worker":
            await front.start(process)
        stack.enter_context(_measuring_lag())
        await stack.enter_async_context(notify.living())
        await stop.asked.wait()
    log.info("stopped")
    if shift is not None and shift.worker.hung:
        _leave_hung_threads(int(stop.failed))
    return int(stop.failed)


async def _connected(config: Config, role: Role, stop: StopSignal, stack: AsyncExitStack) -> Broker | None:
    """The broker, started here or elsewhere; one elsewhere is waited for. None: a signal came first."""
    url = config.redis.url
    if not url:
        if role != "all":
            raise ConfigError(
                f"--role {role} needs a broker that others reach too: set redis.url (for example "
                f"--set redis.url=redis://127.0.0.1:6379), or use --role all"
            )
        embedded = EmbeddedValkey(config.server.data_dir, config.redis.maxmemory)
        url = await embedded.start()
        stack.push_async_callback(embedded.stop)
    delay = 0.5
    while not stop.asked.is_set():
        try:
            broker = await Broker.connect(
                config.redis, config.queue, url=url, blobs=config.blobs, folder=config.blob_folder
            )
        except BrokerUnavailable as error:
            log.warning("waiting for the broker", error=error.message, retry_seconds=delay)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.asked.wait(), delay)
            delay = min(delay * 2, 10.0)
        else:
            stack.push_async_callback(broker.close)
            return broker
    return None


@contextlib.contextmanager
def _measuring_lag() -> Iterator[None]:
    """Observes how late the event loop wakes."""

    async def measure() -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(_LAG_INTERVAL)
            metrics.loop_lag.observe(max(0.0, time.monotonic() - began - _LAG_INTERVAL))

    task = asyncio.create_task(measure())
    try:
        yield
    finally:
        task.cancel()


def _leave_hung_threads(status: int) -> None:
    """Ends a process whose engine's thread never returns: the interpreter would wait for it for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
