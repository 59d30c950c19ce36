"""Ollama's JavaScript client against a real server with a real model."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients import node
from tests.end_to_end.process import Server, eventually

TAGGED = "smollm2-135m-instruct:latest"


@pytest.fixture
def ask(velesio: Server, node_modules: Path) -> Callable[[str], Any]:
    """Does a task of ollama.cjs."""
    return lambda task: node.run("ollama.cjs", node_modules, velesio.url, task)


def test_a_chat(ask: Callable[[str], Any]) -> None:
    """Whole and streamed: the same text, with its counts."""
    whole, streamed = ask("chat"), ask("stream")
    assert "Paris" in whole["text"]
    assert streamed == whole | {"done": True}


def test_a_prompt(ask: Callable[[str], Any]) -> None:
    """Whole and streamed."""
    whole, streamed = ask("generate")
    assert "Paris" in whole
    assert streamed == whole


def test_a_schema(ask: Callable[[str], Any]) -> None:
    """An answer is what it says."""
    assert set(ask("schema")) == {"city", "unit"}


def test_tools(ask: Callable[[str], Any]) -> None:
    """A call comes whole, with an object."""
    whole, streamed = ask("tools")
    ((name, arguments),) = whole
    assert (name, set(arguments)) == ("get_weather", {"city", "unit"})
    assert streamed == whole


def test_embeddings(ask: Callable[[str], Any]) -> None:
    """Both forms."""
    assert ask("embeddings") == {"sizes": [576, 576], "older": 576}


def test_models(ask: Callable[[str], Any]) -> None:
    """What there is and what is loaded; a model goes and comes."""
    told = ask("library")
    assert (told["unloaded"], told["back"]) == ("unload", "load")
    assert TAGGED not in told["without"]
    assert TAGGED in told["loaded"]
    assert TAGGED in told["names"]
    assert "completion" in told["capabilities"]
    assert told["version"]
    assert told["pulled"] == "success"


def test_errors(ask: Callable[[str], Any]) -> None:
    """The client's own error, with status and reason."""
    errors = ask("errors")
    assert {error["kind"] for error in errors.values()} == {"ResponseError"}
    statuses = {name: error["status"] for name, error in errors.items()}
    assert statuses == {"missing": 404, "think": 400, "deleted": 501, "options": 400}
    assert "model 'llama3.2' not found" in errors["missing"]["message"]


def test_a_client_that_leaves_cancels(ask: Callable[[str], Any], velesio: Server) -> None:
    """Long before the answer's end."""
    before = json.loads(velesio.get("/queue/status")[1])["cancelled"]
    assert ask("leave") == {"parts": 3, "error": "AbortError"}
    eventually(lambda: json.loads(velesio.get("/queue/status")[1])["cancelled"] > before)
