"""One real server with the demo model for every client, and the npm packages."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import node
from tests.end_to_end.process import Server, own_folder, running


@pytest.fixture(scope="session")
def velesio() -> Iterator[Server]:
    """A server process of its own."""
    settings = ("backends.llama.pooling=mean", "backends.llama.speculation=off")  # guesses are told of
    with own_folder() as folder, running(Server("all", folder, *settings)) as server:
        yield server


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The npm packages of package.json, installed; for `node.run`."""
    return node.modules()
