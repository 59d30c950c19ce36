"""A1111's progress, interrupt and skip, of the key that asks alone."""

from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import Unprocessable
from velesio.http.fields import Fields, of
from velesio.http.gateway import GATEWAY
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.sdapi.drawing import body_of, owner_of
from velesio.http.sdapi.live import LIVE, Running
from velesio.http.sdapi.pictures import address, encoded
from velesio.http.sdapi.values import coerced, read
from velesio.http.wire import json_response


def _task(request: web.Request) -> str:
    return request.query.get("id_task", "")


async def progress(request: web.Request) -> web.Response:
    """`GET /sdapi/v1/progress`: of the oldest request that has begun, else of the oldest."""
    skip = coerced(request.query.get("skip_current_image", "false"), bool, ["query", "skip_current_image"])
    mine = request.app[LIVE].of(owner_of(request), _task(request))
    running = next((each for each in mine if each.begun), mine[0] if mine else None)
    return json_response(told(running, picture=not skip))


def told(running: Running | None, *, picture: bool) -> dict[str, Any]:
    """Progress as `/sdapi/v1/progress` tells it; of nothing, that nothing runs."""
    if running is None:
        return _answer(0.0, 0.0, _state(None), None)
    preview = encoded(running.preview) if picture and running.preview else None
    return _answer(running.progress, running.eta, _state(running), preview)


def _answer(progress: float, eta: float, state: dict[str, Any], picture: str | None) -> dict[str, Any]:
    return {
        "progress": progress, "eta_relative": eta, "state": state, "current_image": picture, "textinfo": None,
    }  # fmt: skip


def _state(running: Running | None) -> dict[str, Any]:
    over = sum(each.over for each in running.rounds) if running else 0
    return {
        "skipped": bool(running and running.skipped),
        "interrupted": bool(running and running.interrupted),
        "stopping_generation": False,
        "job": running.task if running else "",
        "job_count": len(running.rounds) if running else 0,
        "job_timestamp": running.stamp if running else "0",
        "job_no": over,
        "sampling_step": running.current.done if running else 0,
        "sampling_steps": (running.current.total or running.steps) if running else 0,
    }


async def interrupt(request: web.Request) -> web.Response:
    """`POST /sdapi/v1/interrupt`: what has begun ends, and is answered with what there is."""
    await _stop(request, all_rounds=True)
    return json_response({})


async def skip(request: web.Request) -> web.Response:
    """`POST /sdapi/v1/skip`: as interrupt, but further iterations are drawn."""
    await _stop(request, all_rounds=False)
    return json_response(None)


async def _stop(request: web.Request, *, all_rounds: bool) -> None:
    task = _task(request)
    for running in request.app[LIVE].of(owner_of(request), task):
        # Who names a request means it, even while it waits.
        if running.begun or task:
            for job_id in running.stop(all_rounds=all_rounds):
                await request.app[GATEWAY].queue.cancel(job_id, "its client stopped it")


class Query(msgspec.Struct):
    """The fields of `/internal/progress`."""

    id_task: str
    id_live_preview: int = -1
    live_preview: bool = True


QUERY: Fields = of(
    Query,
    id_task="the `force_task_id` of a request",
    id_live_preview="of the preview that the client has",
    live_preview="whether it wants a newer one",
)


async def internal_progress(request: web.Request) -> web.Response:
    """`POST /internal/progress`: of one request by its name."""
    asked = Query(**read(await body_of(request), QUERY))
    live, owner = request.app[LIVE], owner_of(request)
    found = live.of(owner, asked.id_task) if asked.id_task else []
    completed = not found and live.ended(owner, asked.id_task)
    place = ""
    if found and not found[0].begun:
        place = await _place_of(request, found[0])
    return json_response(described(found[0] if found else None, asked, completed=completed, place=place))


