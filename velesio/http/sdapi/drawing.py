"""A1111's API: pictures from texts and from pictures."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from aiohttp import web

from velesio.backends.base import ModelCard
from velesio.errors import Conflict, JobCancelled, Unprocessable, Unsupported, VelesioError
from velesio.http.access.limits import ADMISSION, Admission
from velesio.http.dispatch import Answers, checked, jobs_of
from velesio.http.fetching import drawn_slots
from velesio.http.fields import Fields
from velesio.http.finding import find_model, visible_cards
from velesio.http.form import Form
from velesio.http.gateway import BODY, CREDENTIAL, GATEWAY, JOB_ID
from velesio.http.idempotency import answers_to
from velesio.http.operations import OF_EVERY_JOB, Group, Operation
from velesio.http.origin import Origin
from velesio.http.sdapi import answers as sdapi_answers
from velesio.http.sdapi import sheets as sdapi_sheets
from velesio.http.sdapi.answers import NO_SHEETS, Drawn
from velesio.http.sdapi.fields import BY_KIND, COMMON, Kind
from velesio.http.sdapi.live import LIVE, Live, Owner, Round, Running
from velesio.http.sdapi.models import meant
from velesio.http.sdapi.requests import Asked, read, read_one, settled
from velesio.http.sdapi.styles import STYLES, Styles
from velesio.http.sdapi.values import parse
from velesio.http.wire import encode, fetched, json_response, read_bytes
from velesio.jobs import ImageResult, Job
from velesio.queue import choices


def owner_of(request: web.Request) -> Owner:
    """Whose progress, options and requests these are."""
    credential = request[CREDENTIAL]
    return credential.tenant, credential.id


def setup(app: web.Application) -> None:
    """What the handlers share: the requests under way, and the file of styles."""
    gateway = app[GATEWAY]
    app[LIVE] = Live()
    app[STYLES] = Styles(gateway.server.models_dir / gateway.sdapi.styles if gateway.sdapi.styles.name else None)


async def body_of(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request, nulls included, and pictures that it names by address if they may be fetched.

    Raises:
        BodyTooLarge, BadRequest
        Unprocessable: it is none.
    """
    limit = request.app[GATEWAY].server.max_image_body
    request[BODY] = await read_bytes(request, limit, "server.max_image_body")
    return await fetched(request, parse(request[BODY]), drawn_slots)


async def options_of(request: web.Request) -> dict[str, Any]:
    """The options that the client has set."""
    return await choices.read(request.app[GATEWAY].broker, "\0".join(owner_of(request)))


async def keep_options(request: web.Request, changed: Mapping[str, Any]) -> None:
    """Set some of them."""
    await choices.write(request.app[GATEWAY].broker, "\0".join(owner_of(request)), changed)


def image_cards(request: web.Request) -> list[ModelCard]:
    """The image models that the key may use."""
    cards = visible_cards(request.app[GATEWAY].registry, request[CREDENTIAL])
    return [card for card in cards if card.capability == "image"]


async def find_image_model(request: web.Request, name: str) -> ModelCard:
    """The model that one of its names means.

    Raises:
        ModelNotFound, NoWorker, Forbidden: as `find_model`.
    """
    return await find_model(request, meant(image_cards(request), name) if name else "", "image")


async def txt2img(request: web.Request) -> web.Response:
    """`POST /sdapi/v1/txt2img`."""
    return await _answer(request, "txt2img")


async def img2img(request: web.Request) -> web.Response:
    """`POST /sdapi/v1/img2img`."""
    return await _answer(request, "img2img")


async def _answer(request: web.Request, kind: Kind) -> web.Response:
    return json_response(await drawn_of(request, kind, await body_of(request)))


