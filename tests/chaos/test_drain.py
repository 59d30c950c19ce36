"""Draining: a SIGTERM loses nothing and counts no attempt, a second one ends at once, and both end with status 0."""

import asyncio
import signal
import threading
import time
from typing import Any

import pytest

from tests.chaos.broker import BrokerServer, eventually, idle
from tests.chaos.cluster import QUICK, echo
from tests.chaos.conftest import MakeBroker
from tests.chaos.stream import Stream, asks, says
from tests.end_to_end.process import Server, Start
from velesio.config import QueueSection, RedisSection
from velesio.jobs import Completion, Job
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue

_LONG = 240
"""Words of answers that go on, for six seconds, when another worker has started, also on a busy machine."""
_FACTS = ("st", "att", "rel", "crash")


def _records(broker: BrokerServer) -> list[dict[str, str]]:
    """State and counts of every job."""
    found = [broker.client.hmget(key, _FACTS) for key in broker.client.scan_iter("{vel}:j:*")]
    return [dict(zip(_FACTS, values, strict=True)) for values in found]


def _two_workers(start: Start, broker: BrokerServer, *settings: str) -> tuple[Server, Server, Server]:
    """A gateway, a worker that has four streams' room, and one that starts with an empty queue."""
    common = (f"redis.url={broker.url}", *QUICK, echo(), *settings)
    first = start("worker", *common, "worker.id=first").ready()
    gateway = start("gateway", *common).ready()
    return gateway, first, start("worker", *common, "worker.id=second")


def _unharmed(broker: BrokerServer) -> None:
    """Every job is done after one attempt that counts, without a crash."""
    for record in _records(broker):
        assert record["st"] == "done", record
        assert int(record["att"]) - int(record["rel"]) == 1, record
        assert record["crash"] == "0", record


def test_a_drained_worker_finishes_what_it_has(start: Start, make_broker: MakeBroker) -> None:
    """Its jobs end with it; what is asked meanwhile goes to others."""
    broker = make_broker()
    gateway, first, second = _two_workers(start, broker, "server.drain_timeout=20")
    streams = [Stream(gateway, asks(_LONG)).reaches(3) for _ in range(4)]
    second.ready()
    first.process.send_signal(signal.SIGTERM)
    eventually(lambda: gateway.get("/queue/status")[1].count(b'"quiet"') == 1)
    later = [Stream(gateway, asks(20)) for _ in range(4)]
    assert first.process.wait(20) == 0
    assert [stream.whole() for stream in streams] == [says(_LONG)] * 4
    assert [stream.whole() for stream in later] == [says(20)] * 4
    assert not any(int(record["rel"]) for record in _records(broker))
    _unharmed(broker)


def test_what_does_not_fit_into_the_drain_goes_elsewhere(start: Start, make_broker: MakeBroker) -> None:
    """After drain_timeout the jobs left go back, and on with the next worker, at once and without a seam."""
    broker = make_broker()
    gateway, first, second = _two_workers(start, broker, "server.drain_timeout=0.5")
    streams = [Stream(gateway, asks(160)).reaches(3) for _ in range(4)]
    second.ready()
    began = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - began < 4
    assert [stream.whole() for stream in streams] == [says(160)] * 4
    assert max(stream.pause for stream in streams) < 1.5
    assert all(int(record["rel"]) == 1 for record in _records(broker))
    _unharmed(broker)


def test_a_second_signal_ends_the_drain(start: Start, make_broker: MakeBroker) -> None:
    """The jobs go back at once, although the drain would have had time for them."""
    broker = make_broker()
    gateway, first, second = _two_workers(start, broker, "server.drain_timeout=60")
    streams = [Stream(gateway, asks(200)).reaches(3) for _ in range(4)]
    second.ready()
    first.process.send_signal(signal.SIGTERM)
    eventually(lambda: "draining" in first.log())
    first.process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert first.process.wait(10) == 0
    assert time.monotonic() - began < 3
    assert [stream.whole() for stream in streams] == [says(200)] * 4
    _unharmed(broker)


