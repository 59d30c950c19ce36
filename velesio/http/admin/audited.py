"""What operators change over HTTP, noted with who did it, and what was noted: `GET /admin/audit`."""

from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import BadRequest, Unavailable
from velesio.http.gateway import CREDENTIAL, GATEWAY
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.wire import json_response, number_in
from velesio.queue.audit import Audit, Entry

_SHOWN = 100
_MOST = 10_000


def actor_of(request: web.Request) -> str:
    """Who does something: the owner of the request's key."""
    credential = request[CREDENTIAL]
    return credential.name if credential.id == credential.name else f"{credential.name} ({credential.id})"


async def note(request: web.Request, action: str, target: str, **difference: Any) -> None:
    """Something was done to `target`, by the owner of the request's key."""
    await Audit(request.app[GATEWAY].broker).record(actor_of(request), action, target, difference)


async def audit(request: web.Request) -> web.Response:
    """`GET /admin/audit`: the last changes, the latest first."""
    limit = number_in(request.query.get("limit", str(_SHOWN)))
    if limit is None or not 1 <= limit <= _MOST:
        raise BadRequest(f"limit: expected 1 to {_MOST}", param="limit")
    entries = await Audit(request.app[GATEWAY].broker).recent(limit)
    return json_response({"object": "list", "data": [_described(entry) for entry in entries]})


def _described(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(entry)
    return {"difference": {}} | told


ROUTES = [web.get("/admin/audit", audit)]

API = (
    Operation(
        method="GET",
        paths=("/admin/audit",),
        summary="What was changed of keys, tenants, models, workers and the queue, by whom; the latest first.",
        notes="Of each field that changed, `difference` has what it was and what it is. Secrets are never among them.",
        query={"limit": "changes at most; 100"},
        answer=lambda: {
            "object": "list",
            "data": [
                _described(
                    Entry(
                        at=1795423601.9,
                        actor="boss",
                        action="key.change",
                        target="k3v9x0a1bc",
                        difference={"scopes": [["text"], ["text", "images"]]},
                    )
                )
            ],
        },
        errors=(*OF_EVERY_ROUTE, Unavailable),
    ),
)
