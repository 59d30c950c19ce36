"""The queue, as operators see it and stop it, empty it, fill it again."""

from typing import Any, Literal, get_args

import msgspec
from aiohttp import web

from velesio.errors import ModelNotFound, Unavailable
from velesio.http.admin import audited
from velesio.http.admin.feed import EXAMPLE, MODEL, NULLABLE
from velesio.http.fields import of
from velesio.http.gateway import GATEWAY, Gateway
from velesio.http.monitoring.dashboard import depth_of, totals
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.wire import convert, json_response, read_object
from velesio.jobs import Capability, JobState, Priority
from velesio.queue import selection
from velesio.queue.records import JobRecord
from velesio.queue.selection import Selection

State = Literal["queued", "scheduled", "running", "done", "failed", "cancelled"]
STATES = {name: JobState[name.upper()] for name in get_args(State)}
_SHOWN = 100
"""Ids in an answer."""


class Pausing(msgspec.Struct):
    """The fields of an order to stop or to go on."""

    model: str = ""


class Choice(msgspec.Struct):
    """The fields that choose jobs."""

    model: str = ""
    tenant: str = ""
    priority: Literal["", "interactive", "normal", "batch"] = ""
    older_than: float = 0.0
    limit: int = selection.MOST
    dry_run: bool = False


class Purging(Choice):
    """Those of a purge."""

    states: tuple[State, ...] = ("queued", "scheduled")


async def queue(request: web.Request) -> web.Response:
    """`GET /admin/queue`: depths by model and priority."""
    status = await request.app[GATEWAY].queue.status()
    models = [{"name": depth.model, **depth_of(depth)} for depth in status.models]
    return json_response({**totals(status), "models": models})


async def pause(request: web.Request) -> web.Response:
    """`POST /admin/queue/pause`."""
    return await _pause(request, on=True)


async def resume(request: web.Request) -> web.Response:
    """`POST /admin/queue/resume`."""
    return await _pause(request, on=False)


async def _pause(request: web.Request, *, on: bool) -> web.Response:
    gateway = request.app[GATEWAY]
    named = convert(await _body(request), Pausing).model
    capability, model = await _queue_of(gateway, named) if named else (None, "")
    changed = await gateway.queue.pause(capability, model, on=on)
    if changed:
        await audited.note(request, "queue.pause" if on else "queue.resume", model or "*")
    return json_response({"model": model or None, "paused": on, "changed": changed})


async def _queue_of(gateway: Gateway, name: str) -> tuple[Capability, str]:
    """The queue of a model that is served, or that has one since it was.

    Raises:
        ModelNotFound
    """
    for card in gateway.registry.cards():
        if name in {card.name, *card.aliases}:
            return card.capability, card.name
    known = (await gateway.queue.status()).models
    for depth in known:
        if depth.model == name:
            return depth.capability, name
    names = ", ".join(depth.model for depth in known) or "none"
    raise ModelNotFound(f"no model {name!r} is served or has a queue; queues are those of: {names}", param="model")


async def purge(request: web.Request) -> web.Response:
    """`POST /admin/queue/purge`."""
    gateway = request.app[GATEWAY]
    choice = convert(await _body(request), Purging)
    records = await _chosen(gateway, choice, tuple(dict.fromkeys(STATES[name] for name in choice.states)))
    purged = selection.Purged() if choice.dry_run else await selection.purge(gateway.queue, records)
    if not choice.dry_run:
        await audited.note(request, "queue.purge", choice.model or "*", jobs=len(records), filter=_filter(choice))
    return json_response({"matched": len(records), **msgspec.to_builtins(purged), "jobs": _ids(records)})


async def requeue(request: web.Request) -> web.Response:
    """`POST /admin/queue/requeue`."""
    gateway = request.app[GATEWAY]
    choice = convert(await _body(request), Choice)
    records = await _chosen(gateway, choice, (JobState.FAILED,))
    done = [] if choice.dry_run else await selection.requeue(gateway.queue, records)
    if not choice.dry_run:
        await audited.note(request, "queue.requeue", choice.model or "*", jobs=len(done), filter=_filter(choice))
    return json_response({"matched": len(records), "requeued": len(done), "jobs": _ids(records)})


