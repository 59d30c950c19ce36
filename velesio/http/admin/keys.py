"""Keys over HTTP, for administrators: made, changed, rotated, revoked. A secret is in one answer and nowhere else."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from aiohttp import web

from velesio.config import Limits, Scope, Urgency
from velesio.errors import Conflict, NotFound, Unavailable
from velesio.http.admin.audited import actor_of
from velesio.http.fields import of
from velesio.http.gateway import GATEWAY
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.wire import bad_field, convert, json_response, read_object
from velesio.queue.credentials import Credentials, Issued, KeyRecord


class Body(msgspec.Struct):
    """What can be said of a key."""

    name: str = ""
    tenant: str = "default"
    scopes: tuple[Scope, ...] = ("text", "images")
    models: tuple[str, ...] = ("*",)
    limits: Limits = Limits()
    expires: str = ""
    priority: Urgency = "normal"
    priority_max: Urgency = "normal"


class Rotation(msgspec.Struct):
    """How a key is rotated."""

    grace: float = -1.0


_FIELDS = of(
    Body,
    name="what logs and lists call it; required when it is made",
    tenant="whose jobs they are",
    scopes="what it is for: `text`, `images`, `admin`",
    models="names or patterns of the models that it may use",
    limits="any of `requests`, `tokens` (a minute), `concurrent`, `images`, `gpu_seconds` (a day), `month_tokens`, "
    "`month_images`, `month_gpu_seconds` (30 days); 0: none, left out: as `[limits.key]` says",
    expires="until when it is good, in ISO 8601 with a time zone; empty: for ever",
    priority="of its requests, unless they say another: `interactive`, `normal`, `batch`",
    priority_max="what they may say at most in `X-Velesio-Priority`, or a background job in `priority`",
)


def _credentials(request: web.Request) -> Credentials:
    gateway = request.app[GATEWAY]
    return Credentials(gateway.broker, gateway.keys.pepper, actor_of(request))


async def _read(request: web.Request) -> dict[str, Any]:
    """What the body says of a key, as fields of its record."""
    raw = await read_object(request, request.app[GATEWAY].server.max_body)
    return changes_of(raw)


def changes_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a record that a body names.

    Raises:
        BadRequest: naming the field.
    """
    for name in raw:
        if name not in _FIELDS:
            raise bad_field(name, f"is not known here; known are {', '.join(_FIELDS)}")
    body = convert(raw, Body)
    changes = {name: getattr(body, name) for name in raw}
    if "name" in changes:
        checked_name("name", body.name)
    if "tenant" in changes:
        checked_name("tenant", body.tenant)
    if "expires" in changes:
        changes["expires"] = _moment(body.expires) if body.expires else 0.0
    return changes


def checked_name(field: str, name: str) -> str:
    """A name that fits into lists, logs and accounts.

    Raises:
        BadRequest
    """
    if not (1 <= len(name) <= 100 and name.isprintable() and name == name.strip()):
        raise bad_field(field, "has 1 to 100 printable characters and no space at its ends")
    return name


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise bad_field("expires", f"expected a time with its zone, like 2027-01-31T00:00:00Z, but got {text!r}")
    return moment.timestamp()


async def listing(request: web.Request) -> web.Response:
    """`GET /admin/keys`: those that were made; those of the configuration stand there."""
    records = await _credentials(request).all()
    return json_response({"object": "list", "data": [record.described() for record in records]})


async def create(request: web.Request) -> web.Response:
    """`POST /admin/keys`: 201 with the key, the only time that it is told."""
    changes = await _read(request)
    if "name" not in changes:
        raise bad_field("name", "is required")
    issued = await _credentials(request).create(KeyRecord(id="", **changes))
    return json_response(_issued(issued), 201, {"Cache-Control": "no-store"})


async def show(request: web.Request) -> web.Response:
    """`GET /admin/keys/{id}`."""
    return json_response((await _credentials(request).find(request.match_info["id"])).described())


async def change(request: web.Request) -> web.Response:
    """`PATCH /admin/keys/{id}`: the fields that the body names."""
    credentials = _credentials(request)
    record = await credentials.find(request.match_info["id"])
    return json_response((await credentials.change(record.id, await _read(request))).described())


