"""Broker metrics: gauges of the whole installation, read from the broker when Prometheus asks.

Workers do not set them, so they cannot freeze when one does. Each gateway tells the same.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from velesio.errors import VelesioError
from velesio.http.monitoring.lookout import Lookout
from velesio.jobs import Priority
from velesio.queue.broker import Broker
from velesio.queue.client import QueueStatus
from velesio.queue.memory import Memory, read_memory
from velesio.queue.overview import Overview
from velesio.queue.registry import Registry, WorkerInfo

_FRESH = 1.0
"""Seconds for which a broker that did not answer is not asked again."""
_PATIENCE = 2.0


class Scrape:
    """What one answer tells: the metrics of this process and those of the broker, as prometheus_client's encoders
    want it."""

    def __init__(self, broker: Iterable[Metric] = ()) -> None:
        self._broker = broker

    def collect(self) -> Iterator[Metric]:
        """All of them."""
        yield from REGISTRY.collect()
        yield from self._broker


class BrokerMetrics:
    """The gauges, from the same look at the broker that dashboards watch."""

    def __init__(self, broker: Broker, lookout: Lookout, registry: Registry) -> None:
        self._broker = broker
        self._lookout = lookout
        self._registry = registry
        self._lock = asyncio.Lock()
        self._of: Overview | None = None
        """What `_metrics` were made from."""
        self._failed = float("-inf")
        self._metrics: list[Metric] = []

    async def metrics(self) -> list[Metric]:
        """All gauges, not older than a second; of a broker that does not answer only `velesio_broker_up`, 0."""
        async with self._lock:
            if time.monotonic() - self._failed > _FRESH:
                try:
                    async with asyncio.timeout(_PATIENCE):
                        await self._renew()
                except (TimeoutError, VelesioError):
                    self._failed, self._of = time.monotonic(), None
                    self._metrics = [_gauge("velesio_broker_up", "Whether the broker answers this gateway.", 0)]
            return self._metrics

    async def _renew(self) -> None:
        seen = await self._lookout.overview()
        if seen is self._of:
            return
        memory = await read_memory(self._broker)
        self._of = seen
        self._metrics = [
            _gauge("velesio_broker_up", "Whether the broker answers this gateway.", 1),
            *of_memory(memory),
            *of_queues(seen.status),
            *of_workers(self._registry.workers(), self._registry.remembered()),
        ]


def of_memory(memory: Memory) -> list[Metric]:
    """The broker's own state."""
    return [
        _gauge("velesio_broker_memory_bytes", "Memory that the broker uses.", memory.used),
        _gauge("velesio_broker_memory_max_bytes", "Memory that the broker may use; 0: no limit.", memory.limit),
        _gauge("velesio_broker_keeps_jobs", "Whether the broker refuses writes rather than drop jobs.", memory.keeps),
    ]


def of_queues(status: QueueStatus) -> list[Metric]:
    """Depths and ages."""
    depth = GaugeMetricFamily("velesio_queue_depth", "Jobs waiting.", labels=["model", "capability", "priority"])
    running = GaugeMetricFamily("velesio_jobs_inflight", "Jobs leased.", labels=["model", "capability"])
    oldest = GaugeMetricFamily("velesio_queue_oldest_seconds", "How long the oldest job has waited.", labels=["model"])
    paused = GaugeMetricFamily("velesio_queue_paused", "Whether an operator has paused the queue.", labels=["model"])
    for model in status.models:
        for priority, count in zip(Priority, model.waiting, strict=True):
            depth.add_metric([model.model, model.capability, priority.name.lower()], count)
        running.add_metric([model.model, model.capability], model.running)
        oldest.add_metric([model.model], model.oldest)
        paused.add_metric([model.model], float(bool(model.paused or status.paused)))
    return [
        *(depth, running, oldest, paused),
        _gauge("velesio_jobs_scheduled", "Jobs that wait for another attempt or their time.", status.scheduled),
        _gauge("velesio_dead_letters", "Dead letters kept.", status.dead),
    ]


def of_workers(workers: Iterable[WorkerInfo], known: Iterable[str]) -> list[Metric]:
    """Who lives and what they serve; `known`: the models that were served lately, perhaps by nobody now."""
    up = GaugeMetricFamily("velesio_worker_up", "1 for each worker that beats.", labels=["worker", "host", "state"])
    serving = dict.fromkeys(sorted(known), 0)
    for worker in workers:
        up.add_metric([worker.name or worker.id, worker.host, worker.state], 1)
        for card in worker.cards:
            serving[card.name] = serving.get(card.name, 0) + 1
    served = GaugeMetricFamily("velesio_model_workers", "Workers that serve the model.", labels=["model"])
    for name, count in serving.items():
        served.add_metric([name], count)
    return [up, served]


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)
