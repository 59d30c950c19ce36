"""The routes of A1111's agent scheduler: its tasks are background jobs, which `/v1/jobs` knows as well."""

from collections.abc import Mapping
from typing import Any, NoReturn

from aiohttp import web

from velesio.errors import Conflict, JobCancelled, JobNotFound, JobUnfinished, NoWorker, Unprocessable, Unsupported
from velesio.http.access.limits import again
from velesio.http.background import jobs as background
from velesio.http.dispatch import error_of
from velesio.http.fields import Fields, given
from velesio.http.forms import FORMS
from velesio.http.gateway import CREDENTIAL, GATEWAY, JOB_ID
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.origin import Origin
from velesio.http.sdapi.drawing import ERRORS, body_of
from velesio.http.sdapi.fields import BY_KIND, Kind
from velesio.http.sdapi.options import MODEL
from velesio.http.sdapi.pictures import address
from velesio.http.sdapi.values import coerced, read
from velesio.http.wire import encode, json_response
from velesio.jobs import Cancelled, Completed, Failed, ImageResult, JobState, Priority
from velesio.queue.client import JobRecord
from velesio.queue.ledger import Ledger

ROOT = "/agent-scheduler/v1"
_PENDING = (JobState.SCHEDULED, JobState.QUEUED)
_WORDS: Mapping[JobState, str] = {
    JobState.SCHEDULED: "pending",
    JobState.QUEUED: "pending",
    JobState.RUNNING: "running",
    JobState.DONE: "done",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "interrupted",
}
_PICTURES = {"init_images", "mask", "latent_mask", "alwayson_scripts"}
"""Fields that are not told again: they may hold pictures."""
_MOST = 100
"""Tasks in one answer."""
_SEEN = 1000
"""Tasks that a list can reach."""

FIELDS: Fields = {
    "checkpoint": given(str, "the model, as `override_settings` has it"),
    "vae": given(str, "the same for the VAE"),
    "callback_url": given(str, "an address that is told of the task's end; its host must be one of `webhooks.hosts`"),
}


async def queue_txt2img(request: web.Request) -> web.Response:
    """`POST /agent-scheduler/v1/queue/txt2img`."""
    return await _queue(request, "txt2img")


async def queue_img2img(request: web.Request) -> web.Response:
    """`POST /agent-scheduler/v1/queue/img2img`."""
    return await _queue(request, "img2img")


async def _queue(request: web.Request, kind: Kind) -> web.Response:
    raw = await body_of(request)
    values = read(raw, FIELDS)
    chosen = {MODEL: values["checkpoint"], "sd_vae": values["vae"]}
    overrides = raw.get("override_settings") or {}
    if not isinstance(overrides, dict):
        raise Unprocessable("override_settings: value is not a valid dict", param="override_settings")
    body = {name: value for name, value in raw.items() if name not in FIELDS}
    body["override_settings"] = overrides | {key: value for key, value in chosen.items() if value}
    task = await _submitted(request, f"/sdapi/v1/{kind}", body, values["callback_url"] or "")
    return json_response({"task_id": task})


async def _submitted(request: web.Request, url: str, body: Mapping[str, Any], webhook: str = "") -> str:
    """The id of a task that was queued just now."""
    form = FORMS[url]
    kept = dict(await form.settle(request, body)) if form.settle else dict(body)
    inner = form.read(kept)
    asked = background.Asked(
        origin=Origin(url, encode(kept)),
        model=inner.model,
        params=inner.params[0],
        capability=form.capability,
        priority=Priority.NORMAL,
        seconds=request.app[GATEWAY].server.background_timeout,
        webhook=webhook,
    )
    shown = await background.submit(request, asked)
    found: str = shown["id"]
    return found


