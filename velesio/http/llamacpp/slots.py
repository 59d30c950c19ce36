"""llama.cpp's `/slots`: what an engine's slots do, and what they have cached, saved, restored or erased."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import Unavailable, Unsupported
from velesio.http.access import scopes
from velesio.http.dispatch import ask
from velesio.http.fields import of
from velesio.http.finding import find_model
from velesio.http.gateway import BODY, GATEWAY
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.http.wire import INT_MAX, bad_field, convert, json_response, number_in, parse_object, read_bytes, within
from velesio.jobs import Slots, SlotsResult


class Body(msgspec.Struct):
    """The fields of an action."""

    filename: str = ""
    model: str = ""


async def slots(request: web.Request) -> web.Response:
    """`GET /slots`: those of a worker that serves the model (`?model=`); `?fail_on_no_slot=1`: 503 if all are busy."""
    card = await find_model(request, request.query.get("model", ""), "text")
    found = (await ask(request, card.name, Slots(), SlotsResult)).slots
    if request.query.get("fail_on_no_slot"):
        check_free(found)
    return json_response(found)


def check_free(slots: Sequence[Mapping[str, Any]]) -> None:
    """Nothing, if a slot is free.

    Raises:
        Unavailable: all are busy.
    """
    if all(slot.get("is_processing") for slot in slots):
        raise Unavailable("no slot available")


async def act(request: web.Request) -> web.Response:
    """`POST /slots/{id}?action=save|restore|erase`."""
    id_slot = number_in(request.match_info["id"])
    if id_slot is None:
        raise bad_field("id_slot", "expected the number of a slot, as in /slots/0?action=erase")
    number = within("id_slot", id_slot, 0, INT_MAX)
    body = await _body(request)
    job = job_of(request.query.get("action", ""), number, body.filename)
    return await carried_out(request, body.model or request.query.get("model", ""), job)


async def carried_out(request: web.Request, model: str, job: Slots) -> web.Response:
    """The answer to an action.

    Raises:
        Forbidden: several tenants share this server, and the key is no administrator's.
    """
    card = await find_model(request, model, "text")
    scopes.demand_control(request, f"the action {job.action!r} of a slot")
    return json_response(written(job, await ask(request, card.name, job, SlotsResult)))


async def _body(request: web.Request) -> Body:
    """Erasing needs no body."""
    request[BODY] = await read_bytes(request, request.app[GATEWAY].server.max_body)
    return convert(parse_object(request[BODY]) if request[BODY].strip() else {}, Body)


def job_of(action: str, id_slot: int, filename: str) -> Slots:
    """An action as a job.

    Raises:
        BadRequest: there is no such action, or it lacks a file.
    """
    match action:
        case "save" | "restore":
            if not filename:
                raise bad_field("filename", "is required: a plain name in the model's slot_save_path")
            return Slots(action, id_slot, filename)
        case "erase":
            return Slots(action, id_slot)
        case _:
            raise bad_field("action", f"expected one of save, restore, erase, but got {action!r}")


def written(job: Slots, result: SlotsResult) -> dict[str, Any]:
    """The answer to an action."""
    match job.action:
        case "save":
            counts = {"n_saved": result.tokens, "n_written": result.bytes, "timings": {"save_ms": result.ms}}
        case "restore":
            counts = {"n_restored": result.tokens, "n_read": result.bytes, "timings": {"restore_ms": result.ms}}
        case _:
            return {"id_slot": job.id_slot, "n_erased": result.tokens}
    return {"id_slot": job.id_slot, "filename": job.filename, **counts}


ROUTES = [web.get("/slots", slots), web.post("/slots/{id}", act)]

API = (
    Operation(
        method="GET",
        paths=("/slots",),
        summary="Tells what the slots of a worker that serves the model do.",
        query={
            "model": "a name or alias of `GET /models`; the first",
            "fail_on_no_slot": "503 if all of them are busy",
        },
        answer=lambda: [{"id": 0, "n_ctx": 2048, "is_processing": False}],
        answers=list[dict[str, Any]],
        errors=(*OF_EVERY_JOB, Unavailable),
    ),
    Operation(
        method="POST",
        paths=("/slots/{id}",),
        summary="Saves, restores or erases what a slot has cached.",
        notes="Saving needs the model's option `slot_save_path`. A slot that is busy is waited for.",
        query={"action": "`save`, `restore` or `erase`; required"},
        fields=of(
            Body,
            filename="a plain name in the model's `slot_save_path`; required to save and restore",
            model="a name or alias of `GET /models`; empty: the first",
        ),
        example={"filename": "a.bin"},
        answer=lambda: written(Slots("save", 0, "a.bin"), SlotsResult(tokens=2, bytes=46880, ms=1.2)),
        errors=(*OF_EVERY_JOB, Unsupported),
    ),
)
