"""The OpenAPI document against a real server: schemathesis sends what the document allows, and what it does not."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.process import Server, Start

LEFT_OUT = "unsupported_method,allow_header_conformance"
"""As at llama.cpp's server, routes are 404 for methods that they do not have, and OPTIONS is answered everywhere for
all methods. All other checks are made."""

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


def fuzz(server: Server, folder: Path, seconds: float, *which: str) -> None:
    """Sends what the document allows, and what it does not, to the operations that the options choose."""
    run = subprocess.run(  # noqa: PLW1510 - its status is looked at below
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json", *which),
            *(
                "--checks",
                "all",
                "--exclude-checks",
                LEFT_OUT,
                "--phases",
                "examples,coverage,fuzzing",
                "--max-examples",
                "20",
            ),
            *("--max-time", str(int(seconds)), "--continue-on-failure", "--no-color", "--warnings", "off"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
    )
    assert run.returncode == 0, run.stdout[-20000:] + run.stderr[-2000:]


@pytest.mark.timeout(360)
def test_answers_are_as_the_document_says(start: Start, folder: Path, request: pytest.FixtureRequest) -> None:
    """No 500, no status that is not declared, no answer outside its schema, within the time of --fuzz-seconds."""
    (folder / "config.toml").write_text(MODELS)  # where the server starts
    server = start("all", "ports.llamacpp=0", "ports.sdapi=0").ready()
    seconds = request.config.getoption("--fuzz-seconds")
    passed_over = [word for path in (*ENDLESS, HALTING) for word in ("--exclude-path", path)]
    fuzz(server, folder, seconds, *passed_over)
    fuzz(server, folder, 5, "--include-path", HALTING)
    assert server.get("/readyz")[0] == 200
    assert "Traceback" not in server.log()
