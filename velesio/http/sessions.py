"""Sessions: `/v1/sessions`: what is remembered for a key, to be listed, read and forgotten."""

from typing import Any

from aiohttp import web

from velesio.errors import Forbidden, SessionNotFound
from velesio.http.gateway import GATEWAY
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.talks import checked, sessions_of
from velesio.http.wire import json_response
from velesio.queue.sessions import Summary, Turn


async def list_sessions(request: web.Request) -> web.Response:
    """`GET /v1/sessions`: the key's sessions, the last used first."""
    ttl = request.app[GATEWAY].sessions.ttl
    found = await sessions_of(request).all()
    return json_response({"object": "list", "data": [_summary(each, ttl) for each in found]})


async def show(request: web.Request) -> web.Response:
    """`GET /v1/sessions/{id}`: what was said in one."""
    name = checked(request.match_info["id"])
    turns = await sessions_of(request).turns(name)
    if not turns:
        raise SessionNotFound
    return json_response(_session(name, turns))


async def delete(request: web.Request) -> web.Response:
    """`DELETE /v1/sessions/{id}`: forgets one."""
    name = checked(request.match_info["id"])
    if not await sessions_of(request).drop(name):
        raise SessionNotFound
    return json_response({"id": name, "object": "session.deleted", "deleted": True})


def _summary(summary: Summary, ttl: float) -> dict[str, Any]:
    return {
        "id": summary.name,
        "object": "session",
        "turns": summary.turns,
        "bytes": summary.bytes,
        "used": summary.used,
        "expires": round(summary.used + ttl, 3),
    }


def _session(name: str, turns: list[Turn]) -> dict[str, Any]:
    return {
        "id": name,
        "object": "session",
        "turns": len(turns),
        "messages": [_message(message) for turn in turns for message in turn.messages],
    }


def _message(message: dict[str, Any]) -> dict[str, Any]:
    """Files are told, not shown: who sent them has them."""
    content = message.get("content")
    if not isinstance(content, list):
        return message
    parts = [part if part.get("type") != "media" else {"type": "media"} for part in content]
    return message | {"content": parts}


ROUTES = [
    web.get("/v1/sessions", list_sessions),
    web.get("/v1/sessions/{id}", show),
    web.delete("/v1/sessions/{id}", delete),
]

_SAID = [Turn([{"role": "user", "content": "I am Ada."}, {"role": "assistant", "content": "Hello Ada."}])]
_NOTE = "Sessions belong to the key that made them; to everybody else they do not exist."

API = (
    Operation(
        method="GET",
        paths=("/v1/sessions",),
        summary="Lists the key's sessions, the last used first.",
        notes=_NOTE,
        answer=lambda: {
            "object": "list",
            "data": [_summary(Summary(name="a", used=1795423601.9, turns=1, bytes=64), 86400.0)],
        },
        errors=(*OF_EVERY_ROUTE, Forbidden),
    ),
    Operation(
        method="GET",
        paths=("/v1/sessions/{id}",),
        summary="Shows what was said in a session.",
        notes=_NOTE,
        answer=lambda: _session("a", _SAID),
        errors=(*OF_EVERY_ROUTE, Forbidden, SessionNotFound),
    ),
    Operation(
        method="DELETE",
        paths=("/v1/sessions/{id}",),
        summary="Forgets a session.",
        notes=_NOTE,
        answer=lambda: {"id": "a", "object": "session.deleted", "deleted": True},
        errors=(*OF_EVERY_ROUTE, Forbidden, SessionNotFound),
    ),
)