async def _place_of(request: web.Request, running: Running) -> str:
    """Of a request that waits, its number and how many wait with it; empty: nobody knows."""
    gateway = request.app[GATEWAY]
    current = running.current
    found = await gateway.queue.place(current.job_id)
    if found.position is None:
        return ""
    models = (await gateway.queue.status()).models
    depth = sum(sum(each.waiting) for each in models if (each.capability, each.model) == ("image", current.model))
    return f"{found.position + 1}/{max(depth, found.position + 1)}"


def described(running: Running | None, asked: Query, *, completed: bool, place: str = "") -> dict[str, Any]:
    """The answer of `/internal/progress`. A preview's number is the step that it shows."""
    answer: dict[str, Any] = {
        "active": running is not None and running.begun,
        "queued": running is not None and not running.begun,
        "completed": completed,
        "progress": None,
        "eta": None,
        "live_preview": None,
        "id_live_preview": asked.id_live_preview,
        "textinfo": "Waiting...",
    }
    if running is None:
        return answer
    if not running.begun:
        return answer | {"textinfo": f"In queue: {place}" if place else "Waiting..."}
    answer |= {"progress": running.progress, "eta": running.eta, "textinfo": None}
    number = running.current.done
    if asked.live_preview and running.preview and number != asked.id_live_preview:
        answer |= {"live_preview": address(running.preview), "id_live_preview": number}
    return answer


async def ping(request: web.Request) -> web.Response:  # noqa: ARG001
    """`GET /internal/ping`."""
    return json_response({})


async def pending(request: web.Request) -> web.Response:
    """`GET /internal/pending-tasks`: those that have not begun."""
    tasks = [each.task for each in request.app[LIVE].of(owner_of(request)) if not each.begun]
    return json_response({"size": len(tasks), "tasks": tasks})


ROUTES = [
    web.get("/sdapi/v1/progress", progress),
    web.post("/sdapi/v1/interrupt", interrupt),
    web.post("/sdapi/v1/skip", skip),
    web.post("/internal/progress", internal_progress),
    web.get("/internal/ping", ping),
    web.get("/internal/pending-tasks", pending),
]

_BY_TASK = {"id_task": "only the request with this `force_task_id`"}


_WAITING = described(None, Query("fox"), completed=True)

API = (
    Operation(
        method="GET",
        paths=("/sdapi/v1/progress",),
        summary="How far the key's own request is: the oldest that has begun; with nothing to do, 0.",
        query={"skip_current_image": "true: without the preview", **_BY_TASK},
        notes="`current_image` is a preview in base64, as the options `live_previews_enable` and "
        "`show_progress_every_n_steps` have them.",
        answer=lambda: told(None, picture=True),
        nullable=("current_image", "textinfo"),
        errors=(*OF_EVERY_ROUTE, Unprocessable),
    ),
    Operation(
        method="POST",
        paths=("/sdapi/v1/interrupt",),
        summary="Stops the key's requests that have begun; each is answered with the pictures that are done and the "
        "last preview of the one that is not.",
        query=_BY_TASK,
        notes="A request that is named stops even while it waits.",
        answer=dict,
        errors=OF_EVERY_ROUTE,
    ),
    Operation(
        method="POST",
        paths=("/sdapi/v1/skip",),
        summary="Stops the current iteration of the key's requests that have begun.",
        query=_BY_TASK,
        answer=lambda: None,
        answers=Any,
        errors=OF_EVERY_ROUTE,
    ),
    Operation(
        method="POST",
        paths=("/internal/progress",),
        summary="How far one request is.",
        fields=QUERY,
        example={"id_task": "fox"},
        answer=lambda: _WAITING,
        nullable=("progress", "eta", "live_preview", "textinfo"),
        errors=(*OF_EVERY_ROUTE, Unprocessable),
    ),
    Operation(
        method="GET", paths=("/internal/ping",), summary="Whether somebody answers.", answer=dict, errors=OF_EVERY_ROUTE
    ),
    Operation(
        method="GET",
        paths=("/internal/pending-tasks",),
        summary="Names of the key's requests that have not begun.",
        answer=lambda: {"size": 1, "tasks": ["fox"]},
        errors=OF_EVERY_ROUTE,
    ),
)
