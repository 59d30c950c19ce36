"""Statements: what was used, `GET /usage`: one's own key's, or with the scope `admin` everybody's."""

import csv
import io
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import BadRequest, Forbidden, Unavailable
from velesio.http.access.scopes import ADMIN
from velesio.http.gateway import CREDENTIAL, GATEWAY
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.wire import json_response
from velesio.queue import accounts
from velesio.queue.accounts import Period, Row

_PERIODS: dict[str, Period] = {"day": "day", "hour": "hour"}
_FILTERS = ("key", "tenant", "model")


async def usage(request: web.Request) -> web.Response:
    """`GET /usage`: rows and their sum, as JSON or CSV."""
    rows = await _found(request)
    if _wants_csv(request):
        text = io.StringIO()
        csv.writer(text).writerows(accounts.table(rows))
        headers = {"Content-Disposition": 'attachment; filename="usage.csv"', "Cache-Control": "no-store"}
        return web.Response(text=text.getvalue(), content_type="text/csv", charset="utf-8", headers=headers)
    return json_response(_described(rows))


async def _found(request: web.Request) -> list[Row]:
    gateway, query = request.app[GATEWAY], request.query
    period = _PERIODS.get(query.get("by", "day"))
    if period is None:
        raise BadRequest("by: expected day or hour", param="by")
    most = accounts.longest(gateway.broker, period)
    try:
        first, last = accounts.days(query.get("from", ""), query.get("to", ""), datetime.now(UTC), most)
    except ValueError as error:
        raise BadRequest(str(error), param=str(error).partition(":")[0]) from None
    wanted = _wanted(request)
    rows = await accounts.read(gateway.broker, period, first, last)
    return [row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())]


def _wanted(request: web.Request) -> dict[str, str]:
    """Which rows; those of other keys are for administrators."""
    credential = request[CREDENTIAL]
    wanted = {name: request.query[name] for name in _FILTERS if request.query.get(name)}
    if ADMIN in credential.scopes:
        return wanted
    if (
        wanted.get("key", credential.id) != credential.id
        or wanted.get("tenant", credential.tenant) != credential.tenant
    ):
        raise Forbidden("this key may see its own usage only; the scope 'admin' sees everybody's", param="key")
    return wanted | {"key": credential.id, "tenant": credential.tenant}


def _wants_csv(request: web.Request) -> bool:
    wanted = request.query.get("format") or ("csv" if "text/csv" in request.headers.get("Accept", "") else "json")
    if wanted not in {"csv", "json"}:
        raise BadRequest("format: expected json or csv", param="format")
    return wanted == "csv"


def _described(rows: list[Row]) -> dict[str, Any]:
    summed = msgspec.to_builtins(accounts.total(rows))
    for name in ("start", *_FILTERS):
        del summed[name]
    return {"object": "usage", "data": msgspec.to_builtins(rows), "total": summed}


def _answer() -> dict[str, Any]:
    row = Row(
        start="2026-11-25", key="k3v9x0a1bc", tenant="studio", model="smollm2-135m-instruct", requests=12, failed=1,
        prompt_tokens=3400, completion_tokens=1210, cached_tokens=900, images=0, gpu_seconds=41.25,
    )  # fmt: skip
    return _described([row])


ROUTES = [web.get("/usage", usage)]

API = (
    Operation(
        method="GET",
        paths=("/usage",),
        summary="What was used: requests, tokens, pictures and engines' time by day, key, tenant and model.",
        notes="A key sees its own usage, one with the scope `admin` everybody's. `Accept: text/csv` means the same as "
        "`format=csv`.",
        query={
            "from": "the first day, like 2027-01-01, UTC; thirty days before the last, of hours a week",
            "to": "the last day; today",
            "by": "`day` or `hour`",
            "key": "of one key alone: its id",
            "tenant": "of one tenant alone",
            "model": "of one model alone",
            "format": "`json` or `csv`",
        },
        answer=_answer,
        streams="text/csv",
        errors=(*OF_EVERY_ROUTE, Unavailable),
    ),
)
