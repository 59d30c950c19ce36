"""Tenants over HTTP, for administrators: their shares, caps, budgets and models."""

from typing import Annotated, Any

import msgspec
from aiohttp import web

from velesio.config import Limits
from velesio.errors import Conflict, NotFound, Unavailable
from velesio.http.admin.audited import actor_of
from velesio.http.admin.keys import checked_name
from velesio.http.fields import of
from velesio.http.gateway import GATEWAY
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.wire import bad_field, convert, json_response, read_object
from velesio.queue.tenants import Tenant, Tenants


class Body(msgspec.Struct):
    """What can be said of a tenant."""

    weight: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None
    waiting: Annotated[int, msgspec.Meta(ge=1)] | None = None
    models: tuple[str, ...] = ("*",)
    limits: Limits = Limits()


_FIELDS = of(
    Body,
    weight="its share of each queue, against other tenants'; left out: `queue.weights`",
    waiting="jobs that it may have waiting; left out: `queue.tenant_cap`",
    models="names or patterns of the models that its keys may use at most",
    limits="of all its keys together, as a key's; left out: as `[limits.tenant]` says",
)


def _tenants(request: web.Request) -> Tenants:
    return Tenants(request.app[GATEWAY].broker, actor_of(request))


async def listing(request: web.Request) -> web.Response:
    """`GET /admin/tenants`: those that somebody has described."""
    return json_response({"object": "list", "data": [each.described() for each in await _tenants(request).all()]})


async def show(request: web.Request) -> web.Response:
    """`GET /admin/tenants/{name}`."""
    return json_response((await _tenants(request).find(request.match_info["name"])).described())


async def put(request: web.Request) -> web.Response:
    """`PUT /admin/tenants/{name}`: it is as the body says, and else as the configuration does."""
    name = checked_name("name", request.match_info["name"])
    raw = await read_object(request, request.app[GATEWAY].server.max_body)
    for field in raw:
        if field not in _FIELDS:
            raise bad_field(field, f"is not known here; known are {', '.join(_FIELDS)}")
    body = convert(raw, Body)
    changes: dict[str, Any] = {field: getattr(body, field) for field in Body.__struct_fields__}
    return json_response((await _tenants(request).change(name, changes)).described())


async def remove(request: web.Request) -> web.Response:
    """`DELETE /admin/tenants/{name}`: it is as the configuration says. Its keys stay."""
    await _tenants(request).remove(request.match_info["name"])
    return web.Response(status=204)


ROUTES = [
    web.get("/admin/tenants", listing),
    web.get("/admin/tenants/{name}", show),
    web.put("/admin/tenants/{name}", put),
    web.delete("/admin/tenants/{name}", remove),
]

_ERRORS = (*OF_EVERY_ROUTE, Unavailable)
_EXAMPLE = Tenant(name="studio", weight=2.0, waiting=200, limits=Limits(month_gpu_seconds=360000.0))
_NULLABLE = ("weight", "waiting")

API = (
    Operation(
        method="GET",
        paths=("/admin/tenants",),
        summary="The tenants that somebody has described; all others are as the configuration says.",
        answer=lambda: {"object": "list", "data": [_EXAMPLE.described()]},
        nullable=_NULLABLE,
        errors=_ERRORS,
    ),
    Operation(
        method="GET",
        paths=("/admin/tenants/{name}",),
        summary="One of them.",
        answer=_EXAMPLE.described,
        nullable=_NULLABLE,
        errors=(*_ERRORS, NotFound),
    ),
    Operation(
        method="PUT",
        paths=("/admin/tenants/{name}",),
        summary="Describes a tenant, at every gateway within a second: what the body leaves out is as configured.",
        fields=_FIELDS,
        example={"weight": 2.0, "waiting": 200, "limits": {"month_gpu_seconds": 360000}},
        answer=_EXAMPLE.described,
        nullable=_NULLABLE,
        errors=(*_ERRORS, Conflict),
    ),
    Operation(
        method="DELETE",
        paths=("/admin/tenants/{name}",),
        summary="Forgets what was said of a tenant; its keys stay.",
        statuses=(204,),
        answers=None,
        errors=(*_ERRORS, NotFound, Conflict),
    ),
)
