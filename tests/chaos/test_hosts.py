"""Two hosts, made of network namespaces, and the link between them cut under load."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.chaos.broker import binary
from tests.chaos.cluster import echo
from tests.chaos.stream import Stream, asks, says
from tests.end_to_end.process import Server, eventually, free_port

QUICK = ("queue.lease=2", "queue.beat=0.5", "queue.reclaim_interval=0.5", "demo=false", echo(slots=8, pace=10))
HERE, THERE = "10.213.77.1", "10.213.77.2"


class Hosts:
    """This host and another one, in a namespace of its own, with a link between them."""

    def __init__(self) -> None:
        self.name = f"velesio-{os.getpid()}"
        self.link = f"vel{os.getpid() % 1_000_000}"
        self.elsewhere = ("ip", "netns", "exec", self.name)
        try:
            _ip("netns", "add", self.name)
            _ip("link", "add", self.link, "type", "veth", "peer", "name", "vel0", "netns", self.name)
            _ip("addr", "add", f"{HERE}/30", "dev", self.link)
            _ip("link", "set", self.link, "up")
            _ip("-n", self.name, "addr", "add", f"{THERE}/30", "dev", "vel0")
            _ip("-n", self.name, "link", "set", "vel0", "up")
            _ip("-n", self.name, "link", "set", "lo", "up")
        except subprocess.CalledProcessError:
            self.close()
            raise

    def cut(self) -> None:
        """From now on packets get lost; nobody is told."""
        _ip("link", "set", self.link, "down")

    def mend(self) -> None:
        _ip("link", "set", self.link, "up")

    def close(self) -> None:
        for words in (("link", "del", self.link), ("netns", "del", self.name)):
            subprocess.run(["ip", *words], check=False, capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and the program ip (Debian: iproute2)")
    try:
        hosts = Hosts()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    yield hosts
    hosts.close()


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """A Valkey that both hosts reach."""
    port = free_port()
    options = ("--port", str(port), "--bind", HERE, "--protected-mode", "no", "--save", "", "--dir", str(folder))
    process = subprocess.Popen([binary("valkey"), *options], stdout=subprocess.DEVNULL)
    try:
        yield f"redis://{HERE}:{port}"
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("seconds", [10, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(240)])])
def test_a_cut_link_loses_and_doubles_nothing(hosts: Hosts, folder: Path, seconds: int) -> None:
    """Streams of a worker behind the cut go on at the worker that is left; when the link is back, the worker that was
    behind it says nothing late, and serves again without a restart."""
    tokens = 30
    with broker(folder) as url:
        common = (f"redis.url={url}", *QUICK)
        far = Server("worker", folder, *common, "worker.id=far", prefix=hosts.elsewhere)
        gateway = Server("gateway", folder, *common)
        servers = [far, gateway]
        try:
            far.ready()
            gateway.ready()
            streams = [Stream(gateway, asks(tokens, n_predict=tokens)) for _ in range(6)]
            for stream in streams:
                stream.reaches(5)  # all of them at the far worker: there is no other yet
            servers.append(Server("worker", folder, *common, "worker.id=near").ready())
            hosts.cut()
            during = [Stream(gateway, asks(tokens, n_predict=tokens)) for _ in range(4)]
            done = [stream.ended() for stream in [*streams, *during]]
            assert [stream.text for stream in done] == [says(tokens)] * 10
            waited = _keep_asking(gateway, seconds)
            hosts.mend()
            assert waited
            eventually(lambda: _serving(gateway) == {"far", "near"}, within=30)
            servers.pop().close()  # the near worker drains: only the far one is left to answer
            again = Stream(gateway, asks(tokens, n_predict=tokens)).ended()
            assert again.text == says(tokens)
            assert [stream.text for stream in done] == [says(tokens)] * 10
            assert [stream.ends for stream in done] == [1] * 10
        finally:
            for server in reversed(servers):
                server.close()


def _keep_asking(gateway: Server, seconds: float) -> int:
    """Short jobs one after the other for as long as the link is cut; each must be answered. How many there were."""
    count, until = 0, time.monotonic() + seconds
    while time.monotonic() < until:
        status, answer = gateway.post("/completion", asks(3, n_predict=3))
        assert (status, answer["content"]) == (200, says(3))
        count += 1
    return count


def _serving(gateway: Server) -> set[str]:
    workers = json.loads(gateway.get("/queue/status")[1])["workers"]
    return {worker["name"] for worker in workers if worker["state"] == "ready"}
