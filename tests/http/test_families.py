"""Errors in the shape of each API family."""

import json
from typing import Any

import pytest

from tests.http.conftest import sample
from velesio.errors import (
    BadRequest,
    BodyTooLarge,
    BrokerUnavailable,
    ContextExceeded,
    DeadlineExceeded,
    Forbidden,
    ModelLoading,
    ModelNotFound,
    NotFound,
    OutOfMemory,
    QueueFull,
    TenantQueueFull,
    Unauthorized,
    Unsupported,
    VelesioError,
)
from velesio.http.families import A1111, ANTHROPIC, NATIVE, OLLAMA, OPENAI, Family, family_of, headers_of


@pytest.mark.parametrize(
    ("path", "family"),
    [
        ("/completion", NATIVE),
        ("/v1/health", NATIVE),
        ("/health", NATIVE),
        ("/models", NATIVE),
        ("/nothing/here", NATIVE),
        ("/v1/models", OPENAI),
        ("/v1/models/a/b", OPENAI),
        ("/v1/nothing", OPENAI),
        ("/v1", OPENAI),
        ("/v1x", NATIVE),
        ("/chat/completions", OPENAI),
        ("/v1/chat/completions", OPENAI),
        ("/", NATIVE),
        ("/v1/messages", ANTHROPIC),
        ("/v1/messages/count_tokens", ANTHROPIC),
        ("/api/chat", OLLAMA),
        ("/api/nothing", OLLAMA),
        ("/chat", OLLAMA),
        ("/generate", OLLAMA),
        ("/tags", OLLAMA),
        ("/embed", OLLAMA),
        ("/sdapi/v1/txt2img", A1111),
        ("/internal/progress", A1111),
        ("/controlnet/nothing", A1111),
        ("/embeddings", NATIVE),
        ("/template", NATIVE),
    ],
)
def test_the_nearest_place_decides(path: str, family: Family) -> None:
    """A path that nobody serves has the shape of what is above it."""
    assert family_of(path) is family


@pytest.mark.parametrize(
    ("error", "body"),
    [
        (BadRequest("m"), {"code": 400, "message": "m", "type": "invalid_request_error"}),
        (BodyTooLarge("m"), {"code": 413, "message": "m", "type": "invalid_request_error"}),
        (Unauthorized(), {"code": 401, "message": "Invalid API Key", "type": "authentication_error"}),
        (Forbidden("m"), {"code": 403, "message": "m", "type": "permission_error"}),
        (ModelNotFound("m"), {"code": 404, "message": "m", "type": "not_found_error"}),
        (TenantQueueFull("m"), {"code": 429, "message": "m", "type": "rate_limit_error"}),
        (OutOfMemory("m"), {"code": 500, "message": "m", "type": "server_error"}),
        (Unsupported("m"), {"code": 501, "message": "m", "type": "not_supported_error"}),
        (ModelLoading(), {"code": 503, "message": "Loading model", "type": "unavailable_error"}),
        (DeadlineExceeded("m"), {"code": 504, "message": "m", "type": "timeout_error"}),
        (
            QueueFull("m", details={"depth": 3}),
            {"code": 503, "message": "m", "type": "unavailable_error", "depth": 3},
        ),
    ],
)
def test_native_errors(error: VelesioError, body: dict[str, Any]) -> None:
    """The code is the status, an integer: LLMUnity reads nothing else."""
    assert NATIVE.body(error) == {"error": body}


@pytest.mark.parametrize("name", ["err_ctx", "err_404"])
def test_native_errors_have_the_keys_of_the_samples(name: str) -> None:
    """Same keys, same values where they are no sentences."""
    captured = json.loads(sample(name))["error"]
    error = ContextExceeded.of(5001, 2048) if name == "err_ctx" else NotFound("File Not Found")
    ours = NATIVE.body(error)["error"]
    assert ours.keys() == captured.keys()
    assert {key: ours[key] for key in ours if key != "message"} == {
        key: captured[key] for key in captured if key != "message"
    }
    if name == "err_ctx":
        assert list(ours) == list(captured)


@pytest.mark.parametrize(
    ("error", "body"),
    [
        (
            BadRequest("m", param="messages[1].content"),
            {"type": "invalid_request_error", "param": "messages[1].content", "code": "invalid_request"},
        ),
        (Unauthorized("m"), {"type": "invalid_request_error", "param": None, "code": "invalid_api_key"}),
        (ModelNotFound("m"), {"type": "invalid_request_error", "param": None, "code": "model_not_found"}),
        (Unsupported("m"), {"type": "server_error", "param": None, "code": "not_supported"}),
        (QueueFull("m"), {"type": "server_error", "param": None, "code": "queue_full"}),
        (
            ContextExceeded("m", details={"n_ctx": 8}),
            {"type": "invalid_request_error", "param": None, "code": "context_length_exceeded", "n_ctx": 8},
        ),
    ],
)
def test_openai_errors(error: VelesioError, body: dict[str, Any]) -> None:
    """The code is a word, the param a path."""
    assert OPENAI.body(error) == {"error": {"message": "m", **body}}


def test_ollama_errors() -> None:
    """A sentence and nothing else."""
    assert OLLAMA.body(ContextExceeded("m", details={"n_ctx": 8})) == {"error": "m"}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadRequest("m"), "invalid_request_error"),
        (Unauthorized("m"), "authentication_error"),
        (Forbidden("m"), "permission_error"),
        (ModelNotFound("m"), "not_found_error"),
        (BodyTooLarge("m"), "request_too_large"),
        (TenantQueueFull("m"), "rate_limit_error"),
        (QueueFull("m"), "overloaded_error"),
        (DeadlineExceeded("m"), "timeout_error"),
        (Unsupported("m"), "api_error"),
        (OutOfMemory("m"), "api_error"),
    ],
)
def test_anthropic_errors(error: VelesioError, kind: str) -> None:
    """The types of Anthropic's own documentation."""
    assert ANTHROPIC.body(error) == {"type": "error", "error": {"type": kind, "message": "m"}}


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (QueueFull(retry_after=2.1), {"Retry-After": "3"}),
        (TenantQueueFull(retry_after=0.2), {"Retry-After": "1"}),
        (BrokerUnavailable(), {"Retry-After": "1"}),
        (BadRequest(), {}),
        (Unauthorized(), {"WWW-Authenticate": 'Bearer realm="velesio"'}),
        (Unsupported(), {"X-Should-Retry": "false"}),
    ],
)
def test_headers_of_errors(error: VelesioError, headers: dict[str, str]) -> None:
    """Whole seconds, rounded up; SDKs are told not to repeat what will never work."""
    assert headers_of(error) == headers
