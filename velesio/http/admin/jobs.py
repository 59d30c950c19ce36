"""Jobs of all tenants, as operators see them: without what was asked or answered."""

from typing import Any

from aiohttp import web

from velesio.errors import BadRequest, Conflict, JobNotFound, Unavailable
from velesio.http.admin import audited
from velesio.http.admin.feed import JOB, NULLABLE
from velesio.http.admin.queue import STATES
from velesio.http.gateway import GATEWAY
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.wire import json_response, number_in
from velesio.jobs import JobState
from velesio.queue import facts, selection
from velesio.queue.records import JobRecord
from velesio.queue.selection import Selection

_LIMIT, _MOST = 50, 1000


async def jobs(request: web.Request) -> web.Response:
    """`GET /admin/jobs`: of all states, or of some."""
    query = request.query
    states = tuple(_state(name) for name in query.getall("state", [])) or tuple(JobState)
    chosen = Selection(states=states, model=query.get("model", ""), tenant=query.get("tenant", ""))
    records = await selection.choose(request.app[GATEWAY].queue, chosen)
    records.sort(key=lambda record: record.ended or record.started or record.enqueued, reverse=True)
    limit = _limit(query.get("limit", ""))
    told = [facts.of_job(record) for record in records[:limit]]
    for each in told:
        each.pop("traceback", None)
    return json_response({"jobs": told, "more": len(records) > limit})


def _state(name: str) -> JobState:
    if name not in STATES:
        raise BadRequest(f"state: expected one of {', '.join(STATES)}", param="state")
    return STATES[name]


def _limit(text: str) -> int:
    if not text:
        return _LIMIT
    limit = number_in(text)
    if limit is None or not 1 <= limit <= _MOST:
        raise BadRequest(f"limit: expected a number from 1 to {_MOST}", param="limit")
    return limit


async def job(request: web.Request) -> web.Response:
    """`GET /admin/jobs/{id}`: everything that is known, with the timeline."""
    record = await _known(request)
    told = facts.of_job(record)
    if record.state in selection.WAITING:
        place = await request.app[GATEWAY].queue.place(record.id)
        told |= {"position": place.position, "eta": place.eta}
    return json_response(told | {"timeline": facts.timeline(record)})


async def requeue(request: web.Request) -> web.Response:
    """`POST /admin/jobs/{id}/requeue`: a failed one."""
    record, queue = await _known(request), request.app[GATEWAY].queue
    if not await queue.requeue(record.id):
        raise Conflict(
            "what it asks for is not kept any more"
            if record.state is JobState.FAILED
            else f"only failed jobs can be queued again; this one is {facts.name_of(record.state)}"
        )
    await audited.note(request, "job.requeue", record.id)
    return json_response({"id": record.id, "state": "queued"})


async def cancel(request: web.Request) -> web.Response:
    """`POST /admin/jobs/{id}/cancel`: one that has not ended."""
    record, queue = await _known(request), request.app[GATEWAY].queue
    if not await queue.cancel(record.id, "cancelled by an operator"):
        raise Conflict(f"it has ended: it is {facts.name_of(record.state)}")
    await audited.note(request, "job.cancel", record.id)
    told = await queue.record(record.id)
    return json_response({"id": record.id, "state": facts.name_of(told.state if told else JobState.CANCELLED)})


async def _known(request: web.Request) -> JobRecord:
    record = await request.app[GATEWAY].queue.record(request.match_info["id"])
    if record is None:
        raise JobNotFound
    return record


ROUTES = [
    web.get("/admin/jobs", jobs),
    web.get("/admin/jobs/{id}", job),
    web.post("/admin/jobs/{id}/requeue", requeue),
    web.post("/admin/jobs/{id}/cancel", cancel),
]

_ERRORS = (*OF_EVERY_ROUTE, JobNotFound, Unavailable)
_TIMELINE: list[dict[str, Any]] = [
    {"at": JOB["queued"], "event": "queued"},
    {"at": 1795423600.2, "event": "leased", "attempt": 1, "worker": "gpu-2.90cc1e"},
    {"at": 1795423600.3, "event": "retried", "reason": "job_failed: the engine failed while computing this job"},
    {"at": JOB["started"], "event": "leased", "attempt": 2, "worker": JOB["worker"]},
    {"at": JOB["first_text"], "event": "first_text"},
]
API = (
    Operation(
        method="GET",
        paths=("/admin/jobs",),
        summary="Jobs of all tenants, the latest first.",
        notes="Of those that have ended, the last 200 of each state and all dead letters that are kept.",
        query={
            "state": f"only those in this state, may be repeated: {', '.join(STATES)}",
            "model": "only those of this model",
            "tenant": "only those of this tenant",
            "limit": f"jobs at most, up to {_MOST}; {_LIMIT}",
        },
        answer=lambda: {"jobs": [JOB], "more": False},
        nullable=NULLABLE,
        errors=(*OF_EVERY_ROUTE, Unavailable),
    ),
    Operation(
        method="GET",
        paths=("/admin/jobs/{id}",),
        summary="A job with its timeline: when it was queued, leased, spoke first and ended; earlier attempts and why.",
        notes="Events are `queued`, `leased`, `first_text`, `released` (given back unharmed), `retried`, `lost` (with "
        "its worker), `requeued` (after `failed`), and its end: `completed`, `failed`, `cancelled`. A job that waits "
        "has `position` and `eta` too; one that failed `code`, `reason` and `traceback`; one that is done the sizes "
        "of its `result`.",
        answer=lambda: JOB | {"timeline": _TIMELINE},
        nullable=NULLABLE,
        errors=_ERRORS,
    ),
    Operation(
        method="POST",
        paths=("/admin/jobs/{id}/requeue",),
        summary="Queues a failed job again, with all its attempts.",
        answer=lambda: {"id": JOB["id"], "state": "queued"},
        errors=(*_ERRORS, Conflict),
    ),
    Operation(
        method="POST",
        paths=("/admin/jobs/{id}/cancel",),
        summary="Cancels a job wherever it is; one that runs ends within a step.",
        answer=lambda: {"id": JOB["id"], "state": "cancelled"},
        errors=(*_ERRORS, Conflict),
    ),
)
