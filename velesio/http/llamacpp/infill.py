"""llama.cpp's `/infill`: code between two pieces of code."""

from collections.abc import Mapping
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import ContextExceeded, Unsupported
from velesio.http.fields import Fields, of, refuse
from velesio.http.form import Form
from velesio.http.gateway import GATEWAY
from velesio.http.llamacpp import completion
from velesio.http.llamacpp.completion import Asked
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.http.text.generation import GENERATION, SAMPLING, generation_of
from velesio.http.text.grammar import grammar_of
from velesio.http.text.logprobs import probs_of
from velesio.http.wire import bad_field, convert, read_object
from velesio.jobs import Infill


class _Extra(msgspec.Struct):
    text: str
    filename: str = ""


class Body(msgspec.Struct):
    """The fields that a completion does not have; both ends are required, and may be empty."""

    input_prefix: str | None = None
    input_suffix: str | None = None
    input_extra: list[_Extra] = []
    prompt: str = ""


FIELDS: Fields = {
    **of(
        Body,
        input_prefix="the text before the gap; required, and may be empty",
        input_suffix="the text after it; required, and may be empty",
        input_extra='other files, `{"filename", "text"}`, for models that were trained with them',
        prompt="what the gap begins with",
    ),
    **completion.OWN,
}


def read(raw: Mapping[str, Any]) -> Asked:
    """A request from its body.

    Raises:
        BadRequest: naming the field.
        Unsupported: it asks for something that is not there yet.
    """
    refuse(raw, FIELDS)
    body = convert(raw, Body)
    if body.input_prefix is None or body.input_suffix is None:
        missing = "input_prefix" if body.input_prefix is None else "input_suffix"
        raise bad_field(missing, "is required: the text on that side of the gap, which may be empty")
    generation = generation_of(raw, grammar_of(raw), probs_of(raw), tells_settings=True)
    params = generation.each(
        Infill,
        prefix=body.input_prefix,
        suffix=body.input_suffix,
        prompt=body.prompt,
        extra=tuple((extra.filename, extra.text) for extra in body.input_extra),
    )
    return Asked(generation=generation, params=params, body=convert(raw, completion.Body), openai="max_tokens" in raw)


async def infill(request: web.Request) -> web.StreamResponse:
    """`POST /infill`: as `/completion` answers."""
    return await completion.answer(request, read(await read_object(request, request.app[GATEWAY].server.max_body)))


FORMS: Mapping[str, Form] = {"/infill": Form(read, completion.write)}
"""By path."""

ROUTES = [web.post("/infill", infill)]

API = (
    Operation(
        method="POST",
        paths=("/infill",),
        summary="Fills the gap between two pieces of code; answers as `/completion` does.",
        notes="501 for models that have no tokens for the ends of a gap (`meta.fills_gaps` in `GET /models`).",
        fields=FIELDS,
        groups=(GENERATION, SAMPLING),
        example={"input_prefix": "def add(a, b):\n    return ", "input_suffix": "\n", "n_predict": 8},
        streams="text/event-stream",
        errors=(*OF_EVERY_JOB, ContextExceeded, Unsupported),
    ),
)
