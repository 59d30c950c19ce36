"""Ollama's requests without `/api`, answered whole by default."""

from typing import Any

import msgspec
from aiohttp import web

from velesio.http.fields import given
from velesio.http.ollama import generation as ollama
from velesio.http.ollama import library as ollama_library
from velesio.http.ollama.requests import CHAT, GENERATE, read_chat, read_generate
from velesio.http.operations import Operation


async def _whole_by_default(request: web.Request) -> dict[str, Any]:
    return {"stream": False} | await ollama_library.read_body(request)


async def generate(request: web.Request) -> web.StreamResponse:
    """`POST /generate`: as `/api/generate`."""
    return await ollama.answer(request, read_generate(await _whole_by_default(request)), in_message=False)


async def chat(request: web.Request) -> web.StreamResponse:
    """`POST /chat`: as `/api/chat`."""
    return await ollama.answer(request, read_chat(await _whole_by_default(request)), in_message=True)


ROUTES = [
    web.post("/generate", generate),
    web.post("/chat", chat),
    web.get("/tags", ollama_library.list_tags),
    web.post("/embed", ollama.embed),
]

_WHOLE = given(bool, "lines of JSON instead of one whole answer", default=False)


def _as(operation: Operation, path: str, **changed: Any) -> Operation:
    """An operation of Ollama's at a path of the earlier server's."""
    summary = f"As `{operation.method} {operation.paths[0]}`"
    whole = ", but not streamed unless `stream` is true." if changed else "."
    return msgspec.structs.replace(operation, paths=(path,), summary=summary + whole, notes="", **changed)


_GENERATE, _CHAT, _EMBED, _ = ollama.API
_TAGS = ollama_library.API[0]

API = (
    _as(_GENERATE, "/generate", fields={**GENERATE, "stream": _WHOLE}),
    _as(_CHAT, "/chat", fields={**CHAT, "stream": _WHOLE}),
    _as(_EMBED, "/embed"),
    _as(_TAGS, "/tags"),
)
