"""What dashboards show: the whole installation in one document, as it changes, and the series of the last hour."""

from contextlib import aclosing
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import Unavailable, VelesioError
from velesio.http import sse
from velesio.http.access.scopes import ADMIN
from velesio.http.gateway import CREDENTIAL, GATEWAY
from velesio.http.monitoring.lookout import event
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.relay import Relay
from velesio.http.wire import json_response
from velesio.queue.overview import look
from velesio.queue.series import SPANS, STEP, Point, Times, point

_ERRORS = (*OF_EVERY_ROUTE, Unavailable)


async def overview(request: web.Request) -> web.Response:
    """`GET /admin/overview`: the document."""
    return json_response(await request.app[GATEWAY].lookout.current())


async def events(request: web.Request) -> web.StreamResponse:
    """`GET /admin/events`: the document, then what changes in it."""
    gateway = request.app[GATEWAY]
    async with aclosing(gateway.lookout.watch()) as looks:
        relay = Relay(looks)
        await relay.begin()
        gateway.tell(relay, request[CREDENTIAL], ADMIN)
        try:
            return await sse.respond(request, relay, _Frames())
        finally:
            gateway.ended(relay)


async def series(request: web.Request) -> web.Response:
    """`GET /admin/series`: the last hour of one model, or of all."""
    model = request.query.get("model") or None
    found = await look(request.app[GATEWAY].broker, 1, SPANS + 1)
    points = [point(number * STEP, [span], model=model) for number, span in sorted(found.spans.items())]
    told = [each for each in points if each != Point(at=each.at)]
    return json_response({"model": model, "step": STEP, "points": msgspec.to_builtins(told)})


class _Frames:
    """Events as the lookout has made them."""

    one_by_one = False

    def frames(self, _: int, event: bytes) -> list[bytes]:
        """One event."""
        return [event]

    def ping(self) -> bytes:
        """A comment."""
        return sse.COMMENT

    def failure(self, error: VelesioError) -> list[bytes]:
        """The last event."""
        return [event(b"error", {"error": {"code": error.code, "message": error.message}})]

    def end(self) -> list[bytes]:
        """Nothing."""
        return []


ROUTES = [
    web.get("/admin/overview", overview),
    web.get("/admin/events", events, allow_head=False),
    web.get("/admin/series", series),
]

_POINT = Point(
    at=1795423600,
    done=12,
    tokens_per_s=148.2,
    first_token_ms=Times(98.7, 234.8),
    latency_ms=Times(1579.6, 3159.3),
    waited_ms=Times(1.0, 5.2),
)
_WAITING = {"interactive": 0, "normal": 3, "batch": 0}
_TOTALS = {"completed": 812, "failed": 1, "cancelled": 4, "paused": None}
_RATES: dict[str, Any] = {name: value for name, value in msgspec.to_builtins(_POINT).items() if name != "at"}
_MODEL = "smollm2-135m-instruct"
_WORKER = "gpu-1.4f2a91"
_STATE = {"state": "loaded", "since": 1795400000.0, "progress": 1.0, "expires_at": None, "reason": "", "pinned": False}
_JOB: dict[str, Any] = {
    "id": "01a2079604ec22a86933a141c825706c",
    "state": "running",
    "model": _MODEL,
    "kind": "text",
    "tenant": "default",
    "priority": "normal",
    "attempts": 1,
    "crashes": 0,
    "worker": _WORKER,
    "background": False,
    "queued": 1795423600.1,
    "started": 1795423600.4,
    "first_text": 1795423600.5,
    "ended": None,
    "deadline": 1795423900.1,
}
EXAMPLE: dict[str, Any] = {
    "at": 1795423601.9,
    "queue": {"waiting": 3, "running": 1, "scheduled": 0, "dead": 1, "oldest_seconds": 0.8, **_TOTALS},
    "models": [
        {
            "name": _MODEL,
            "aliases": [],
            "backend": "llama",
            "bytes": 145_000_000,
            "context": 2048,
            "slots": 4,
            "workers": [_WORKER],
            **_STATE,
            "kind": "text",
            "waiting": _WAITING,
            "running": 1,
            "oldest_seconds": 0.8,
            **_TOTALS,
            "rates": _RATES,
        }
    ],
    "workers": [
        {
            "id": _WORKER,
            "name": "gpu-1",
            "state": "ready",
            "models": [_MODEL],
            "states": {_MODEL: {"bytes": 145_000_000, "slots": 4, **_STATE}},
            "loaded": [_MODEL],
            "jobs": [_JOB["id"]],
            "slots": 4,
            "memory": {"budget": 6_600_000_000, "used": 145_000_000, "resident": 610_000_000},
            "beat": 1795423600.2,
            "host": "gpu-1",
            "pid": 4711,
            "version": "0.1.0",
        }
    ],
    "jobs": {"running": [_JOB], "waiting": [], "ended": []},
    "rates": _RATES,
    "series": {"step": STEP, "points": [msgspec.to_builtins(_POINT)]},
}
"""A document."""
JOB = _JOB
WORKER = EXAMPLE["workers"][0]
MODEL = EXAMPLE["models"][0]

NULLABLE = ("paused", "backend", "bytes", "context", "expires_at", "first_text", "started", "ended", "first_token_ms",
            "latency_ms", "waited_ms", "model")  # fmt: skip

API = (
    Operation(
        method="GET",
        paths=("/admin/overview",),
        summary="The whole installation in one document: queue, models, workers, jobs, rates, series.",
        notes="Not older than a second. [The administration's page](../admin.md#the-live-feed) tells what is in it.",
        answer=lambda: EXAMPLE,
        nullable=NULLABLE,
        errors=_ERRORS,
    ),
    Operation(
        method="GET",
        paths=("/admin/events",),
        summary="Streams that document (`snapshot`), then each second what has changed in it (`change`).",
        answers=None,
        streams="text/event-stream",
        errors=_ERRORS,
    ),
    Operation(
        method="GET",
        paths=("/admin/series",),
        summary="The last hour in spans of ten seconds; those in which nothing happened are left out.",
        query={"model": "of this model alone"},
        answer=lambda: {"model": None, "step": STEP, "points": [msgspec.to_builtins(_POINT)]},
        nullable=NULLABLE,
        errors=_ERRORS,
    ),
)
