"""Workers that come back from the dead: what they still say reaches nobody, what they had is done by others."""

import json
import signal

from tests.chaos.broker import eventually, idle
from tests.chaos.cluster import LEASE, QUICK, echo
from tests.chaos.conftest import MakeBroker
from tests.chaos.stream import Stream, asks, says
from tests.end_to_end.process import Server, Start

RECLAIMED_WITHIN = LEASE + 2.0


def _outcomes(worker: Server) -> list[str]:
    """How the jobs of a worker ended, as its log tells."""
    entries = [json.loads(line) for line in worker.log().splitlines() if line.startswith("{")]
    return [entry["outcome"] for entry in entries if entry["event"] == "job ended"]


def test_a_stopped_worker_is_fenced_off(start: Start, make_broker: MakeBroker, each_broker: str) -> None:
    """SIGSTOP for longer than the lease: another worker goes on after at most lease + 2 s; SIGCONT in the middle of
    that: the zombie finds its lease gone, and not one byte of what it still computes is heard."""
    broker = make_broker(each_broker)
    common = (f"redis.url={broker.url}", *QUICK, echo(pace=80))
    zombie = start("worker", *common, "worker.id=zombie").ready()
    gateway = start("gateway", *common).ready()
    stream = Stream(gateway, asks(500)).reaches(40)
    heir = start("worker", *common, "worker.id=heir").ready()
    zombie.process.send_signal(signal.SIGSTOP)
    before = stream.events
    stream.reaches(before + 100)  # by the heir
    zombie.process.send_signal(signal.SIGCONT)
    eventually(lambda: _outcomes(zombie))
    assert stream.whole() == says(500)
    assert stream.pause <= RECLAIMED_WITHIN, stream.pause
    assert _outcomes(zombie) == ["stale"]
    eventually(lambda: _outcomes(heir))
    assert _outcomes(heir) == ["completed"]
    assert idle(broker.client)


def test_a_zombie_that_has_finished_ends_nothing(start: Start, make_broker: MakeBroker) -> None:
    """A worker that was stopped with its answers nearly done finishes them after the others took them up: streamed or
    not, each client gets its answer once, and the records show one end."""
    broker = make_broker()
    common = (f"redis.url={broker.url}", *QUICK, echo(pace=20))
    zombie = start("worker", *common, "worker.id=zombie").ready()
    gateway = start("gateway", *common).ready()
    streams = [Stream(gateway, asks(30)) for _ in range(4)]
    for stream in streams:
        stream.reaches(20)
    zombie.process.send_signal(signal.SIGSTOP)
    start("worker", *common, "worker.id=heir").ready()
    assert [stream.whole() for stream in streams] == [says(30)] * 4
    zombie.process.send_signal(signal.SIGCONT)
    eventually(lambda: len(_outcomes(zombie)) == 4)
    assert _outcomes(zombie) == ["stale"] * 4
    assert broker.client.hgetall("{vel}:n:text:echo") == {"done": "4"}
    assert gateway.post("/completion", asks(3))[1]["content"] == says(3)
