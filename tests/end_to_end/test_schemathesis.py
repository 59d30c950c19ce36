"""The OpenAPI document against a real server: schemathesis sends what the document allows, and what it does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.process import Server, Start
from velesio.http.families import family_of

METHODS = "unsupported_method"
"""A method that a route does not have is 405, but 404 where llama.cpp's clients look, as at llama.cpp's own server:
that check is made by itself, for all other routes."""

MODELS = """
[[models]]
name = "parrot"
backend = "echo"
slots = 8
context = 512

[[models]]
name = "painter"
backend = "echo"
capability = "image"
"""


ENDLESS = ("/admin/events", "/models/sse")
"""Streams that do not end, and so would take all of the time; tests/http reads them."""
HALTING = "/admin/queue/pause"
"""After it all jobs wait: it is tried last, by itself."""


def fuzz(server: Server, folder: Path, seconds: float, *options: str) -> None:
    """Sends what the document allows, and what it does not, to the operations that the options choose."""
    run = subprocess.run(  # noqa: PLW1510 - its status is looked at below
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", *options),
            *("--max-examples", "20"),
            *("--max-time", str(int(seconds)), "--continue-on-failure", "--no-color", "--warnings", "off"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
    )
    assert run.returncode == 0, run.stdout[-20000:] + run.stderr[-2000:]


def without(*paths: str) -> list[str]:
    """Options that leave these operations out."""
    return [word for path in dict.fromkeys(paths) for word in ("--exclude-path", path)]


@pytest.mark.timeout(360)
def test_answers_are_as_the_document_says(start: Start, folder: Path, request: pytest.FixtureRequest) -> None:
    """No 500, no status that is not declared, no answer outside its schema, within the time of --fuzz-seconds."""
    (folder / "config.toml").write_text(MODELS)  # where the server starts
    server = start("all", "ports.llamacpp=0", "ports.sdapi=0").ready()
    seconds = request.config.getoption("--fuzz-seconds")
    checks = ("--checks", "all", "--exclude-checks", METHODS, "--phases", "examples,coverage,fuzzing")
    fuzz(server, folder, seconds, *checks, *without(*ENDLESS, HALTING))
    fuzz(server, folder, 5, *checks, "--include-path", HALTING)
    paths = json.loads(server.get("/openapi.json")[1])["paths"]
    of_llamacpp = [path for path in paths if not family_of(path).tells_methods]
    fuzz(server, folder, 30, "--checks", METHODS, "--phases", "coverage", *without(*ENDLESS, HALTING, *of_llamacpp))
    assert server.get("/readyz")[0] == 200
    assert "Traceback" not in server.log()
