"""Lists of jobs: `GET /v1/jobs`."""

import asyncio

from aiohttp import web

from velesio.errors import BadRequest
from velesio.http.background.descriptions import describe
from velesio.http.background.jobs import ID, example
from velesio.http.gateway import CREDENTIAL, GATEWAY
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.wire import json_response, number_in
from velesio.jobs import JobState
from velesio.queue.ledger import Ledger

MOST = 100
_LIMIT = 20
_STATES = {state.name.lower(): state for state in JobState}


async def list_jobs(request: web.Request) -> web.Response:
    """`GET /v1/jobs`: the tenant's background jobs, the last ones first."""
    gateway = request.app[GATEWAY]
    states = [_state(name) for name in request.query.getall("state", [])]
    ledger = Ledger(gateway.broker, request[CREDENTIAL].tenant)
    records, more = await ledger.page(_limit(request.query.get("limit", "")), _after(request), states)
    jobs = await asyncio.gather(*(describe(gateway, record) for record in records))
    return json_response({"object": "list", "data": jobs, "has_more": more})


def _state(name: str) -> JobState:
    if name not in _STATES:
        raise BadRequest(f"state: expected one of {', '.join(_STATES)}", param="state")
    return _STATES[name]


def _limit(text: str) -> int:
    if not text:
        return _LIMIT
    limit = number_in(text)
    if limit is None or not 1 <= limit <= MOST:
        raise BadRequest(f"limit: expected a number from 1 to {MOST}", param="limit")
    return limit


def _after(request: web.Request) -> str:
    after = request.query.get("after", "")
    if after and not ID.fullmatch(after):
        raise BadRequest("after: expected the id of a job", param="after")
    return after


ROUTES = [web.get("/v1/jobs", list_jobs)]

API = (
    Operation(
        method="GET",
        paths=("/v1/jobs",),
        summary="Lists the tenant's background jobs, the last ones first.",
        notes="A page that is not the last one says `has_more`; the next begins `after` its last job. The broker knows "
        "a job for as long as its result is kept.",
        query={
            "limit": f"jobs at most, up to {MOST}; {_LIMIT}",
            "after": "the id of a job: those that came before it",
            "state": f"only those in this state, may be repeated: {', '.join(_STATES)}",
        },
        answer=lambda: {"object": "list", "data": [example()], "has_more": False},
        nullable=("eta", "position", "started", "ended", "error"),
        errors=OF_EVERY_ROUTE,
    ),
)
