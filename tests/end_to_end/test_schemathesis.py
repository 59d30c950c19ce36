"""The OpenAPI document against a real server: schemathesis sends what the document allows, and what it does not."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.process import Start

CHECKS = "status_code_conformance,content_type_conformance,response_schema_conformance"
"""500 is declared nowhere, so that it fails the first; 501 and 503 are, where they are meant."""

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


@pytest.mark.timeout(300)
def test_answers_are_as_the_document_says(start: Start, folder: Path, request: pytest.FixtureRequest) -> None:
    """No 500, no status that is not declared, no answer outside its schema, within the time of --fuzz-seconds."""
    (folder / "config.toml").write_text(MODELS)  # where the server starts
    server = start("all", "ports.llamacpp=0", "ports.sdapi=0").ready()
    seconds = request.config.getoption("--fuzz-seconds")
    run = subprocess.run(  # noqa: PLW1510 - its status is looked at below
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"),
            *("--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", "20"),
            *("--max-time", str(int(seconds)), "--continue-on-failure", "--no-color", "--warnings", "off"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=seconds + 120,
    )
    assert run.returncode == 0, run.stdout[-20000:] + run.stderr[-2000:]
    assert server.get("/readyz")[0] == 200
    assert "Traceback" not in server.log()
