"""A worker of this process that serves models of the echo backend through the real queue."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from velesio.backends.base import Catalogue, ModelSpec
from velesio.backends.echo import backend
from velesio.config import WorkerSection
from velesio.queue.broker import Broker
from velesio.queue.leases import Leases
from velesio.queue.replies import Publisher
from velesio.states import Wish
from velesio.worker import Worker


def spec(name: str = "m", **options: Any) -> ModelSpec:
    return ModelSpec(name=name, options=options)


@asynccontextmanager
async def working(
    broker: Broker, *specs: ModelSpec, name: str = "w", patience: float = 5.0, **section: Any
) -> AsyncIterator[Worker]:
    """A worker that takes jobs inside the block and drains at its end; by default it serves the model `m`."""
    publisher = Publisher(broker)

    def abort(job_id: str, reason: str) -> None:
        worker.abort(job_id, reason)

    def fulfil(wish: Wish) -> None:
        worker.fulfil(wish)

    def conclude(job_id: str) -> None:
        worker.conclude(job_id)

    leases = Leases(broker, publisher, name, abort, on_wish=fulfil, on_enough=conclude)
    backends = [backend(Catalogue(models_dir=Path("models"), specs=specs or (spec(),)))]
    worker = Worker(WorkerSection(**section), backends, leases, publisher)
    leases.advertise(worker.residency.cards, worker.facts)
    await leases.start()
    running = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.drain(patience, asyncio.Event())
        await running
        await leases.close()
        await publisher.close()
