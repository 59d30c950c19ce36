"""Containers: images built from deploy/Dockerfile and run as the compose files run them, by docker or podman."""

import json
import os
import shlex
import shutil
import subprocess
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import pytest

ROOT = Path(__file__).parents[2]
SHUT_IN = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")
OPTIONS = shlex.split(os.environ.get("VELESIO_BUILD_OPTIONS", ""))
"""More for the builder, as `--build-arg TORCH_INDEX=…` for a mirror."""


class Engine:
    """docker or podman."""

    def __init__(self) -> None:
        program = shutil.which("docker") or shutil.which("podman")
        if program is None or subprocess.run([program, "info"], capture_output=True, check=False).returncode:
            program = shutil.which("podman")
        if program is None:
            pytest.skip("neither a running docker nor podman is here")
        self._program = program
        self._format = ("--format", "docker") if program.endswith("podman") else ()

    def build(self, target: str) -> str:
        """The image of a stage of the Dockerfile."""
        image = f"velesio-tried:{target}"
        base = "python:3.13-slim-trixie"
        if self.status("image", "inspect", base) and self.status("pull", base):
            pytest.skip(f"{base} is not to be had: scripts/stand-in-base makes something like it")
        what = ("-f", "deploy/Dockerfile", "--target", target, "-t", image)
        self.run("build", *self._format, "--network", "host", *OPTIONS, *what, ".")
        return image

    def run(self, *arguments: str) -> str:
        """What the command says; it fails the test if it fails."""
        done = subprocess.run([self._program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout.strip()

    def status(self, *arguments: str) -> int:
        return subprocess.run([self._program, *arguments], cwd=ROOT, capture_output=True, check=False).returncode


class Containers:
    """Containers of one test, in the network of the first, whose port 8000 this machine reaches; gone at the end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ends = ExitStack()
        self._first = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.close()

    def start(self, image: str, *command: str, env: dict[str, str], options: Sequence[str] = ()) -> str:
        """The name of a container that runs the image's own program, shut in."""
        name = f"velesio-tried-{uuid.uuid4().hex[:8]}"
        network = ("--network", f"container:{self._first}") if self._first else ("-p", "127.0.0.1::8000")
        variables = [part for key, value in env.items() for part in ("-e", f"{key}={value}")]
        self._ends.callback(self._engine.status, "rm", "-f", "-v", name)
        self._engine.run("run", "-d", "--name", name, *network, *SHUT_IN, *variables, *options, image, *command)
        self._first = self._first or name
        return name

    @property
    def address(self) -> str:
        """Of port 8000, as this machine reaches it."""
        return self._engine.run("port", self._first, "8000/tcp").splitlines()[0]

    def healthy(self, name: str, within: float = 300.0) -> None:
        """Waits until the image's own health check is content."""
        check = self.inspect(name)["Config"]["Healthcheck"]["Test"]
        assert check[0] == "CMD"
        deadline = time.monotonic() + within
        while self._engine.status("exec", name, *check[1:]):
            assert self.inspect(name)["State"]["Running"], self.log(name)
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.5)

    def run(self, name: str, *command: str) -> str:
        """What a command in the container says."""
        return self._engine.run("exec", name, *command)

    def fails(self, name: str, *command: str) -> bool:
        return self._engine.status("exec", name, *command) != 0

    def stop(self, name: str) -> int:
        """SIGTERM, time to drain, and the exit status."""
        self._engine.run("stop", "-t", "60", name)
        return int(self.inspect(name)["State"]["ExitCode"])

    def log(self, name: str) -> str:
        return self._engine.run("logs", name)

    def inspect(self, name: str) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(self._engine.run("inspect", name))
        return found[0]
