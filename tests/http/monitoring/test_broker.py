"""What /metrics tells of the queue: read from the broker, by each gateway the same."""

import re
from typing import Any

import pytest

from tests.http.conftest import Site, StartSite, until
from velesio.errors import BrokerUnavailable
from velesio.http.monitoring import broker, lookout
from velesio.jobs import Priority
from velesio.queue.client import ModelDepth, QueueStatus
from velesio.queue.memory import Memory
from velesio.queue.registry import WorkerInfo


def samples(metrics: list[broker.Metric]) -> dict[str, float]:
    """By name and labels."""
    return {
        sample.name + "".join(f",{key}={value}" for key, value in sample.labels.items()): sample.value
        for metric in metrics
        for sample in metric.samples
    }


def test_depths_by_priority() -> None:
    """Each model's three lines, what runs, the oldest, and what an operator has paused."""
    depth = ModelDepth(model="m", capability="text", waiting=(1, 2, 3), running=4, oldest=5.5, paused=1.0)
    told = samples(broker.of_queues(QueueStatus(models=[depth], scheduled=6, dead=7)))
    for priority, count in zip(Priority, (1, 2, 3), strict=True):
        assert told[f"velesio_queue_depth,model=m,capability=text,priority={priority.name.lower()}"] == count
    assert told["velesio_jobs_inflight,model=m,capability=text"] == 4
    assert told["velesio_queue_oldest_seconds,model=m"] == 5.5
    assert told["velesio_queue_paused,model=m"] == 1
    assert (told["velesio_jobs_scheduled"], told["velesio_dead_letters"]) == (6, 7)


def test_a_model_that_nobody_serves_any_more_counts_zero() -> None:
    """So that an alert can see it."""
    workers = [WorkerInfo(id="w-1", name="w", host="h", state="quiet")]
    told = samples(broker.of_workers(workers, ["gone"]))
    assert told == {"velesio_worker_up,worker=w,host=h,state=quiet": 1, "velesio_model_workers,model=gone": 0}


def test_memory() -> None:
    """Used, allowed, and whether jobs would be dropped."""
    told = samples(broker.of_memory(Memory(10, 20, keeps=False)))
    assert list(told.values()) == [10, 20, 0]


async def test_metrics_have_the_queue(site: Site) -> None:
    """Of the real broker."""
    text = (await site.get("/metrics")).body.decode()
    assert "\nvelesio_broker_up 1.0\n" in text
    assert "\nvelesio_broker_keeps_jobs 1.0\n" in text
    assert re.search(r"^velesio_broker_memory_bytes [1-9]", text, re.MULTILINE)
    assert re.search(r'^velesio_worker_up\{.*state="ready".*\} 1\.0$', text, re.MULTILINE)
    assert re.search(r'^velesio_model_workers\{model="parrot"\} 1\.0$', text, re.MULTILINE)


async def test_without_the_broker_the_rest_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that it is away."""

    async def gone(*_: object) -> Memory:
        raise BrokerUnavailable

    monkeypatch.setattr(broker, "read_memory", gone)
    text = (await site.get("/metrics")).body.decode()
    assert "\nvelesio_broker_up 0.0\n" in text
    assert "velesio_requests_total" in text
    assert "velesio_queue_depth" not in text


async def test_one_look_at_the_broker_serves_dashboards_and_metrics(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many scrapers and watchers there are."""
    run, called = site.gateway.broker.run, []

    def counted(name: str, *arguments: Any, **options: Any) -> Any:
        called.append(name)
        return run(name, *arguments, **options)

    monkeypatch.setattr(site.gateway.broker, "run", counted)
    monkeypatch.setattr(lookout, "PAUSE", 60.0)
    for path in ("/admin/overview", "/metrics", "/metrics", "/admin/models"):
        assert (await site.get(path)).status == 200
    assert [name for name in called if name in {"overview", "status"}] == ["overview"]


async def test_targets_are_the_workers_that_can_be_scraped(start_site: StartSite) -> None:
    """None here, since this worker has no monitoring port."""
    site = await start_site()
    await until(site.gateway.registry.workers)
    answer = await site.get("/metrics/targets")
    assert (answer.status, answer.json()) == (200, [])
