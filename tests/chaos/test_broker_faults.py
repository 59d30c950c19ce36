"""Faults of the broker as clients meet them: a clear 503 soon, readiness off and on again, no restart of Velesio."""

import contextlib
import http.client
import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos.broker import BrokerServer, binary, eventually, faults, idle
from tests.chaos.cluster import QUICK, echo
from tests.chaos.conftest import MakeBroker
from tests.chaos.stream import Stream, asks, says
from tests.end_to_end.process import Server, Start

REFUSED_WITHIN = 3.0


def _pair(start: Start, url: str, *settings: str) -> tuple[Server, Server]:
    """A gateway and a worker."""
    common = (f"redis.url={url}", *QUICK, *(settings or (echo(),)))
    worker = start("worker", *common).ready()
    return start("gateway", *common).ready(), worker


def _ask(gateway: Server, path: str, body: dict[str, Any]) -> tuple[int, Any, str, float]:
    """Status, body, Retry-After and seconds."""
    began = time.monotonic()
    with contextlib.closing(gateway.connect()) as connection:
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        found = json.loads(answer.read())
        return answer.status, found, answer.getheader("Retry-After", ""), time.monotonic() - began


def _refused(gateway: Server, code: str, word: str = "The broker does not answer") -> None:
    """A request is refused soon with 503, the code, and when to come again; in both API families."""
    openai = {"messages": [{"role": "user", "content": "a b c"}]}
    for path, body in (("/completion", asks(3)), ("/v1/chat/completions", openai)):
        status, found, wait, took = _ask(gateway, path, body)
        assert status == 503, found
        assert found["error"]["code"] in {code, 503}, found
        assert word in found["error"]["message"], found
        assert int(wait) >= 1
        assert took <= REFUSED_WITHIN, took


@contextlib.contextmanager
def _living(gateway: Server) -> Iterator[None]:
    """Throughout, /livez answers 200 at once."""
    failures: list[object] = []
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.1):
            began = time.monotonic()
            try:
                status = gateway.get("/livez")[0]
            except (OSError, http.client.HTTPException) as error:
                failures.append(error)
            else:
                took = time.monotonic() - began
                failures.extend([(status, took)] if status != 200 or took > 1 else [])

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    assert not failures, failures[:5]


def _unready(gateway: Server) -> bool:
    began = time.monotonic()
    status, body = gateway.get("/readyz")
    assert time.monotonic() - began < 2
    return status == 503 and b"broker" in body


def _serves(gateway: Server) -> None:
    """Ready again, and answering."""
    eventually(lambda: gateway.get("/readyz")[0] == 200)
    status, body = gateway.post("/completion", asks(5))
    assert (status, body.get("content")) == (200, says(5)), body


@pytest.mark.parametrize("fault", ["killed", "stopped"])
def test_a_broker_that_goes_away_and_comes_back(
    start: Start, make_broker: MakeBroker, each_broker: str, fault: str
) -> None:
    """Killed and started again, or stopped for longer than the lease: requests meanwhile are refused, answers under
    way pause and go on, and the same processes serve again."""
    broker = make_broker(each_broker)
    gateway, worker = _pair(start, broker.url)
    stream = Stream(gateway, asks(200)).reaches(5)
    with _living(gateway):
        if fault == "killed":
            broker.kill()
        else:
            broker.pause()
        eventually(lambda: _unready(gateway))
        _refused(gateway, "broker_unavailable")
        if fault == "killed":
            broker.start()
        else:
            broker.resume()
        _serves(gateway)
        assert stream.whole() == says(200)
    eventually(lambda: idle(broker.client))
    assert not faults(broker.client)
    assert worker.process.poll() is None


def test_an_outage_is_no_workers_fault(start: Start, make_broker: MakeBroker) -> None:
    """A broker that was away for longer than the lease, three times: the workers did not die, so no job is suspected,
    let alone given up."""
    broker = make_broker()
    gateway, _ = _pair(start, broker.url)
    streams = [Stream(gateway, asks(500)) for _ in range(4)]
    for stream in streams:
        stream.reaches(5)
    for _ in range(3):
        broker.kill()
        time.sleep(3)
        broker.start()
        for stream in streams:
            stream.reaches(stream.events + 1)
    crashes = [broker.client.hget(key, "crash") for key in broker.client.scan_iter("{vel}:j:*")]
    assert [stream.whole() for stream in streams] == [says(500)] * 4
    assert crashes == ["0"] * 4


