"""The examples do what they say, against a real server with the demo models; the plug-in, installed as a package."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.end_to_end.process import Server, own_folder

ROOT = Path(__file__).parent.parent
CLIENTS = ROOT / "examples/clients"
COLOURS = re.compile(r"red|blue|green|yellow", re.IGNORECASE)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with own_folder() as path:
        yield path


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    server = Server("all", folder)
    yield server.ready()
    server.close()


def run(server: Server, *command: str, folder: Path) -> str:
    """What a program says that is told where the server is."""
    # Not VELESIO_…: the program may be one that reads those as options.
    environment = {**os.environ, "VELESIO_ADDRESS": server.url}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "command", [["bash", "chat.sh"], [sys.executable, "chat.py"], ["node", "chat.mjs"]], ids="-".join
)
def test_a_chat(server: Server, folder: Path, command: list[str]) -> None:
    """Names colours."""
    program, script = command
    assert COLOURS.search(run(server, program, str(CLIENTS / script), "Name three colours.", folder=folder))


@pytest.mark.parametrize("command", [["bash", "picture.sh"], [sys.executable, "picture.py"]], ids="-".join)
def test_a_picture(server: Server, folder: Path, command: list[str]) -> None:
    """Writes a picture whose middle is red."""
    program, script = command
    run(server, program, str(CLIENTS / script), "a red circle", "circle.png", folder=folder)
    with Image.open(folder / "circle.png") as picture:
        red, green, blue = picture.convert("RGB").resize((3, 3)).getpixel((1, 1))
    assert red > 1.5 * max(green, blue)


def test_a_background_job(server: Server, folder: Path) -> None:
    """Its result goes on counting."""
    assert "four, five" in run(server, sys.executable, str(CLIENTS / "background.py"), folder=folder)


def test_the_plug_in_is_the_guides(tmp_path: Path) -> None:
    """The package has the code that docs/writing-a-backend.md shows."""
    shown = re.search(
        r"```python\n(.*?)```", (ROOT / "docs/writing-a-backend.md").read_text(encoding="utf-8"), re.DOTALL
    )
    assert shown
    assert shown[1] in (ROOT / "examples/velesio-shout/src/velesio_shout/__init__.py").read_text(encoding="utf-8")


def test_the_plug_in_is_found_and_serves(tmp_path: Path, folder: Path) -> None:
    """Built and installed by pip into a folder of its own; a configuration names it, and nothing else."""
    packages = tmp_path / "packages"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(packages),
    ]
    done = subprocess.run(
        [*install, str(ROOT / "examples/velesio-shout")], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    home = tmp_path / "home"
    home.mkdir()
    server = Server("all", home, 'models=[{name="loud", backend="shout"}]', env={"PYTHONPATH": str(packages)})
    try:
        status, answer = server.ready().post("/completion", {"model": "loud", "prompt": "hear me"})
        assert (status, answer["content"]) == (200, "HEAR ME")
    finally:
        server.close()
