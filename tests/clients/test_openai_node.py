"""OpenAI's JavaScript client against a real server with a real model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients import node
from tests.end_to_end.process import Server, eventually


@pytest.fixture
def ask(velesio: Server, node_modules: Path) -> Callable[[str], Any]:
    """Does a task of openai.cjs."""
    return lambda task: node.run("openai.cjs", node_modules, velesio.url, task)


def test_chat(ask: Callable[[str], Any]) -> None:
    """Whole, streamed and put together by the client: the same text, with its counts."""
    whole, streamed, accumulated = ask("chat"), ask("stream"), ask("accumulated")
    assert "Paris" in whole["text"]
    assert whole["text"] == streamed["text"] == accumulated["text"]
    assert whole["usage"]["completion_tokens"] == streamed["usage"]["completion_tokens"]


def test_json_schema(ask: Callable[[str], Any]) -> None:
    """An answer is what the schema says."""
    answer = ask("schema")
    assert answer["city"] in {"Paris", "Rome"}
    assert answer["unit"] in {"C", "F"}


def test_tools(ask: Callable[[str], Any]) -> None:
    """A required call, whole and put together from a stream."""
    for answer in ask("tools"):
        assert answer["reason"] == "tool_calls"
        ((name, arguments),) = answer["calls"]
        assert name == "get_weather"
        assert set(arguments) == {"city", "unit"}


def test_completions(ask: Callable[[str], Any]) -> None:
    """Text goes on."""
    assert "Paris" in ask("completions")["text"]


def test_embeddings(ask: Callable[[str], Any]) -> None:
    """Base64, which the client asks for by itself, and floats are the same."""
    packed, floats = ask("embeddings")
    assert packed == pytest.approx(floats)
    assert len(floats) == 576


def test_responses(ask: Callable[[str], Any]) -> None:
    """Whole, streamed and put together by the client: the same text."""
    answer = ask("responses")
    assert "Paris" in answer["whole"]
    assert answer["whole"] == answer["text"] == answer["accumulated"]
    assert answer["kinds"][0] == "response.created"
    assert answer["kinds"][-1] == "response.completed"


def test_models(ask: Callable[[str], Any]) -> None:
    """Listed, and found by name."""
    answer = ask("models")
    assert answer["one"] in answer["names"]


def test_errors(ask: Callable[[str], Any]) -> None:
    """Each refusal is the client's own error, with status, code and the field at fault."""
    answer = ask("errors")
    assert answer["missing"] == {
        "kind": "NotFoundError",
        "status": 404,
        "code": "model_not_found",
        "param": "model",
    }
    assert (answer["bad"]["kind"], answer["bad"]["param"]) == ("BadRequestError", "temperature")
    assert answer["long"]["code"] == "context_length_exceeded"


def test_cancel(velesio: Server, ask: Callable[[str], Any]) -> None:
    """Leaving the loop closes the stream and frees the model."""
    cancelled = velesio.metric("velesio_cancelled_total")
    assert ask("cancel")["chunks"] == 3
    eventually(lambda: velesio.metric("velesio_engine_sequences") == 0)
    assert velesio.metric("velesio_cancelled_total") == cancelled + 1
