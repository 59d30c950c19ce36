"""The monitoring port: metrics and health without a key, and nothing else."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from velesio.config import MonitoringSection
from velesio.errors import ConfigError
from velesio.http.monitoring import prometheus
from velesio.queue.registry import WorkerInfo


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


async def test_a_workers_port(client: aiohttp.ClientSession, unused_tcp_port: int) -> None:
    """Its metrics, its health with the reasons, and no other place; nobody else can have the port meanwhile."""
    reasons: list[str] = []

    async def unready() -> list[str]:
        return reasons

    section = MonitoringSection(port=unused_tcp_port)
    runner = await prometheus.listen(section, prometheus.application(unready))
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with client.get(f"{url}/metrics") as answer:
        assert answer.status == 200
        assert "velesio_jobs_total" in await answer.text()
    async with client.get(f"{url}/readyz") as answer:
        assert (answer.status, await answer.json()) == (200, {"status": "ready"})
    reasons.append("the first model is being loaded")
    async with client.get(f"{url}/readyz") as answer:
        assert (answer.status, (await answer.json())["reasons"]) == (503, reasons)
    async with client.get(f"{url}/livez") as answer:
        assert answer.status == 200
    for place in ("/metrics/targets", "/v1/models", "/"):
        async with client.get(url + place) as answer:
            assert answer.status == 404
    with pytest.raises(ConfigError, match=r"monitoring\.port"):
        await prometheus.listen(section, prometheus.application(unready))
    await runner.cleanup()


def test_targets() -> None:
    """Workers with a monitoring port, by their configured names; others cannot be scraped."""
    workers = [
        WorkerInfo(id="gpu-1-x", name="gpu-1", host="box", info={"monitoring": "box:9101"}),
        WorkerInfo(id="gpu-2-x", name="gpu-2", host="box"),
    ]
    assert prometheus.targets(workers) == [
        {"targets": ["box:9101"], "labels": {"worker": "gpu-1", "velesio_host": "box"}}
    ]
