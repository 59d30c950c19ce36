"""The gateway of a process: what it is made from, the ports that it opens, and how its answers end."""

import asyncio

import structlog
from aiohttp import web

from velesio import __version__
from velesio.http import app, listening
from velesio.http.access import first_key
from velesio.http.access.keys import KeyRing
from velesio.http.gateway import Gateway
from velesio.http.monitoring import prometheus as monitoring
from velesio.queue.client import JobQueue
from velesio.queue.credentials import pepper_of
from velesio.queue.registry import Registry
from velesio.queue.replies import Inbox
from velesio.queue.roster import Roster
from velesio.service.process import Process, own_name
from velesio.service.stopping import StopSignal

log = structlog.get_logger("velesio.service")


async def start(process: Process) -> None:
    """Answer requests from now on, until the process ends.

    Raises:
        ConfigError: a port is taken.
    """
    gateway = await _made(process)
    await process.started(Roster(process.broker, gateway.enrol))
    address = await _open(process, gateway)
    log.info("listening", url=address)
    if not gateway.keys:
        log.info("no keys are configured: clients on this machine are served without one")
    greeting = asyncio.create_task(_greet(gateway, address))
    process.stack.callback(greeting.cancel)


async def _made(process: Process) -> Gateway:
    """The gateway, on the parts of it that run."""
    config, broker = process.config, process.broker
    registry = await process.started(Registry(broker))
    inbox = await process.started(Inbox(broker, own_name()))
    process.publisher.join(inbox.gateway_id, inbox.deliver)
    process.stack.callback(process.publisher.part, inbox.gateway_id)
    pepper = await pepper_of(broker, config.access.pepper)
    if config.access.required and not config.keys:
        await first_key.make(broker, pepper, config.server.data_dir)
    return Gateway(
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


async def _open(process: Process, gateway: Gateway) -> str:
    """Opens the ports; the address of the server's own."""
    config, stack = process.config, process.stack
    runner = app.runner(gateway)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    stack.push_async_callback(_finish, gateway, config.server.drain_timeout, process.stop)
    opened = await listening.open_ports(runner, config.server, config.ports, standalone=process.role == "all")
    if config.monitoring.port:
        shown = monitoring.application(gateway.unready, gateway.metrics.metrics, gateway.registry.workers)
        stack.push_async_callback((await monitoring.listen(config.monitoring, shown)).cleanup)
    gateway.ports.update({port: name for name, port in opened.items()})
    return _address(runner)


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
