"""Installation: the wheel in a fresh environment in an empty folder, as a user would have it."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from release.wheel import ROOT

_SECONDS = 120.0
"""For a server to listen."""
_TEXT = {"prompt": "The capital of France is", "n_predict": 8, "temperature": 0}
_PICTURE = {"prompt": "a red circle", "width": 64, "height": 64, "steps": 8, "cfg_scale": 4, "seed": 1}


def install(wheel: Path, folder: Path) -> Path:
    """An environment with `velesio[all]` of this wheel in the versions of constraints-cpu.txt; its interpreter.

    Raises:
        subprocess.CalledProcessError: pip could not, or finds that the packages do not fit each other.
    """
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "--disable-pip-version-check"]
    wanted = f"velesio[all] @ {wheel.resolve().as_uri()}"
    subprocess.run([*pip, "install", "-q", "-c", str(ROOT / "constraints-cpu.txt"), wanted], check=True)
    subprocess.run([*pip, "check"], check=True)
    return python


@contextmanager
def serving(python: Path, folder: Path) -> Iterator[str]:
    """The address of a server that runs in an empty folder inside the block.

    Raises:
        TimeoutError: it did not listen in time; with what it said.
    """
    home = folder / "home"
    home.mkdir()
    log = folder / "server.log"
    named = {name: os.environ[name] for name in ("PATH", "LANG", "OMP_NUM_THREADS") if name in os.environ}
    command = [
        str(python),
        "-m",
        "velesio",
        "--set",
        "server.port=0",
        "--set",
        "ports.llamacpp=0",
        "--set",
        "ports.sdapi=0",
    ]
    with (
        log.open("wb") as said,
        subprocess.Popen(
            command, cwd=home, env=named | {"HOME": str(home)}, stdout=said, stderr=subprocess.STDOUT
        ) as server,
    ):
        try:
            yield _address(server, log)
        finally:
            server.terminate()
            server.wait(60)


def _address(server: "subprocess.Popen[bytes]", log: Path) -> str:
    end = time.monotonic() + _SECONDS
    while time.monotonic() < end and server.poll() is None:
        if found := re.search(r"http://127\.0\.0\.1:[1-9]\d*", log.read_text(encoding="utf-8", errors="replace")):
            return found[0]
        time.sleep(0.1)
    raise TimeoutError(f"the server does not listen:\n{log.read_text(encoding='utf-8', errors='replace')[-3000:]}")


def text(address: str) -> str:
    """What curl gets for a prompt."""
    return str(_asked(address, "/completion", _TEXT)["content"])


def picture(address: str) -> str:
    """A picture that curl gets, in base64."""
    return str(_asked(address, "/sdapi/v1/txt2img", _PICTURE)["images"][0])


def _asked(address: str, path: str, body: object) -> dict[str, object]:
    command = ["curl", "-sS", "--fail-with-body", "--max-time", "300", address + path, "-d", json.dumps(body)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, object] = json.loads(answer.stdout)
    return found