async def _body(request: web.Request) -> dict[str, Any]:
    """An order may have no fields, and so no body."""
    return await read_object(request, request.app[GATEWAY].server.max_body) if request.body_exists else {}


async def _chosen(gateway: Gateway, choice: Choice, states: tuple[JobState, ...]) -> list[JobRecord]:
    chosen = Selection(
        states=states,
        model=choice.model,
        tenant=choice.tenant,
        priority=Priority[choice.priority.upper()] if choice.priority else None,
        older_than=choice.older_than,
    )
    return await selection.choose(gateway.queue, chosen, min(max(choice.limit, 0), selection.MOST))


def _filter(choice: Choice) -> dict[str, Any]:
    return {name: value for name, value in msgspec.to_builtins(choice).items() if value and name != "dry_run"}


def _ids(records: list[JobRecord]) -> list[str]:
    return [record.id for record in records[:_SHOWN]]


ROUTES = [
    web.get("/admin/queue", queue),
    web.post("/admin/queue/pause", pause),
    web.post("/admin/queue/resume", resume),
    web.post("/admin/queue/purge", purge),
    web.post("/admin/queue/requeue", requeue),
]

_ERRORS = (*OF_EVERY_ROUTE, Unavailable)
_PAUSING = of(Pausing, model="whose queue is meant; left out: all queues, whatever is said of each")
_CHOICE = {
    "model": "only those of this model",
    "tenant": "only those of this tenant",
    "priority": "only those of this priority",
    "older_than": "only those that were queued, or have ended, so many seconds ago",
    "limit": f"jobs at most; {selection.MOST} in any case",
    "dry_run": "only tell which would be meant",
}
_ID = EXAMPLE["jobs"]["running"][0]["id"]
_DEPTH = (*("name", "kind", "waiting", "running", "oldest_seconds", "completed", "failed", "cancelled", "paused"),)
API = (
    Operation(
        method="GET",
        paths=("/admin/queue",),
        summary="Depths by model and priority, totals, and what is paused since when.",
        answer=lambda: {**EXAMPLE["queue"], "models": [{name: MODEL[name] for name in _DEPTH}]},
        nullable=NULLABLE,
        errors=_ERRORS,
    ),
    Operation(
        method="POST",
        paths=("/admin/queue/pause",),
        summary="Leases nothing more from a model's queue, or from any, until it goes on.",
        notes="What runs goes on; what comes waits, up to the queue's caps and each job's deadline.",
        fields=_PAUSING,
        example={"model": MODEL["name"]},
        answer=lambda: {"model": MODEL["name"], "paused": True, "changed": True},
        nullable=("model",),
        errors=(*_ERRORS, ModelNotFound),
    ),
    Operation(
        method="POST",
        paths=("/admin/queue/resume",),
        summary="Goes on with a model's queue, or ends the pause of all of them.",
        notes="A queue that was paused by itself stays paused when all go on, and the other way round.",
        fields=_PAUSING,
        example={"model": MODEL["name"]},
        answer=lambda: {"model": MODEL["name"], "paused": False, "changed": True},
        nullable=("model",),
        errors=(*_ERRORS, ModelNotFound),
    ),
    Operation(
        method="POST",
        paths=("/admin/queue/purge",),
        summary="Cancels jobs that have not ended, and forgets those that have.",
        notes=f"`jobs` are the first {_SHOWN} of those that `matched`.",
        fields=of(Purging, **_CHOICE, states="in which they are"),
        example={"states": ["queued"], "tenant": "studio", "older_than": 3600},
        answer=lambda: {"matched": 1, "cancelled": 1, "forgotten": 0, "jobs": [_ID]},
        errors=_ERRORS,
    ),
    Operation(
        method="POST",
        paths=("/admin/queue/requeue",),
        summary="Queues failed jobs again, with all their attempts.",
        notes="Those whose input is not kept any more are `matched` and not `requeued`.",
        fields=of(Choice, **_CHOICE),
        example={"model": MODEL["name"]},
        answer=lambda: {"matched": 2, "requeued": 2, "jobs": [_ID]},
        errors=_ERRORS,
    ),
)