@pytest.mark.parametrize("signals", [1, 2])
def test_a_drain_without_a_broker_ends(start: Start, make_broker: MakeBroker, signals: int) -> None:
    """With jobs in hand and the broker gone a worker ends soon after its drain all the same."""
    broker = make_broker()
    common = (f"redis.url={broker.url}", *QUICK, echo(pace=100), "server.drain_timeout=1")
    worker = start("worker", *common).ready()
    gateway = start("gateway", *common).ready()
    stream = Stream(gateway, asks(600)).reaches(3)
    broker.kill()
    for _ in range(signals):
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
    began = time.monotonic()
    assert worker.process.wait(30) == 0
    assert time.monotonic() - began < 15
    broker.start()
    again = start("worker", *common).ready()
    assert stream.whole() == says(600)
    assert again.process.poll() is None


def test_a_gateway_without_a_broker_ends(start: Start, make_broker: MakeBroker) -> None:
    """With streams under way and the broker gone it tells its clients and ends soon after its drain."""
    broker = make_broker()
    common = (f"redis.url={broker.url}", *QUICK, echo(), "server.drain_timeout=1")
    start("worker", *common).ready()
    gateway = start("gateway", *common).ready()
    streams = [Stream(gateway, asks(1000)).reaches(3) for _ in range(3)]
    broker.kill()
    began = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - began < 10
    for stream in streams:
        assert "shutting down" in stream.ended().error["message"]


def test_a_step_that_never_returns_keeps_nobody(start: Start, make_broker: MakeBroker) -> None:
    """A draining worker whose engine hangs gives the jobs back and ends, for others to try them."""
    broker = make_broker()
    gateway, first, second = _two_workers(start, broker, "server.drain_timeout=0.5")
    stream = Stream(gateway, asks(60)).reaches(3)
    Stream(gateway, asks(60, "[[after 5 hang]] ")).reaches(5)
    began = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - began < 12
    second.ready()
    stream.reaches(8)


def test_rolling_restart_under_load(start: Start, make_broker: MakeBroker) -> None:
    """Three workers are replaced one after the other while clients ask: every answer is whole, none was tried twice."""
    broker = make_broker()
    common = (f"redis.url={broker.url}", *QUICK, echo(), "server.drain_timeout=0.3")
    workers = [start("worker", *common).ready() for _ in range(3)]
    gateway = start("gateway", *common).ready()
    answers: list[tuple[int, Any]] = []
    stopping = threading.Event()

    def ask() -> None:
        while not stopping.is_set():
            answers.append(gateway.post("/completion", asks(30)))

    clients = [threading.Thread(target=ask) for _ in range(8)]
    for client in clients:
        client.start()
    for worker in workers:
        start("worker", *common).ready()
        assert worker.stop() == 0
    stopping.set()
    for client in clients:
        client.join(30)
    assert {(status, body.get("content")) for status, body in answers} == {(200, says(30))}
    eventually(lambda: idle(broker.client))
    _unharmed(broker)


def test_a_drained_gateway_lets_its_streams_end(start: Start, make_broker: MakeBroker) -> None:
    """It is unready at once and takes nothing new; short streams end, long ones are told and cancelled; a job for
    which nobody waits stays."""
    broker = make_broker()
    common = (f"redis.url={broker.url}", *QUICK, echo(slots=8), "server.drain_timeout=2")
    start("worker", *common).ready()
    gateway = start("gateway", *common).ready()
    short = Stream(gateway, asks(60))
    long = Stream(gateway, asks(4000))
    for stream in (short, long):
        stream.reaches(3)
    background = asyncio.run(_queue(broker, asks(150)["prompt"]))
    gateway.process.send_signal(signal.SIGTERM)
    eventually(lambda: gateway.get("/readyz")[0] == 503)
    assert gateway.get("/livez")[0] == 200
    status, answer = gateway.post("/completion", asks(3))
    assert (status, "shutting down" in answer["error"]["message"]) == (503, True)
    assert short.whole() == says(60)
    assert "shutting down" in long.ended().error["message"]
    assert says(4000).startswith(long.text)
    assert gateway.process.wait(10) == 0
    eventually(lambda: idle(broker.client))
    assert broker.client.hget(f"{{vel}}:j:{background}", "st") == "done"
    assert broker.client.hgetall("{vel}:n:text:echo") == {"done": "2", "cancelled": "1"}


async def _queue(broker: BrokerServer, prompt: str) -> str:
    """A job that no gateway waits for."""
    connection = await Broker.connect(RedisSection(url=broker.url), QueueSection())
    try:
        job = Job.new("echo", Completion(prompt=prompt))
        return (await JobQueue(connection).enqueue(job)).id
    finally:
        await connection.close()