def test_a_flush_in_the_middle(start: Start, make_broker: MakeBroker, each_broker: str) -> None:
    """FLUSHALL: what was half told ends with a clear error or whole, what nobody had begun to hear is done from the
    beginning, and nothing is restarted."""
    broker = make_broker(each_broker)
    gateway, worker = _pair(start, broker.url, echo(slots=2))
    running = [Stream(gateway, asks(100)) for _ in range(2)]
    for stream in running:
        stream.reaches(5)
    waiting = [Stream(gateway, asks(20)) for _ in range(3)]
    eventually(lambda: broker.client.zcard("{vel}:w:text:echo:1") == 3)
    with _living(gateway):
        broker.client.flushall()
        for stream in running:
            stream.ended()
            assert says(100).startswith(stream.text)
            assert stream.text == says(100) if stream.error is None else "lost this job" in stream.error["message"]
        assert [stream.whole() for stream in waiting] == [says(20)] * 3
        _serves(gateway)
    eventually(lambda: idle(broker.client))
    assert not faults(broker.client)
    assert worker.process.poll() is None


def test_forgotten_scripts(start: Start, make_broker: MakeBroker, each_broker: str) -> None:
    """SCRIPT FLUSH again and again (NOSCRIPT): nobody notices."""
    broker = make_broker(each_broker)
    gateway, _ = _pair(start, broker.url)
    stream = Stream(gateway, asks(100)).reaches(3)
    while stream.events < 90:
        broker.client.script_flush()
        assert gateway.post("/completion", asks(3))[1]["content"] == says(3)
    assert stream.whole() == says(100)


def test_a_lost_consumer_group(start: Start, make_broker: MakeBroker, each_broker: str) -> None:
    """XGROUP DESTROY in the middle of jobs (NOGROUP): they end, and so do later ones."""
    broker = make_broker(each_broker)
    gateway, _ = _pair(start, broker.url)
    streams = [Stream(gateway, asks(120)) for _ in range(3)]
    for stream in streams:
        stream.reaches(5)
    broker.client.xgroup_destroy("{vel}:f:text:echo", "w")
    assert gateway.post("/completion", asks(3))[1]["content"] == says(3)
    assert [stream.whole(20) for stream in streams] == [says(120)] * 3
    eventually(lambda: idle(broker.client))
    assert not faults(broker.client)


def test_leases_of_the_dead_outlive_their_group(start: Start, make_broker: MakeBroker) -> None:
    """The consumer group is destroyed and then the worker dies: its jobs are taken up all the same."""
    broker = make_broker()
    gateway, worker = _pair(start, broker.url)
    stream = Stream(gateway, asks(120)).reaches(5)
    worker.process.kill()
    broker.client.xgroup_destroy("{vel}:f:text:echo", "w")
    start("worker", f"redis.url={broker.url}", *QUICK, echo()).ready()
    assert stream.whole(20) == says(120)


@pytest.mark.parametrize("headroom", [0.95, 0.5], ids=["short", "out"])
def test_a_broker_out_of_memory(start: Start, make_broker: MakeBroker, each_broker: str, headroom: float) -> None:
    """Short of memory (within the reserve) or out of it (OOM): new jobs are refused with queue_full, those under way
    end or are cancelled, and with more memory all is well."""
    broker = make_broker(each_broker)
    gateway, _ = _pair(start, broker.url, echo(slots=2))
    running, leaving = Stream(gateway, asks(100)).reaches(3), gateway.events("/completion", asks(5000, stream=True))
    next(leaving)
    used = int(broker.client.info("memory")["used_memory"])
    broker.client.config_set("maxmemory", str(int(used / headroom) if headroom > 0.9 else int(used * headroom)))
    time.sleep(0.3)  # longer than the broker's own answer about its memory is believed
    with _living(gateway):
        _refused(gateway, "queue_full", "memory")
        leaving.close()  # the client hangs up: its job is cancelled
        assert running.whole() == says(100)
        eventually(lambda: idle(broker.client))
        assert broker.client.hgetall("{vel}:n:text:echo") == {"done": "1", "cancelled": "1"}
        broker.client.config_set("maxmemory", "0")
        eventually(lambda: gateway.post("/completion", asks(3))[0] == 200)
        _serves(gateway)


