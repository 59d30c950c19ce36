"""API families: in whose shape a path reports errors."""

import functools
from collections.abc import Callable
from typing import Any

import msgspec

from velesio.errors import ContextExceeded, NotFound, QueueFull, Unavailable, Unprocessable, VelesioError


class Family(msgspec.Struct, frozen=True):
    """What the errors of one API look like."""

    name: str
    body: Callable[[VelesioError], dict[str, Any]]
    """The JSON of a refusal."""
    tells_methods: bool
    """Whether a known path with a wrong method is 405; llama.cpp's server answers 404."""
    loose: tuple[str, ...] = ()
    """Keys of the JSON whose values have no one type."""


_NATIVE_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    501: "not_supported_error",
    503: "unavailable_error",
    504: "timeout_error",
}
_OPENAI_TYPES = {403: "permission_error", 429: "rate_limit_error"}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def _native(error: VelesioError) -> dict[str, Any]:
    kind = _NATIVE_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    if isinstance(error, ContextExceeded):
        kind = "exceed_context_size_error"
    return {"error": {"code": error.status, "message": error.message, "type": kind} | error.details}


def _openai(error: VelesioError) -> dict[str, Any]:
    kind = _OPENAI_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    body = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    return {"error": body | error.details}


def _ollama(error: VelesioError) -> dict[str, Any]:
    if isinstance(error, QueueFull):
        # The words by which clients know it.
        return {"error": f"server busy, please try again.  maximum pending requests exceeded: {error.message}"}
    return {"error": error.message}


def _anthropic(error: VelesioError) -> dict[str, Any]:
    kind = _ANTHROPIC_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": error.message} | error.details}


def _a1111(error: VelesioError) -> dict[str, Any]:
    if type(error) is NotFound or error.status == 405:
        # What its framework says of addresses.
        return {"detail": "Not Found" if error.status == 404 else "Method Not Allowed"}
    if isinstance(error, Unprocessable) and "detail" in error.details:
        return {"detail": error.details["detail"]}
    return {"error": "HTTPException", "detail": error.message, "body": "", "errors": ""} | error.details


NATIVE = Family("llama.cpp", _native, tells_methods=False)
OPENAI = Family("openai", _openai, tells_methods=True)
OLLAMA = Family("ollama", _ollama, tells_methods=True)
ANTHROPIC = Family("anthropic", _anthropic, tells_methods=True)
A1111 = Family("a1111", _a1111, tells_methods=True, loose=("detail",))

_PLACES = {
    "/admin": OPENAI,
    "/usage": OPENAI,
    "/chat/completions": OPENAI,
    "/responses": OPENAI,
    "/audio": OPENAI,
    "/v1": OPENAI,
    "/v1/health": NATIVE,
    "/v1/stream": NATIVE,
    "/v1/streams": NATIVE,
    "/v1/messages": ANTHROPIC,
    "/api": OLLAMA,
    "/chat": OLLAMA,
    "/generate": OLLAMA,
    "/tags": OLLAMA,
    "/embed": OLLAMA,
    "/sdapi": A1111,
    "/internal": A1111,
    "/controlnet": A1111,
    "/sd_extra_networks": A1111,
    "/agent-scheduler": A1111,
    "/app_id": A1111,
    "/info": A1111,
    "/config": A1111,
    "/generate-image": A1111,
}


@functools.lru_cache(maxsize=256)
def family_of(path: str) -> Family:
    """The family of the nearest known place above `path`; llama.cpp's where there is none."""
    while path:
        if path in _PLACES:
            return _PLACES[path]
        path = path.rpartition("/")[0]
    return NATIVE


def headers_of(error: VelesioError) -> dict[str, str]:
    """The headers that go with a refusal."""
    headers = {}
    wait = error.retry_after
    if wait is None and isinstance(error, Unavailable):
        wait = 1.0
    if wait is not None:
        headers["Retry-After"] = str(max(1, -int(-wait // 1)))
    if error.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="velesio"'
    if error.status == 501:
        # The OpenAI SDKs try every 5xx again; this one will never be different.
        headers["X-Should-Retry"] = "false"
    return headers


def unexpected(request_id: str) -> VelesioError:
    """What a client is told of an exception that nobody expected; the log has the rest."""
    return VelesioError(f"internal error; the server's log tells more about request {request_id}")
