"""A rolling restart under load: gateways behind nginx, workers and the broker in turn, and no request fails."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.load import Load
from tests.deploy.proxy import Proxy
from tests.end_to_end.process import Server, eventually, free_port, own_folder
from tests.monitoring.stack import Program

SETTINGS = (
    *(
        'models=[{name="parrot", backend="echo", slots=8, tokens_per_second=100}]',
        "demo=false",
        "server.drain_timeout=20",
    ),
    *("queue.lease=4", "queue.beat=1", 'keys=[{name="player", token="a-players-key"}]', "limits.key.requests=0"),
    "limits.key.concurrent=0",
)


@pytest.fixture
def folder() -> Iterator[Path]:
    with own_folder() as path:
        yield path


def test_everything_is_restarted_and_no_request_fails(folder: Path) -> None:
    """Twelve clients ask all the time; SIGTERM and a successor for each process in turn."""
    with contextlib.ExitStack() as stack:
        port = free_port()
        url = f"redis://127.0.0.1:{port}"
        broker = Program(("redis-server", "--port", str(port), "--appendonly", "yes"), port, folder)
        stack.callback(broker.stop)

        def start(role: str, port: int = 0) -> Server:
            server = Server(role, folder, f"redis.url={url}", *SETTINGS, port=port)
            stack.callback(server.close)
            return server

        workers = [start("worker"), start("worker")]
        gateways = [start("gateway"), start("gateway")]
        for server in (*workers, *gateways):
            server.ready()
        proxy = Proxy(folder, [gateway.port for gateway in gateways])
        stack.callback(proxy.close)

        with Load(proxy.connect, 12, Authorization="Bearer a-players-key") as load:
            eventually(lambda: load.answered >= 24)
            for number, worker in enumerate(workers):
                successor = start("worker").ready()
                assert worker.stop() == 0
                workers[number] = successor
            for number, gateway in enumerate(gateways):
                assert gateway.stop() == 0
                gateways[number] = start("gateway", port=gateway.port).ready()
            seen = load.answered
            broker.restart()
            eventually(lambda: load.answered >= seen + 48, 30)
        assert set(load.wrong) == set()
        assert load.answered > 100
