"""The servers that the gateway bench asks: Velesio, in one process or apart, and a bare aiohttp handler."""

import base64
import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from benches import server

KEY = "bench-key"
MODEL = "noop"
CLOCK = "clock"
_SETTINGS = """\
demo = false
[server]
host = "127.0.0.1"
port = {port}
data_dir = "{folder}/data"
models_dir = "{folder}/models"
[ports]
llamacpp = 0
sdapi = 0
[log]
level = "{level}"
[queue]
cap = 4000
tenant_cap = 4000
[limits.key]
requests = 10000000
tokens = 1000000000
concurrent = 4000
[[keys]]
name = "bench"
token = "bench-key"
[[models]]
name = "noop"
backend = "echo"
slots = 64
[[models]]
name = "clock"
backend = "echo"
slots = 2000
tokens_per_second = 10
"""
_STARTING = 30.0


class Running:
    """A server's port and its processes, by what they are."""

    def __init__(self, port: int, processes: dict[str, psutil.Process]) -> None:
        self.port = port
        self.processes = processes

    def seconds(self) -> dict[str, float]:
        """Processor time of each so far."""
        return {name: sum(process.cpu_times()[:2]) for name, process in self.processes.items()}


@contextlib.contextmanager
def velesio(folder: Path, *, apart: bool, level: str = "info") -> Iterator[Running]:
    """Velesio with a key, limits that do not bind and two echo models; as gateway and worker if `apart`, else as one
    process with the embedded broker. Its log goes into a file of `folder`."""
    folder.mkdir()
    port = server.free_port()
    config = folder / "config.toml"
    text = _SETTINGS.format(port=port, folder=folder, level=level)
    with contextlib.ExitStack() as stack:
        if apart:
            url = stack.enter_context(server.running(folder / "valkey"))
            text += f'[redis]\nurl = "{url}"\n'
        config.write_text(text, encoding="utf-8")
        roles = ("gateway", "worker") if apart else ("all",)
        processes = {}
        for role in roles:
            command = [sys.executable, "-m", "velesio", "--role", role, "--config", str(config)]
            started = stack.enter_context(_process(command, folder / f"{role}.log"))
            processes[role] = psutil.Process(started.pid)
        _until_ready(port, folder)
        yield Running(port, processes)


@contextlib.contextmanager
def bare(folder: Path, answers: Sequence[bytes]) -> Iterator[Running]:
    """The bare handler, which answers these to `/v1/models` and `/v1/completions`."""
    port = server.free_port()
    words = [base64.b64encode(answer).decode() for answer in answers]
    command = [sys.executable, "-m", "benches.gateway_bare", str(port), *words]
    with _process(command, folder / "bare.log") as started:
        _until_ready(port, folder, "/v1/models")
        yield Running(port, {"bare": psutil.Process(started.pid)})


@contextlib.contextmanager
def _process(command: Sequence[str], log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_ready(port: int, folder: Path, path: str = "/readyz") -> None:
    end = time.monotonic() + _STARTING
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                if answer.status == 200:
                    return
        except OSError:
            if time.monotonic() > end:
                said = "".join(file.read_text(encoding="utf-8")[-2000:] for file in folder.glob("*.log"))
                raise RuntimeError(f"the server at port {port} did not start; it said:\n{said}") from None
            time.sleep(0.05)