async def drawn_of(request: web.Request, kind: Kind, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a body, with the options that the client has set and the styles that there are.

    Raises:
        VelesioError: it was refused, or a job failed.
    """
    stored, styles = await options_of(request), request.app[STYLES].read()
    asked = read(kind, {"lenient": request.app[GATEWAY].sdapi.lenient} | dict(raw), stored, styles)
    kept = await settle(kind, request, raw) if len(asked.params) == 1 and asked.table is None else None
    return await draw(request, asked, Origin(f"/sdapi/v1/{kind}", encode(kept)).packed() if kept else b"")


async def settle(kind: Kind, request: web.Request, raw: Mapping[str, Any]) -> dict[str, Any]:
    """A body that means later, and to whoever reads it, what it means now to this client."""
    lenient = request.app[GATEWAY].sdapi.lenient
    return settled(kind, raw, await options_of(request), request.app[STYLES].read(), lenient=lenient)


async def draw(request: web.Request, asked: Asked, origin: bytes = b"") -> dict[str, Any]:
    """The pictures of a request, as A1111 tells them. A client that leaves cancels its jobs, unless it may come back
    with its `Idempotency-Key`; `origin` is what a single job then keeps of the request.

    Raises:
        VelesioError: the request was refused, or a job failed.
    """
    cards = {name: await find_image_model(request, name) for name in dict.fromkeys(asked.models)}
    jobs = [
        jobs_of(request, cards[name].name, [params], stream=True)[0]
        for name, params in zip(asked.models, asked.params, strict=True)
    ]
    running = Running(asked.task, jobs, asked.params[0].steps)
    async with AsyncExitStack() as stack:
        stack.enter_context(request.app[LIVE].following(owner_of(request), running))
        admissions = await _admissions(request, jobs)
        all_answers = []
        for index, job in enumerate(jobs):
            request[ADMISSION] = admissions[job.model]
            all_answers.append(await stack.enter_async_context(answers_to(request, [job], first=index, origin=origin)))
        for each, answers in zip(running.rounds, all_answers, strict=True):
            each.job_id = answers.ids[0]
        results = await _follow_all(all_answers, running.rounds)
    if asked.keep:
        await keep_options(request, asked.keep)
    drawn = [
        Drawn(params=params, result=result, preview=each.preview)
        for params, result, each in zip(asked.params, results, running.rounds, strict=True)
    ]
    model = cards[asked.model].name
    del request[ADMISSION]  # it is for those jobs alone
    sheets = await sdapi_sheets.made(request, model, asked.table, drawn) if asked.table else NO_SHEETS
    request[JOB_ID] = all_answers[0].ids[0]
    return sdapi_answers.write(asked, model, drawn, running.stamp, sheets)


async def _admissions(request: web.Request, jobs: Sequence[Job]) -> dict[str, Admission]:
    """Of the jobs for each model, by its name: each counts for the limits of its own."""
    models = dict.fromkeys(job.model for job in jobs)
    return {
        model: await Admission.of(request, [job for job in jobs if job.model == model], beside=number > 0)
        for number, model in enumerate(models)
    }


async def _follow_all(all_answers: Sequence[Answers], rounds: Sequence[Round]) -> list[ImageResult | None]:
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_follow(answers, each)) for answers, each in zip(all_answers, rounds, strict=True)
            ]
    except ExceptionGroup as failed:
        raise _first(failed) from None
    return [task.result() for task in tasks]


def _first(failed: ExceptionGroup[Exception]) -> Exception:
    """The failure that is told: one that Velesio has words for, if there is one."""
    known = [error for error in failed.exceptions if isinstance(error, VelesioError)]
    return (known or failed.exceptions)[0]


async def _follow(answers: Answers, each: Round) -> ImageResult | None:
    """What a job gave; None: its client stopped it."""
    try:
        async for batch in answers:
            for _, event in batch:
                each.see(event)
    except JobCancelled:
        if not each.stopped:
            raise
        return None
    finally:
        each.over = True
    return checked(answers.results[0], ImageResult)


def _form(kind: Kind) -> Form:
    return Form(partial(read_one, kind), sdapi_answers.written, ImageResult, "image", settle=partial(settle, kind))


FORMS: Mapping[str, Form] = {f"/sdapi/v1/{kind}": _form(kind) for kind in BY_KIND}
"""By path."""

ROUTES = [web.post("/sdapi/v1/txt2img", txt2img), web.post("/sdapi/v1/img2img", img2img)]

ERRORS = (*OF_EVERY_JOB, Unprocessable, Unsupported, Conflict)
_SHARED = Group("Fields of both", COMMON)
_PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
_EXAMPLES: Mapping[Kind, dict[str, Any]] = {
    "txt2img": {"prompt": "a red fox", "steps": 20, "width": 64, "height": 64, "seed": 7, "subseed": 1},
    "img2img": {"prompt": "a red fox", "init_images": [_PICTURE], "steps": 20, "seed": 7, "subseed": 1},
}


def _own(kind: Kind) -> Fields:
    return {name: field for name, field in BY_KIND[kind].items() if name not in COMMON}


def _example(kind: Kind) -> dict[str, Any]:
    asked = read(kind, _EXAMPLES[kind], {})
    result = ImageResult((b"\x89PNG",), (7,), (1,), ("a red fox\nSteps: 20, Sampler: Euler, Seed: 7",), 64, 64)
    drawn = [Drawn(params=asked.params[0], result=result)]
    written = sdapi_answers.write(asked, "velesio-demo", drawn, "20261125120000")
    written["parameters"] |= {"force_task_id": None}
    return written


def _operation(kind: Kind, summary: str) -> Operation:
    return Operation(
        method="POST",
        paths=(f"/sdapi/v1/{kind}",),
        summary=summary,
        fields=_own(kind),
        groups=(_SHARED,),
        example=_EXAMPLES[kind],
        answer=lambda: _example(kind),
        nullable=tuple(name for name in BY_KIND[kind]),
        errors=ERRORS,
    )


API = (
    _operation(
        "txt2img",
        "Draws pictures. `info` is JSON as a text; `images` are files whose text says how they were made.",
    ),
    _operation("img2img", "Draws given pictures anew, or a part of them."),
)