@pytest.mark.parametrize("role", ["gateway", "worker"])
def test_an_evicting_broker_is_refused_at_the_start(
    start: Start, make_broker: MakeBroker, each_broker: str, role: str
) -> None:
    """Status 2, and the command that mends it."""
    broker = make_broker(each_broker, "--maxmemory-policy", "allkeys-lru")
    refused = start(role, f"redis.url={broker.url}", *QUICK, echo())
    assert refused.process.wait(20) == 2
    assert "CONFIG SET maxmemory-policy noeviction" in refused.log()


def test_a_broker_that_cannot_write_to_its_disk(start: Start, make_broker: MakeBroker) -> None:
    """MISCONF: a broker that refuses every write is an outage like another."""
    broker = make_broker()
    gateway, worker = _pair(start, broker.url)
    stream = Stream(gateway, asks(120)).reaches(3)
    # Without replicas to write to it refuses every write, as it does with a full disk.
    broker.client.config_set("min-replicas-to-write", "1")
    with _living(gateway):
        _refused(gateway, "broker_unavailable")
        time.sleep(1)
        broker.client.config_set("min-replicas-to-write", "0")
        _serves(gateway)
        assert stream.whole(20) == says(120)
    assert worker.process.poll() is None


def test_starting_while_the_broker_is_away(start: Start, make_broker: MakeBroker) -> None:
    """Gateway and worker wait for a broker, and survive one that dies while they start."""
    broker = make_broker()
    broker.kill()
    common = (f"redis.url={broker.url}", *QUICK, echo())
    servers = [start("worker", *common), start("gateway", *common)]
    for server in servers:
        eventually(lambda server=server: "waiting for the broker" in server.log())
    for up, down in itertools.islice(itertools.cycle([(0.05, 0.3), (0.2, 0.5), (0.4, 1.0)]), 6):
        broker.start()
        time.sleep(up)
        broker.kill()
        time.sleep(down)
    broker.start()
    for server in servers:
        server.ready()
    _serves(servers[1])


def test_sentinels_name_another_master(start: Start, folder: Path, make_broker: MakeBroker) -> None:
    """The master dies: sentinel promotes the replica, and gateway and worker find it; what the replica had not got
    yet is queued again or ends with a clear error."""
    master = make_broker("redis")
    replica = make_broker("redis", "--replicaof", f"127.0.0.1 {master.port}")
    sentinel = _sentinel(folder, master)
    try:
        eventually(lambda: replica.client.info("replication")["master_link_status"] == "up")
        eventually(lambda: sentinel.client.info("sentinel")["master0"]["slaves"] == 1)
        gateway, worker = _pair(start, f"redis+sentinel://127.0.0.1:{sentinel.port}/mymaster")
        _serves(gateway)
        streams = [Stream(gateway, asks(400)).reaches(3) for _ in range(3)]
        with _living(gateway):
            master.kill()
            eventually(lambda: _unready(gateway))
            eventually(lambda: replica.client.info("replication")["role"] == "master", within=20)
            _serves(gateway)
            for stream in streams:
                stream.ended()
                assert says(400).startswith(stream.text)
                assert stream.text == says(400) if stream.error is None else "lost" in stream.error["message"]
        eventually(lambda: idle(replica.client))
        assert not faults(replica.client)
        assert worker.process.poll() is None
    finally:
        sentinel.close()


def _sentinel(folder: Path, master: BrokerServer) -> BrokerServer:
    """One sentinel that decides alone, soon."""
    settings = folder / "sentinel.conf"
    settings.write_text(
        f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
        "sentinel down-after-milliseconds mymaster 1000\n"
        "sentinel failover-timeout mymaster 4000\n"
    )
    return Sentinel(folder, settings).start()


class Sentinel(BrokerServer):
    """`redis-server --sentinel` with a configuration of its own."""

    def __init__(self, folder: Path, settings: Path) -> None:
        super().__init__("redis", folder)
        self._command = [binary("redis"), str(settings), "--sentinel", "--port", str(self.port)]
        self.client = redis.Redis(port=self.port, decode_responses=True, protocol=3, legacy_responses=False)
