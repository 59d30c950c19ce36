"""Background jobs: `/v1/jobs`.

A job is queued with one request and its answer fetched with others, from any gateway: its state, its events from any id
on, its result in the shape that the request's own route would have given. It goes on when its client leaves.
"""

import re
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import (
    BadRequest,
    Conflict,
    ContextExceeded,
    JobCancelled,
    JobNotFound,
    JobUnfinished,
    KeyReused,
    TooMany,
    Unsupported,
)
from velesio.http import media, sse
from velesio.http.access import priorities
from velesio.http.access.costs import cost_of
from velesio.http.access.limits import Admission, again
from velesio.http.background.announcing import announced
from velesio.http.background.descriptions import describe, described, queued, word
from velesio.http.background.replay import Frames
from velesio.http.dispatch import error_of, scaled
from velesio.http.fields import Fields, of
from velesio.http.finding import find_model
from velesio.http.forms import FORMS, answer_of, form_of, settled
from velesio.http.gateway import BODY, CREDENTIAL, GATEWAY, JOB_ID, QUEUED, REPLAYED, Gateway
from velesio.http.idempotency import enqueue, key_of
from velesio.http.operations import OF_EVERY_JOB, OF_EVERY_ROUTE, Operation
from velesio.http.origin import Origin
from velesio.http.relay import Relay
from velesio.http.talks import FIELD
from velesio.http.wire import bad_field, convert, encode, json_response, read_object
from velesio.jobs import (
    Cancelled,
    Capability,
    Completed,
    Failed,
    Final,
    Job,
    JobState,
    Params,
    Priority,
)
from velesio.queue.client import JobRecord, Place
from velesio.queue.outputs import follow

ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


class _Body(msgspec.Struct):
    url: str = ""
    body: dict[str, Any] = {}
    priority: str = "batch"
    timeout: float = 0.0
    webhook: str = ""


