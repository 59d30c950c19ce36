"""Five hosts: gateway, broker and three workers, each with its own address. Workers come, leave, die and are cut off
under load, and no answer is lost or wrong."""

import contextlib
import http.client
import subprocess
import sys
from pathlib import Path

from tests.deploy.load import Load
from tests.deploy.network import Network
from tests.end_to_end.process import Server, eventually, own_folder

SETTINGS = (
    *('models=[{name="parrot", backend="echo", slots=4, tokens_per_second=60}]', "demo=false"),
    *("queue.lease=2", "queue.beat=0.5", "queue.reclaim_interval=0.5", "queue.max_crashes=5"),
)


class Installation:
    """What runs where."""

    def __init__(self, network: Network, folder: Path, stack: contextlib.ExitStack) -> None:
        self._network, self._folder, self._stack = network, folder, stack
        self.url = f"redis://{network.address('broker')}:6379"
        arguments = ["redis-server", "--protected-mode", "no", "--save", "", "--dir", str(folder)]
        broker = subprocess.Popen([*network.on("broker"), *arguments], stdout=subprocess.DEVNULL)
        stack.callback(broker.wait)
        stack.callback(broker.kill)
        self.gateway = self._start("gateway", "gateway")

    def worker(self, host: str) -> Server:
        return self._start("worker", host, f"worker.id={host}").ready()

    def _start(self, role: str, host: str, *settings: str) -> Server:
        common = (f"redis.url={self.url}", *SETTINGS, *settings)
        server = Server(role, self._folder, *common, prefix=self._network.on(host))
        self._stack.callback(server.close)
        return server

    def drain(self, host: str) -> None:
        """As an operator does it, from the gateway's host."""
        command = [sys.executable, "-m", "velesio", "workers", "drain", host, "--set", f"redis.url={self.url}"]
        done = subprocess.run(command, cwd=self._folder, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def connect(self) -> http.client.HTTPConnection:
        return self.gateway.connect()


def work(network: Network) -> None:
    """On the gateway's host."""
    with own_folder() as folder, contextlib.ExitStack() as stack:
        site = Installation(network, folder, stack)
        first, second = site.worker("one"), site.worker("two")
        site.gateway.ready()
        with Load(site.connect, 8) as load:

            def go_on(answers: int = 16) -> None:
                seen = load.answered
                eventually(lambda: load.answered >= seen + answers, 60)

            go_on()
            third = site.worker("three")  # one more comes
            eventually(lambda: '"job ended"' in third.log())
            go_on()

            site.drain("one")  # one leaves in order
            assert first.process.wait(40) == 0
            go_on()

            second.process.kill()  # `ip netns exec` is the program that it starts
            go_on()
            second = site.worker("two")
            go_on()

            network.cut("three")  # longer than its lease: others do its jobs, and it must not answer them as well
            go_on(32)
            network.mend("three")
            ended = third.log().count('"job ended"')
            eventually(lambda: third.log().count('"job ended"') > ended, 60)
            go_on()
        assert set(load.wrong) == set()


def test_workers_come_and_go_on_five_hosts() -> None:
    """Added, drained, killed, partitioned under load: each of some hundred answers is whole, and comes once."""
    with Network(["gateway", "broker", "one", "two", "three"]) as network:
        network.run("gateway", lambda: work(network))