async def revoke(request: web.Request) -> web.Response:
    """`DELETE /admin/keys/{id}`: refused everywhere within a second. Its record stays."""
    policy = request.query.get("streams", "")
    if policy not in {"", "finish", "end"}:
        raise bad_field("streams", "expected finish or end")
    credentials = _credentials(request)
    record = await credentials.find(request.match_info["id"])
    chosen: Literal["", "finish", "end"] = policy  # type: ignore[assignment]  # checked above
    return json_response((await credentials.revoke(record.id, chosen)).described())


async def rotate(request: web.Request) -> web.Response:
    """`POST /admin/keys/{id}/rotate`: a new secret; the last one stays good for a while."""
    raw = await read_object(request, request.app[GATEWAY].server.max_body) if request.can_read_body else {}
    grace = convert(raw, Rotation).grace
    credentials = _credentials(request)
    record = await credentials.find(request.match_info["id"])
    issued = await credentials.rotate(record.id, grace if grace >= 0 else request.app[GATEWAY].keys.access.grace)
    return json_response(_issued(issued), headers={"Cache-Control": "no-store"})


def _issued(issued: Issued) -> dict[str, Any]:
    return issued.record.described() | {"key": issued.token}


ROUTES = [
    web.get("/admin/keys", listing),
    web.post("/admin/keys", create),
    web.get("/admin/keys/{id}", show),
    web.patch("/admin/keys/{id}", change),
    web.delete("/admin/keys/{id}", revoke),
    web.post("/admin/keys/{id}/rotate", rotate),
]

_ERRORS = (*OF_EVERY_ROUTE, Unavailable)
_EXAMPLE = KeyRecord(id="k3v9x0a1bc", name="my-game", tenant="studio", scopes=("text",), created=1795423601.9)
_NULLABLE = ("expires", "revoked", "earlier_secret_until")
_TOKEN = "vk_k3v9x0a1bc_0Zp8…"  # noqa: S105 - an example


API = (
    Operation(
        method="GET",
        paths=("/admin/keys",),
        summary="Every key that was made while servers ran, revoked ones too; never a secret.",
        answer=lambda: {"object": "list", "data": [_EXAMPLE.described()]},
        nullable=_NULLABLE,
        errors=_ERRORS,
    ),
    Operation(
        method="POST",
        paths=("/admin/keys",),
        summary="Makes a key. The answer alone has it, as `key`.",
        fields=_FIELDS,
        example={"name": "my-game", "tenant": "studio", "scopes": ["text"], "limits": {"requests": 600}},
        answer=lambda: _EXAMPLE.described() | {"key": _TOKEN},
        nullable=_NULLABLE,
        statuses=(201,),
        errors=(*_ERRORS, Conflict),
    ),
    Operation(
        method="GET",
        paths=("/admin/keys/{id}",),
        summary="One key, by its id or its name.",
        answer=_EXAMPLE.described,
        nullable=_NULLABLE,
        errors=(*_ERRORS, NotFound),
    ),
    Operation(
        method="PATCH",
        paths=("/admin/keys/{id}",),
        summary="Changes the fields that the body names, at every gateway within a second.",
        fields=_FIELDS,
        example={"limits": {"requests": 0}},
        answer=_EXAMPLE.described,
        nullable=_NULLABLE,
        errors=(*_ERRORS, NotFound, Conflict),
    ),
    Operation(
        method="DELETE",
        paths=("/admin/keys/{id}",),
        summary="Revokes a key: every gateway refuses it within a second. Once more does no harm.",
        query={"streams": "what becomes of its answers under way: `finish` or `end`; as `access.on_revoke` says"},
        answer=_EXAMPLE.described,
        nullable=_NULLABLE,
        errors=(*_ERRORS, NotFound, Conflict),
    ),
    Operation(
        method="POST",
        paths=("/admin/keys/{id}/rotate",),
        summary="Gives a key a new secret, which the answer alone has; the last one stays good for a while.",
        fields=of(Rotation, grace="seconds for which the last secret stays good; below 0: `access.grace`"),
        example={"grace": 3600},
        answer=lambda: _EXAMPLE.described() | {"key": _TOKEN},
        nullable=_NULLABLE,
        errors=(*_ERRORS, NotFound, Conflict),
    ),
)