async def tasks_in_queue(request: web.Request) -> web.Response:
    """`GET /agent-scheduler/v1/queue`: what waits and what runs."""
    running = await _records(request, (JobState.RUNNING,))
    waiting = (await _records(request, _PENDING))[::-1]
    begin, count = _window(request)
    tasks = [await _task(request, record, begin + place) for place, record in enumerate(waiting[begin : begin + count])]
    current = running[-1].id if running else None
    return json_response(
        {"current_task_id": current, "pending_tasks": tasks, "total_pending_tasks": len(waiting), "paused": False}
    )


async def history(request: web.Request) -> web.Response:
    """`GET /agent-scheduler/v1/history`: what has ended, the last ones first."""
    word = request.query.get("status", "")
    states = tuple(state for state in JobState if state.final and word in {"", "all", _WORDS[state]})
    ended = await _records(request, states) if states else []
    begin, count = _window(request)
    tasks = [await _task(request, record) for record in ended[begin : begin + count]]
    return json_response({"tasks": tasks, "total": len(ended)})


def _window(request: web.Request) -> tuple[int, int]:
    """Where a list begins, and how many it has."""
    begin, count = (
        coerced(request.query.get(name, usual), int, ["query", name])
        for name, usual in (("offset", "0"), ("limit", "20"))
    )
    return max(begin, 0), min(max(count, 0), _MOST)


async def _records(request: web.Request, states: tuple[JobState, ...]) -> list[JobRecord]:
    """The tenant's pictures that are made in the background, the last ones first."""
    ledger = Ledger(request.app[GATEWAY].broker, request[CREDENTIAL].tenant)
    found, _ = await ledger.page(_SEEN, states=states)
    return [record for record in found if record.capability == "image"]


async def _task(request: web.Request, record: JobRecord, position: int | None = None) -> dict[str, Any]:
    """A task as the extension tells it; times in milliseconds."""
    origin = Origin.unpacked(await request.app[GATEWAY].queue.request(record.id))
    body = origin.raw() if origin else {}
    error = error_of(record.result).message if isinstance(record.result, Failed | Cancelled) else None
    return {
        "id": record.id,
        "api_task_id": record.id,
        "api_task_callback": None,
        "name": body.get("force_task_id"),
        "type": origin.url.rpartition("/")[2] if origin else "",
        "status": _WORDS[record.state],
        "params": {name: value for name, value in body.items() if name not in _PICTURES},
        "priority": round(record.enqueued * 1000),
        "position": position,
        "result": error,
        "bookmarked": False,
        "created_at": round(record.enqueued * 1000),
        "updated_at": round(max(record.enqueued, record.started, record.ended) * 1000),
    }


async def _found(request: web.Request) -> JobRecord:
    """The task of the address.

    Raises:
        JobNotFound: there is none of that key's tenant.
    """
    gateway, task = request.app[GATEWAY], request.match_info["id"]
    record = await gateway.queue.record(task) if background.ID.fullmatch(task) else None
    foreign = record is not None and gateway.keys and record.tenant != request[CREDENTIAL].tenant
    if record is None or foreign or record.capability != "image" or not record.logged:
        raise JobNotFound(f"there is no task {task!r}")
    request[JOB_ID] = record.id
    return record


async def show(request: web.Request) -> web.Response:
    """`GET /agent-scheduler/v1/task/{id}`."""
    return json_response({"success": True, "data": await _task(request, await _found(request))})


async def position(request: web.Request) -> web.Response:
    """`GET /agent-scheduler/v1/task/{id}/position`."""
    record = await _found(request)
    place = await request.app[GATEWAY].queue.place(record.id) if record.state in _PENDING else None
    data = {"status": _WORDS[record.state], "position": place.position if place else None}
    return json_response({"success": True, "data": data})


