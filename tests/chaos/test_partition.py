"""Gateway and broker on one host, the worker on another, and the cable between them cut under load."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.chaos.broker import faults, idle
from tests.chaos.clients import Clients
from tests.chaos.cluster import QUICK, Cluster, echo
from tests.chaos.conftest import MakeBroker
from tests.chaos.namespaces import Hosts

BACK_WITHIN = 20.0
"""Seconds after the cable is whole again in which answers flow."""
GROWN = 40 * 2**20
"""Bytes that a worker may need for what it cannot send: eight jobs of one MiB at most, and some slack."""


@pytest.mark.parametrize(
    ("seconds", "way"),
    [
        (10, "unplug"),
        (10, "swallow"),
        pytest.param(60, "unplug", marks=[pytest.mark.slow, pytest.mark.timeout(240)]),
        pytest.param(60, "swallow", marks=[pytest.mark.slow, pytest.mark.timeout(240)]),
    ],
)
def test_the_cable_is_cut(
    folder: Path,
    make_broker: MakeBroker,
    record_property: Callable[[str, object], None],
    seconds: float,
    way: str,
) -> None:
    """Answers pause and go on, new questions are refused clearly, and when the cable is whole the same processes
    serve: nothing lost, nothing doubled."""
    with Hosts() as hosts:

        async def run() -> None:
            record_property("chaos", await _cut(hosts, folder, make_broker, seconds, way))

        hosts.run(run)


async def _cut(hosts: Hosts, folder: Path, make_broker: MakeBroker, seconds: float, way: str) -> str:
    broker = await asyncio.to_thread(make_broker, host=hosts.address["a"])
    settings = (*QUICK, "queue.lease=4", "queue.beat=1", echo(slots=8))
    urls = {"gateway-0": broker.url, "worker-0": broker.url}
    cluster = Cluster(folder, settings, urls, places={"worker-0": hosts.inside_b})
    clients = None
    try:
        await cluster.start()
        clients = Clients([server.url for server in cluster.gateways], seed=1, longest=200)
        await clients.start(12)
        await asyncio.sleep(4)
        before = sum(clients.tally.ended.values())
        assert before
        worker = psutil.Process(cluster.members["worker-0"].process.pid)
        memory = worker.memory_info().rss
        (hosts.unplug if way == "unplug" else hosts.swallow)()
        await asyncio.sleep(seconds)
        status, refusal = await asyncio.to_thread(cluster.gateways[0].post, "/completion", {"prompt": "a"})
        assert (status, "worker" in refusal["error"]["message"]) == (503, True), refusal
        cut = sum(clients.tally.ended.values())
        (hosts.plug if way == "unplug" else hosts.deliver)()
        whole = time.monotonic()
        while sum(clients.tally.ended.values()) <= cut:
            await asyncio.sleep(0.05)
            assert time.monotonic() - whole < BACK_WITHIN, "no answer since the cable is whole"
        back = time.monotonic() - whole
        grown = worker.memory_info().rss - memory
        assert grown < GROWN, f"the worker behind the cut grew by {grown / 2**20:.0f} MB"
        await asyncio.sleep(3)
        late = await clients.stop(60)
        end = time.monotonic() + 10
        while not idle(broker.client) and time.monotonic() < end:
            await asyncio.sleep(0.1)
        tally = clients.tally
        report = (
            f"cable {way} for {seconds} s: jobs {sum(tally.asked.values())}, refused before acceptance "
            f"{sum(tally.refused.values())}, answers again after {back:.1f} s, "
            f"longest silence in a stream {tally.longest:.1f} s, worker grown by {grown / 2**20:.1f} MB, "
            f"lost {tally.lost}, duplicated {tally.duplicated}"
        )
        wrong = [*tally.wrong, *faults(broker.client), *cluster.defects(), *cluster.bury()]
        assert not late, report
        assert not wrong, "\n".join([report, *wrong[:20]])
        return report
    finally:
        if clients is not None:
            await clients.close()
        await cluster.close()
