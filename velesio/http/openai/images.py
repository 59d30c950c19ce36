"""OpenAI's images: `/v1/images/generations`, `/v1/images/edits`, `/v1/images/variations`."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from velesio.errors import Unsupported, VelesioError
from velesio.http import sse
from velesio.http.dispatch import checked, jobs_of
from velesio.http.fields import Fields
from velesio.http.finding import find_model
from velesio.http.form import Form
from velesio.http.gateway import GATEWAY
from velesio.http.idempotency import answers_to
from velesio.http.multipart import MEDIA_TYPE, read_form
from velesio.http.openai.images_answers import Frames, write
from velesio.http.openai.images_requests import (
    EDIT,
    GENERATION,
    VARIATION,
    Asked,
    read_edit,
    read_generation,
    read_variation,
)
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.http.wire import json_response
from velesio.jobs import ImageResult

FORMS: Mapping[str, Form] = {
    "/v1/images/generations": Form(read_generation, write, ImageResult, "image"),
    "/v1/images/edits": Form(read_edit, write, ImageResult, "image"),
    "/v1/images/variations": Form(read_variation, write, ImageResult, "image"),
}
"""By path."""

_FIELDS: Mapping[str, Fields] = dict(zip(FORMS, (GENERATION, EDIT, VARIATION), strict=True))
_PARAMS = {
    "batch": "n",
    "width": "size",
    "height": "size",
    "init": "image",
    "inpaint": "mask",
    "cfg": "cfg_scale",
    "form": "output_format",
}
"""What workers call fields that have other names here."""


def _handler(path: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    form, fields = FORMS[path], _FIELDS[path]

    async def handle(request: web.Request) -> web.StreamResponse:
        asked: Asked = form.read(await read_form(request, request.app[GATEWAY].server.max_image_body, fields))
        try:
            return await _answer(request, asked)
        except VelesioError as error:
            error.param = _PARAMS.get(error.param or "", error.param)
            raise

    return handle


async def _answer(request: web.Request, asked: Asked) -> web.StreamResponse:
    card = await find_model(request, asked.model, "image")
    async with answers_to(request, jobs_of(request, card.name, asked.params, stream=asked.stream)) as answers:
        if asked.stream:
            await answers.begin()
            return await sse.respond(request, answers, Frames(asked, card.name, answers.ids[0]))
        result = checked(await answers.only(), ImageResult)
    return json_response(write(asked, card.name, answers.ids[0], [result]))


ROUTES = [web.post(path, _handler(path)) for path in FORMS]

_EXAMPLE = {"prompt": "a red boat on a lake", "size": "256x256", "seed": 7}
_RESULT = ImageResult((b"\x89PNG\r\n\x1a\n",), (7,), width=256, height=256, prompt_tokens=8)
_ERRORS = (*OF_EVERY_JOB, Unsupported)
_UPLOAD = (
    "The body is a form (`multipart/form-data`), or JSON with the same fields. Without a size, the answer has the "
    "given picture's shape and about as many pixels as the model was made for."
)


def _answered() -> Any:
    return write(read_generation(_EXAMPLE), "velesio-demo", "0" * 32, [_RESULT])


API = (
    Operation(
        method="POST",
        paths=("/v1/images/generations",),
        summary="Draws pictures of a prompt; files in base64, which say how they were made as A1111's do.",
        notes="A stream has events `image_generation.partial_image` and, for each picture, "
        "`image_generation.completed`; with several pictures `index` says which one it is. `notes` in an answer says "
        "what was done otherwise than asked. Pictures are not counted in tokens: `usage` counts the prompt's.",
        fields=GENERATION,
        example=_EXAMPLE,
        answer=_answered,
        streams="text/event-stream",
        errors=_ERRORS,
    ),
    Operation(
        method="POST",
        paths=("/v1/images/edits",),
        summary="Changes a picture, or the part of it that a mask shows, by a prompt.",
        notes=f"{_UPLOAD} A stream's events are called `image_edit.…`.",
        body=MEDIA_TYPE,
        fields=EDIT,
        answer=_answered,
        streams="text/event-stream",
        errors=_ERRORS,
    ),
    Operation(
        method="POST",
        paths=("/v1/images/variations",),
        summary="Draws pictures that are like a given one, without a prompt.",
        notes=_UPLOAD,
        body=MEDIA_TYPE,
        fields=VARIATION,
        answer=_answered,
        errors=_ERRORS,
    ),
)