async def results(request: web.Request) -> web.Response:
    """`GET /agent-scheduler/v1/task/{id}/results`: the pictures of a task that is done."""
    if coerced(request.query.get("zip", "false"), bool, ["query", "zip"]):
        raise Unsupported("pictures are not sent as an archive; ask without zip", param="zip")
    record = await _found(request)
    if not record.state.final:
        raise JobUnfinished(f"the task is {_WORDS[record.state]}; its pictures are not there yet", retry_after=1.0)
    final = await background.final_of(request.app[GATEWAY], record)
    if not isinstance(final, Completed):
        raise error_of(final)
    result = final.result
    if not isinstance(result, ImageResult):
        raise JobNotFound(f"the task {record.id!r} has no pictures")
    texts = (*result.infotexts, *[""] * len(result.pictures))
    pairs = zip(result.pictures, texts, strict=False)
    return json_response(
        {"success": True, "data": [{"image": address(file), "infotext": text} for file, text in pairs]}
    )


async def delete(request: web.Request) -> web.Response:
    """`DELETE /agent-scheduler/v1/task/{id}`: cancels it if it has not ended."""
    record = await _found(request)
    gateway = request.app[GATEWAY]
    if not record.state.final:
        await gateway.queue.cancel(record.id, "its client deleted the task")
    await Ledger(gateway.broker, record.tenant).strike(record.id)
    return json_response({"success": True, "message": "Task is deleted."})


async def requeue(request: web.Request) -> web.Response:
    """`POST /agent-scheduler/v1/task/{id}/requeue`: the same once more; one that failed keeps its id."""
    record = await _found(request)
    gateway = request.app[GATEWAY]
    if not record.state.final:
        raise Conflict(f"the task is {_WORDS[record.state]}; only one that has ended can be queued again")
    task = record.id
    if not await again(request, record):
        origin = Origin.unpacked(await gateway.queue.request(task))
        if origin is None or origin.url not in FORMS:
            raise JobNotFound(f"what the task {task!r} asked for is not kept any more")
        task = await _submitted(request, origin.url, origin.raw())
    return json_response({"success": True, "message": "Task is queued again.", "task_id": task})


async def resume(request: web.Request) -> web.Response:  # noqa: ARG001
    """`POST /agent-scheduler/v1/queue/resume`: it never rests."""
    return json_response({"success": True, "message": "Queue is resumed."})


async def clear(request: web.Request) -> web.Response:
    """`POST /agent-scheduler/v1/queue/clear`: cancels the tasks that wait."""
    for record in await _records(request, _PENDING):
        await request.app[GATEWAY].queue.cancel(record.id, "its client cleared the queue")
    return json_response({"success": True, "message": "Queue is cleared."})


async def refused(request: web.Request) -> NoReturn:  # noqa: ARG001
    """What would touch the order of all tenants' jobs, or is kept nowhere."""
    raise Unsupported("jobs are served by fair shares, not by hand; tasks can be queued, deleted and queued again")


_REFUSED = (f"{ROOT}/queue/pause", f"{ROOT}/task/{{id}}/run", f"{ROOT}/task/{{id}}/move/{{over}}",
            f"{ROOT}/task/{{id}}/bookmark", f"{ROOT}/task/{{id}}/unbookmark")  # fmt: skip

ROUTES = [
    web.post(f"{ROOT}/queue/txt2img", queue_txt2img),
    web.post(f"{ROOT}/queue/img2img", queue_img2img),
    web.get(f"{ROOT}/queue", tasks_in_queue),
    web.get(f"{ROOT}/history", history),
    web.get(f"{ROOT}/task/{{id}}", show),
    web.get(f"{ROOT}/task/{{id}}/position", position),
    web.get(f"{ROOT}/task/{{id}}/results", results),
    web.delete(f"{ROOT}/task/{{id}}", delete),
    web.post(f"{ROOT}/task/{{id}}/requeue", requeue),
    web.post(f"{ROOT}/queue/resume", resume),
    web.post(f"{ROOT}/queue/clear", clear),
    *(web.post(path, refused) for path in _REFUSED),
]

