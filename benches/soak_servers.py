"""What the soak runs: a whole server with two text and two image models, and a worker beside it that is killed again
and again."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil

from benches import soak_lora
from benches.server import free_port
from benches.text_servers import Contestant
from benches.venvs import ROOT
from velesio.backends.llama.options import may_repack

TOKEN = "soak"
"""The key of the load; it may do everything, without limits."""
FIRST, SECOND = "first", "second"
"""Text models; the first has an adapter."""
PICTURES, FURTHER = "velesio-demo", "further-demo"
"""Image models."""
SLOTS = 4
CONTEXT = 1024
BUDGET = 300_000_000
"""Bytes for models: one of the text models and both image models fit, so that the other text model has to come in for
the one that is there."""
_DEMO = ROOT / "velesio" / "backends" / "diffusion" / "demo"
_LEAVING = 40.0
_CONFIG = """
[server]
port = {port}
[ports]
llamacpp = 0
sdapi = 0
[log]
level = "warning"
format = "json"
[worker]
memory_budget = {budget}
[queue]
lease = 6.0
beat = 1.5
result_ttl = 120.0
max_crashes = 5
[backends.llama]
threads = 1
slots = {slots}
context = {context}
batch = 128
pooling = "mean"
repack = "{repack}"
[backends.diffusion]
threads = 1
[[keys]]
name = "soak"
token = "{token}"
scopes = ["text", "images", "admin"]
limits = {{ requests = 0, concurrent = 0 }}
[[models]]
name = "{first}"
backend = "llama"
path = "text/model.gguf"
aliases = ["smollm2"]
lora = [{{ path = "adapter.gguf", scale = 0.0 }}]
[[models]]
name = "{second}"
backend = "llama"
path = "text/model.gguf"
"""


def furnish(home: Path, model: Path) -> None:
    """Lays out configuration, models and a folder for temporary files in `home`."""
    models = home / "models"
    for name in ("text", "checkpoints", "loras", "controlnet", "embeddings"):
        (models / name).mkdir(parents=True)
    (home / "tmp").mkdir()
    (models / "text" / "model.gguf").symlink_to(model)
    soak_lora.write(models / "adapter.gguf")
    for name in (PICTURES, FURTHER):
        (models / "checkpoints" / f"{name}.safetensors").symlink_to(_DEMO / "velesio-demo.safetensors")
        (models / "checkpoints" / name).symlink_to(_DEMO / "velesio-demo")
    for kind in ("loras", "controlnet", "embeddings"):
        for file in (_DEMO / kind).iterdir():
            (models / kind / file.name).symlink_to(file)
    names = {"first": FIRST, "second": SECOND, "token": TOKEN, "slots": SLOTS, "context": CONTEXT, "budget": BUDGET}
    repack = "on" if may_repack() else "off"
    (home / "config.toml").write_text(_CONFIG.format(port=free_port(), repack=repack, **names), encoding="utf-8")


def whole(home: Path, settings: Sequence[str]) -> Contestant:
    """`--role all` in that home, with further settings."""
    config = ("--config", str(home / "config.toml"), "--set", f"server.models_dir={home / 'models'}")
    further = tuple(word for one in settings for word in ("--set", one))
    return Contestant(
        name="velesio",
        command=lambda _, port: [
            *(sys.executable, "-m", "velesio", "--role", "all", *config, "--set", f"server.port={port}", *further)
        ],
        health="/readyz",
        environment={"TMPDIR": str(home / "tmp"), "OMP_NUM_THREADS": "1"},
    )


class Victim:
    """A worker of the same broker: killed, started again, and at times asked to leave."""

    def __init__(self, home: Path, broker: str, settings: Sequence[str]) -> None:
        self._home = home
        words = (
            f"redis.url={broker}",
            f"server.models_dir={home / 'models'}",
            f"server.data_dir={home / 'server' / 'data'}",
        )
        self._command = [
            *(sys.executable, "-m", "velesio", "--role", "worker", "--config", str(home / "config.toml")),
            *(word for one in (*words, *settings) for word in ("--set", one)),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.log = home / "worker.log"
        self.kills = 0
        self.leaves = 0
        self.wrong: list[str] = []
        """Ends that nobody asked for."""

    @property
    def process(self) -> psutil.Process | None:
        """It, while it lives."""
        if self._process is None or self._process.poll() is not None:
            return None
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self._process.pid)
        return None

    def start(self) -> None:
        """Starts it; it says to the broker when it is ready."""
        environment = os.environ | {"TMPDIR": str(self._home / "tmp"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, cwd=self._home, env=environment, stdout=output, stderr=output, start_new_session=True
            )

    def kill(self) -> None:
        """SIGKILL, whatever it does."""
        if self._lives():
            assert self._process is not None
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self.kills += 1
        self._process = None

    async def leave(self) -> None:
        """SIGTERM; it gives back what it cannot finish, and must end by itself with status 0."""
        if self._lives():
            assert self._process is not None
            self._process.terminate()
            try:
                status = await asyncio.to_thread(self._process.wait, _LEAVING)
                self.leaves += 1
                if status:
                    self.wrong.append(f"the worker was asked to leave and ended with status {status}")
            except subprocess.TimeoutExpired:
                self.wrong.append(f"the worker was asked to leave and did not within {_LEAVING:g} s")
                self._process.kill()
                self._process.wait()
        self._process = None

    def _lives(self) -> bool:
        if self._process is None:
            return False
        if (status := self._process.poll()) is not None:
            self.wrong.append(f"the worker ended by itself with status {status}")
            return False
        return True
