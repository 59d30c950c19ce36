"""The composition root: what a process does when a part of it dies."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.queue.worker import until
from velesio import service
from velesio.config import Config, ModelSection, RedisSection, ServerSection
from velesio.jobs import Completion, Job, JobState
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.heartbeat import Heartbeat
from velesio.queue.lease import Lease
from velesio.queue.leases import Leases
from velesio.queue.registry import Registry


@pytest.fixture
def config(valkey_url: str) -> Iterator[Config]:
    """A model that takes an hour to answer, and no patience at the end."""
    interval = sys.getswitchinterval()
    model = ModelSection(name="m", backend="echo", options={"tokens_per_second": 1.0})
    yield Config(server=ServerSection(drain_timeout=0.0), redis=RedisSection(url=valkey_url), models=(model,))
    sys.setswitchinterval(interval)


async def test_a_worker_whose_loop_dies_gives_its_jobs_back_and_ends(
    broker: Broker, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With status 1, so that systemd and Kubernetes start it anew, and with the traceback in its log; the attempt is
    not counted, and no worker is known any more."""
    queue, job = JobQueue(broker), Job.new("m", Completion("a b c", max_tokens=3600))
    await queue.enqueue(job)
    taken: list[Lease] = []
    take = Leases.take

    async def once(leases: Leases, room: Mapping[str, int], **options: Any) -> list[Lease]:
        if taken:
            raise TypeError("a defect")
        taken.extend(await take(leases, room, **options))
        return list(taken)

    monkeypatch.setattr(Leases, "take", once)
    with capture_logs() as lines:
        assert await service.serve(config, "worker") == 1
    [death] = [line for line in lines if line["log_level"] == "critical"]
    assert (death["part"], str(death["exc_info"])) == ("worker", "a defect")
    record = await queue.record(job.id)
    assert record is not None
    assert (record.state, record.attempts) == (JobState.QUEUED, 0)
    registry = Registry(broker)
    await registry.refresh()
    assert registry.workers() == []
    assert await queue.cancel(job.id)


async def test_a_worker_that_cannot_renew_its_leases_ends(
    broker: Broker, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once it is known to all: a defect in each beat is no outage that will be over."""
    beat = Heartbeat._beat
    beats: list[Heartbeat] = []

    def first(heart: Heartbeat) -> None:
        beats.append(heart)
        if len(beats) > 1:
            raise TypeError("a defect")
        beat(heart)

    monkeypatch.setattr(Heartbeat, "_beat", first)
    with capture_logs() as lines:
        assert await service.serve(config, "worker") == 1
    assert [line["part"] for line in lines if line["log_level"] == "critical"] == ["heartbeat"]


async def test_an_order_to_leave_may_come_before_the_worker_has_begun(
    broker: Broker, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its first beat and its first take: it takes nothing and leaves; the gateway beside it goes on."""
    start = Leases.start

    async def told(leases: Leases) -> None:
        await start(leases)
        leases._on_drain()

    monkeypatch.setattr(Leases, "start", told)
    queue, job = JobQueue(broker), Job.new("m", Completion("a b c"))
    await queue.enqueue(job)
    config = msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, port=0))
    with capture_logs() as lines:
        serving = asyncio.create_task(service.serve(config, "all"))
        await until(lambda: {"listening", "worker has left"} <= {line["event"] for line in lines})
        assert not serving.done()
        os.kill(os.getpid(), signal.SIGTERM)
        assert await serving == 0
    assert not [line for line in lines if line["log_level"] == "critical"]
    record = await queue.record(job.id)
    assert record is not None
    assert (record.state, record.attempts) == (JobState.QUEUED, 0)
    assert await queue.cancel(job.id)
