"""Real processes: `python -m velesio` as its users start it, watched from outside."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

READY_WITHIN = 60.0


class Server:
    """One Velesio process and its HTTP address."""

    def __init__(
        self,
        role: str,
        folder: Path,
        *settings: str,
        env: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
        port: int = 0,
    ) -> None:
        """`prefix` goes before the command: `ip netns exec NAME` runs it on another host."""
        self.role = role
        self.folder = folder
        self.port = port or free_port()
        self.output = (folder / f"{role}-{self.port}.log").open("a+b")
        arguments = [
            f"server.port={self.port}",
            f"server.data_dir={folder / 'data'}",
            "log.format=json",
            *settings,
        ]
        self.process = subprocess.Popen(
            [
                *prefix,
                sys.executable,
                "-m",
                "velesio",
                "--role",
                role,
                *(part for one in arguments for part in ("--set", one)),
            ],
            cwd=folder,
            env={**os.environ, **(env or {})},
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ready(self, within: float = READY_WITHIN) -> "Server":
        """Waits until /readyz says 200; a worker has no address, so for it until its log says that it started."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.role == "worker":
                    if "worker started" in self.log():
                        return self
                elif self.get("/readyz")[0] == 200:
                    return self
            time.sleep(0.02)
        pytest.fail(f"{self.role} is not ready after {within} s:\n{self.log()}")

    def log(self) -> str:
        return Path(self.output.name).read_text(encoding="utf-8", errors="replace")

    def connect(self, timeout: float = 60.0) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        with contextlib.closing(self.connect()) as connection:
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Status and decoded JSON; `body` is JSON unless it is bytes."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        with contextlib.closing(self.connect()) as connection:
            connection.request("POST", path, raw, {"Content-Type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())

    def events(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The `data:` events of a stream, as they come."""
        with contextlib.closing(self.connect()) as connection:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            assert answer.getheader("Content-Type", "").startswith("text/event-stream")
            for line in answer:
                if line.startswith(b"data: ") and line.strip() != b"data: [DONE]":
                    yield json.loads(line[6:])

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        lines = self.get("/metrics")[1].decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    def family(self) -> list[psutil.Process]:
        """The process and its descendants."""
        root = psutil.Process(self.process.pid)
        return [root, *root.children(recursive=True)]

    def stop(self, number: int = signal.SIGTERM, within: float = 40.0) -> int:
        self.process.send_signal(number)
        return self.process.wait(within)

    def kill(self) -> None:
        """kill -9 of the process itself, not of what it started."""
        self.process.kill()
        self.process.wait(10)

    def close(self) -> None:
        if self.process.poll() is None:
            family = self.family()
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                for process in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.kill()
                self.process.wait(10)
        self.output.close()


@contextlib.contextmanager
def own_folder() -> Iterator[Path]:
    """A new folder, gone at the end of the block; its path is short enough for a socket, unlike that of `tmp_path`."""
    with tempfile.TemporaryDirectory(prefix="velesio-") as name:
        yield Path(name)


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """A server that was started: ready in the block, ended after it."""
    try:
        yield server.ready()
    finally:
        server.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(condition: Callable[[], Any], within: float = 15.0) -> Any:
    """The first true answer of `condition`, which looks at another process."""
    deadline = time.monotonic() + within
    while True:
        answer = condition()
        if answer:
            return answer
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


Start = Callable[..., Server]
