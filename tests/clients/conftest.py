"""One real server with the demo model for every client, and the npm packages."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import node
from tests.end_to_end.process import Server


@pytest.fixture(scope="session")
def velesio() -> Iterator[Server]:
    """A server process of its own."""
    folder = Path(tempfile.mkdtemp(prefix="velesio-"))
    server = Server(
        "all", folder, "backends.llama.pooling=mean", "backends.llama.speculation=off"
    )  # guesses are told of
    try:
        yield server.ready()
    finally:
        server.close()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The npm packages of package.json, installed; for `node.run`."""
    return node.modules()