FIELDS: Fields = of(
    _Body,
    url=f"the route that would answer: {', '.join(FORMS)}",
    body="what would be sent there, for one answer",
    priority="`interactive`, `normal` or `batch`, as far as the key allows; requests that are waited for are normal",
    timeout="seconds from now to its end, at most `server.background_timeout`; 0: as many",
    webhook="an address that is told of the job's end, signed; its host must be one of `webhooks.hosts`",
)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a job, read."""

    origin: Origin
    model: str
    params: Params
    capability: Capability
    priority: Priority | None
    """None: nothing is said of it."""
    seconds: float
    """From now to its end, at most."""
    webhook: str = ""


async def create(request: web.Request) -> web.Response:
    """`POST /v1/jobs`: queues what the route `url` would answer to `body`; 202 with the job and its place."""
    server = request.app[GATEWAY].server
    raw = await settled(request, await read_object(request, max(server.max_body, server.max_image_body)))
    shown = await submit(request, read(raw, server.background_timeout))
    return json_response(shown, 202, {"Location": f"/v1/jobs/{shown['id']}"})


async def submit(request: web.Request, asked: Asked) -> dict[str, Any]:
    """Queues a job, or finds the one that the request's `Idempotency-Key` names; what is told of it.

    Raises:
        VelesioError: it could not be queued.
    """
    gateway = request.app[GATEWAY]
    key = key_of(request)
    card = await find_model(request, asked.model, asked.capability)
    media.check(card, asked.params)
    media.check_pixels(asked.params, gateway.server.max_pixels)
    job = Job.new(
        card.name,
        scaled(request, asked.params),
        tenant=request[CREDENTIAL].tenant,
        priority=priorities.of_request(request, asked.priority, usual=Priority.BATCH),
        cost=cost_of(asked.params),
        deadline=time.time() + asked.seconds,
        stream=True,
        request=asked.origin.packed(),
    )
    same = Origin(request.path, request[BODY]).fingerprint() if key else ""
    async with announced(request, job, asked.webhook):
        admission = await Admission.of(request, [job], waits=False)
        ticket = await enqueue(admission, job, key, same)
        request[QUEUED] = True
        request[JOB_ID] = ticket.id
        if not ticket.duplicate:
            shown = described(queued(job), Place(ticket.position, ticket.eta))
        else:
            request[REPLAYED] = True
            shown = await describe(gateway, await _visible(request, ticket.id))
    return shown


def read(raw: Mapping[str, Any], longest: float) -> Asked:
    """A request from its body; a job may take up to `longest` seconds.

    Raises:
        BadRequest: naming the field.
        Unsupported: it asks for something that is not there yet.
    """
    known = [field.name for field in msgspec.structs.fields(_Body)]
    for name in raw:
        if name not in known:
            raise bad_field(name, f"is not known here; known are {', '.join(known)}")
    asked = convert(raw, _Body)
    if not asked.url or "body" not in raw:
        raise bad_field("body" if asked.url else "url", f"is required: url, one of {', '.join(FORMS)}, and its body")
    form = form_of(asked.url)
    body = {name: value for name, value in asked.body.items() if value is not None}
    if FIELD in body:
        raise bad_field(f"body.{FIELD}", "a session goes on with answers that are waited for; send all messages")
    inner = form.read(body)
    if len(inner.params) != 1:
        raise bad_field("body", f"asks for {len(inner.params)} answers; a background job is one: one prompt, n = 1")
    return Asked(
        origin=Origin(asked.url, encode(body)),
        model=inner.model,
        params=inner.params[0],
        capability=form.capability,
        priority=_priority(asked.priority) if "priority" in raw else None,
        seconds=_seconds(asked.timeout, longest),
        webhook=asked.webhook,
    )


def _priority(name: str) -> Priority:
    if name not in priorities.NAMES:
        raise bad_field("priority", f"expected one of {', '.join(priorities.NAMES)}")
    return priorities.NAMES[name]


def _seconds(asked: float, longest: float) -> float:
    if not 0 <= asked <= longest:
        raise bad_field("timeout", f"expected up to {longest:g} seconds (server.background_timeout), or 0 for as many")
    return asked or longest


async def show(request: web.Request) -> web.Response:
    """`GET /v1/jobs/{id}`: what is known of a job."""
    record = await _visible(request)
    described = await describe(request.app[GATEWAY], record)
    return json_response(described, headers={} if record.state.final else _wait(described.get("eta")))


async def result(request: web.Request) -> web.Response:
    """`GET /v1/jobs/{id}/result`: the answer of a job that is done, the error of one that failed."""
    gateway = request.app[GATEWAY]
    record = await _visible(request)
    if not record.state.final:
        shown = await describe(gateway, record)
        raise JobUnfinished(
            f"the job is {shown['state']}; its result is not there yet",
            retry_after=float(_wait(shown.get("eta"))["Retry-After"]),
            details={name: shown[name] for name in ("state", "position", "eta") if name in shown},
        )
    final = await final_of(gateway, record)
    if isinstance(final, Failed | Cancelled):
        raise error_of(final)
    answer = answer_of(await gateway.queue.request(record.id), record, final)
    if answer is None:
        raise JobNotFound("this job has no result to fetch: it was not made in the background; its asker was answered")
    return json_response(answer)


async def final_of(gateway: Gateway, record: JobRecord) -> Final:
    """The end of a job whose record may not hold it."""
    if record.result is not None:
        return record.result
    async with aclosing(follow(gateway.broker, record.id)) as batches:
        async for batch in batches:
            for said in batch:
                if isinstance(said.event, Completed | Failed | Cancelled):
                    return said.event
    raise JobNotFound


async def events(request: web.Request) -> web.StreamResponse:
    """`GET /v1/jobs/{id}/events`: what the job has said and says, after `Last-Event-ID` (or `?after=`) or from its
    beginning, up to its end; 204 if the client has its end already."""
    gateway = request.app[GATEWAY]
    record = await _visible(request)
    if not record.logged:
        raise JobNotFound("this job keeps no events: it was not made in the background; its asker was answered")
    kept = await gateway.queue.request(record.id)
    async with aclosing(follow(gateway.broker, record.id, _after(request))) as batches:
        relay = Relay(batches)
        if record.state.final and not await relay.begin():
            return web.Response(status=204)
        gateway.began(relay, request[CREDENTIAL].id)
        try:
            return await sse.respond(request, relay, Frames(record, kept))
        finally:
            gateway.ended(relay)


def _after(request: web.Request) -> int:
    given = request.headers.get("Last-Event-ID") or request.query.get("after") or "0"
    if not given.isdecimal() or not given.isascii() or len(given) > 16:
        raise BadRequest("Last-Event-ID: expected the id of an event of this job", param="Last-Event-ID")
    return int(given)


async def cancel(request: web.Request) -> web.Response:
    """`DELETE /v1/jobs/{id}`: cancels it wherever it is; 202 if its worker has to be told. Once more does no harm."""
    gateway = request.app[GATEWAY]
    record = await _visible(request)
    cancelled = await gateway.queue.cancel(record.id, "cancelled by its client")
    record = await _visible(request)
    if not cancelled and record.state is not JobState.CANCELLED:
        raise Conflict(f"the job has ended: it is {word(record.state)}")
    return json_response(await describe(gateway, record), 200 if record.state.final else 202)


async def requeue(request: web.Request) -> web.Response:
    """`POST /v1/jobs/{id}/requeue`: queues a failed job again."""
    gateway = request.app[GATEWAY]
    record = await _visible(request)
    if not await again(request, record):
        record = await _visible(request)
        raise Conflict(f"only a failed job can be queued again; this one is {word(record.state)}")
    return json_response(await describe(gateway, await _visible(request)), 202)


async def _visible(request: web.Request, job_id: str = "") -> JobRecord:
    """The job, if it is the tenant's own; without keys everybody on this machine sees all.

    Raises:
        JobNotFound: and nothing tells whether somebody else has it.
    """
    gateway = request.app[GATEWAY]
    job_id = job_id or request.match_info["id"]
    record = await gateway.queue.record(job_id) if ID.fullmatch(job_id) else None
    if record is None or (gateway.keys and record.tenant != request[CREDENTIAL].tenant):
        raise JobNotFound
    request[JOB_ID] = job_id
    request[QUEUED] = True
    return record


def _wait(eta: float | None) -> dict[str, str]:
    """When to ask again: a job that waits long need not be asked about each second."""
    return {"Retry-After": str(round(min(max(1.0, eta or 0.0), 30.0)))}


ROUTES = [
    web.post("/v1/jobs", create),
    web.get("/v1/jobs/{id}", show),
    web.delete("/v1/jobs/{id}", cancel),
    web.get("/v1/jobs/{id}/result", result),
    web.get("/v1/jobs/{id}/events", events, allow_head=False),
    web.post("/v1/jobs/{id}/requeue", requeue),
]

_EXAMPLE = {"url": "/completion", "body": {"prompt": "Once upon a time", "n_predict": 64}}
_WHOSE = "A job belongs to the tenant whose key queued it; to everybody else it does not exist."

_NULLABLE = ("eta", "position")
"""While nobody can tell."""


def example() -> dict[str, Any]:
    """A job, for the pages about the API."""
    job = Job.new("smollm2-135m-instruct", read(_EXAMPLE, 60.0).params, deadline=1795510001.9, priority=Priority.BATCH)
    return described(queued(job), Place(3, 12.5)) | {
        "id": "01a2079604ec22a86933a141c825706c",
        "created": 1795423601.9,
    }


API = (
    Operation(
        method="POST",
        paths=("/v1/jobs",),
        summary="Queues in the background what a route would answer.",
        notes="Fields that are not named here are refused. With an `Idempotency-Key` a repeated request gets the first "
        "one's job.",
        fields=FIELDS,
        example=_EXAMPLE,
        answer=example,
        nullable=_NULLABLE,
        statuses=(202,),
        errors=(*OF_EVERY_JOB, KeyReused, Unsupported),
    ),
    Operation(
        method="GET",
        paths=("/v1/jobs/{id}",),
        summary="Tells the state of a job, and while it waits its place and the expected seconds.",
        notes=_WHOSE,
        answer=example,
        nullable=_NULLABLE,
        errors=(*OF_EVERY_ROUTE, JobNotFound),
    ),
    Operation(
        method="DELETE",
        paths=("/v1/jobs/{id}",),
        summary="Cancels a job; 202 if its worker has to be told first.",
        notes=_WHOSE,
        answer=example,
        nullable=_NULLABLE,
        statuses=(200, 202),
        errors=(*OF_EVERY_ROUTE, JobNotFound, Conflict),
    ),
    Operation(
        method="GET",
        paths=("/v1/jobs/{id}/result",),
        summary="The answer of a job that is done, as its route would have given it; the error of one that failed.",
        notes=_WHOSE,
        answers=dict[str, Any] | list[Any],
        errors=(*OF_EVERY_ROUTE, JobNotFound, JobUnfinished, ContextExceeded, JobCancelled, Unsupported),
    ),
    Operation(
        method="GET",
        paths=("/v1/jobs/{id}/events",),
        summary="What a job has said and says, as server-sent events up to its end; 204 after that.",
        notes="The header `Last-Event-ID` means the same as `after`.",
        query={"after": "the id of the last event that the client has"},
        answers=None,
        statuses=(200, 204),
        streams="text/event-stream",
        errors=(*OF_EVERY_ROUTE, JobNotFound),
    ),
    Operation(
        method="POST",
        paths=("/v1/jobs/{id}/requeue",),
        summary="Queues a failed job again, with all its attempts.",
        notes=f"{_WHOSE} It counts against the key's limits as a new request does.",
        answer=example,
        nullable=_NULLABLE,
        statuses=(202,),
        errors=(*OF_EVERY_ROUTE, JobNotFound, Conflict, TooMany),
    ),
)
