"""Control of a chat completion that is running: its reasoning can be ended, so that the answer begins."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from velesio.http.fields import of
from velesio.http.gateway import CREDENTIAL, GATEWAY
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.wire import bad_field, convert, json_response, read_object

_END = "reasoning_end"
_ID = re.compile(r"(?:[a-z]+[-_])?([0-9a-f]{32})")


class Body(msgspec.Struct):
    """The fields of an order."""

    id: str = ""
    action: str = ""
    model: str = ""


def job_of(raw: Mapping[str, Any]) -> str:
    """The job that an order is about.

    Raises:
        BadRequest: naming the field.
    """
    body = convert(raw, Body)
    if body.action != _END:
        raise bad_field("action", f"expected {_END!r}")
    found = _ID.fullmatch(body.id)
    if found is None:
        raise bad_field("id", "expected the id of a chat completion, as its chunks have it: chatcmpl-…")
    return found.group(1)


async def control(request: web.Request) -> web.Response:
    """`POST /v1/chat/completions/control`."""
    gateway = request.app[GATEWAY]
    job_id = job_of(await read_object(request, gateway.server.max_body))
    record = await gateway.queue.record(job_id)
    # Somebody else's is as good as none.
    visible = record is not None and (not gateway.keys or record.tenant == request[CREDENTIAL].tenant)
    if visible and await gateway.queue.conclude(job_id):
        return json_response({"success": True})
    return json_response({"success": False, "message": "no such completion is running"})


_PATHS = ("/v1/chat/completions/control", "/chat/completions/control")
ROUTES = [web.post(path, control) for path in _PATHS]

API = (
    Operation(
        method="POST",
        paths=_PATHS,
        summary="Ends the reasoning of a completion that is running, so that its answer begins.",
        notes="Of several choices the first one's. `success` tells whether its worker was told; an answer that does "
        "not reason goes on as it is.",
        fields=of(
            Body,
            id="of the completion, as its chunks have it",
            action=f"`{_END}`",
            model="accepted; the id is enough",
        ),
        example={"id": "chatcmpl-" + "0" * 32, "action": _END},
        answer=lambda: {"success": True},
        errors=OF_EVERY_ROUTE,
    ),
)