_ID = "01a2079604ec22a86933a141c825706c"
_SHOWN = {
    "id": _ID, "api_task_id": _ID, "api_task_callback": None, "name": None, "type": "txt2img", "status": "done",
    "params": {"prompt": "a red fox"}, "priority": 1795423601900, "position": None, "result": None,
    "bookmarked": False, "created_at": 1795423601900, "updated_at": 1795423604100,
}  # fmt: skip
_WINDOW = {"limit": f"tasks in the answer, at most {_MOST} (20)", "offset": "tasks that are passed over (0)"}
_OF_A_TASK = (*OF_EVERY_ROUTE, JobNotFound)
_DONE = {"success": True, "message": "Task is deleted."}
_EXAMPLES: Mapping[Kind, Mapping[str, Any]] = {
    "txt2img": {"prompt": "a red fox", "steps": 20, "width": 64, "height": 64},
    "img2img": {"prompt": "a red fox", "init_images": ["iVBORw0KGgo="]},
}


def _queueing(kind: Kind) -> Operation:
    return Operation(
        method="POST",
        paths=(f"{ROOT}/queue/{kind}",),
        summary=f"Queues in the background what `POST /sdapi/v1/{kind}` would draw, and answers with the task's id.",
        notes="The fields of that route, and three more. All iterations are one job; scripts that draw tables are "
        "refused.",
        fields={**BY_KIND[kind], **FIELDS},
        example=_EXAMPLES[kind],
        answer=lambda: {"task_id": _ID},
        errors=(*ERRORS, NoWorker),
    )


def _told(method: str, path: str, summary: str, answer: Any, **more: Any) -> Operation:
    return Operation(
        method=method,
        paths=(f"{ROOT}{path}",),
        summary=summary,
        answer=lambda: answer,
        answers=Any,
        **({"errors": (*_OF_A_TASK, Unprocessable)} | more),
    )


API = (
    _queueing("txt2img"),
    _queueing("img2img"),
    _told("GET", "/queue", "The tenant's tasks that wait, and the one that runs.",
          {"current_task_id": None, "pending_tasks": [_SHOWN | {"status": "pending", "position": 0}],
           "total_pending_tasks": 1, "paused": False}, query=_WINDOW),
    _told("GET", "/history", "The tenant's tasks that have ended, for as long as they are kept.",
          {"tasks": [_SHOWN], "total": 1}, query={**_WINDOW, "status": "done, failed, interrupted or all"}),
    _told("GET", "/task/{id}", "One task.", {"success": True, "data": _SHOWN}),
    _told("GET", "/task/{id}/position", "Its state, and how many jobs are ahead of it while it waits.",
          {"success": True, "data": {"status": "pending", "position": 3}}),
    _told("GET", "/task/{id}/results", "Its pictures with their texts; 409 before its end.",
          {"success": True, "data": [{"image": "data:image/png;base64,iVBORw0KGgo=", "infotext": "a red fox"}]},
          query={"zip": "true is refused"},
          errors=(*_OF_A_TASK, Unprocessable, JobUnfinished, JobCancelled, Unsupported)),
    _told("DELETE", "/task/{id}", "Cancels it if it has not ended, and strikes it off the lists.", _DONE),
    _told("POST", "/task/{id}/requeue", "Queues the same once more; `task_id` is the task that does it.",
          _DONE | {"message": "Task is queued again.", "task_id": _ID}, errors=(*ERRORS, JobNotFound)),
    _told("POST", "/queue/resume", "Nothing: it is never paused.", _DONE | {"message": "Queue is resumed."}),
    _told("POST", "/queue/clear", "Cancels the tenant's tasks that wait.", _DONE | {"message": "Queue is cleared."}),
    Operation(
        method="POST",
        paths=_REFUSED,
        summary="Refused: jobs are served by fair shares between tenants, and tasks are kept as long as all jobs.",
        statuses=(501,),
        errors=(*OF_EVERY_ROUTE, Unsupported),
    ),
)  # fmt: skip
