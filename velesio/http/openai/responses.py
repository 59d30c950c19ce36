"""OpenAI's responses: `/v1/responses`, without a memory of earlier ones, and the count of a request's tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from velesio.errors import ContextExceeded, Unsupported
from velesio.http.form import AsideAsked, Form, aside
from velesio.http.gateway import GATEWAY
from velesio.http.openai import answers
from velesio.http.openai.counting import write_count
from velesio.http.openai.responses_answers import Writer
from velesio.http.openai.responses_requests import FIELDS, Asked, read
from velesio.http.openai.responses_stream import Frames
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.http.text.generation import GENERATION, SAMPLING
from velesio.http.wire import read_object
from velesio.jobs import PromptResult, Render, TextResult, Usage


def write(asked: Asked, model: str, job_id: str, results: Sequence[TextResult]) -> dict[str, Any]:
    """The response without streaming."""
    (result,) = results
    return Writer(asked, model, job_id).whole(result)


def frames(asked: Asked, model: str, job_id: str) -> Frames:
    """The response as a stream."""
    return Frames(Writer(asked, model, job_id))


async def responses(request: web.Request) -> web.StreamResponse:
    """`POST /v1/responses`."""
    asked = read(await read_object(request, request.app[GATEWAY].server.max_body))
    return await answers.answer(request, asked, write, frames)


def read_count(raw: Mapping[str, Any]) -> AsideAsked:
    """A request whose prompt is counted.

    Raises:
        BadRequest: naming the field.
    """
    asked = read(raw)
    return AsideAsked(model=asked.model, params=[Render(asked.params[0])])


_COUNT = Form(read_count, write_count, PromptResult)
_COUNTS: Mapping[str, Form] = dict.fromkeys(("/v1/responses/input_tokens", "/responses/input_tokens"), _COUNT)
_RESPONSES: Mapping[str, Form] = dict.fromkeys(("/v1/responses", "/responses"), Form(read, write))

FORMS: Mapping[str, Form] = {**_RESPONSES, **_COUNTS}
"""By path."""

ROUTES = [
    *(web.post(path, responses) for path in _RESPONSES),
    *(web.post(path, aside(form)) for path, form in _COUNTS.items()),
]

_EXAMPLE = {"model": "smollm2-135m-instruct", "input": "What is the capital of France?", "max_output_tokens": 16}


def _answer() -> Any:
    result = TextResult("The capital of France is Paris.", usage=Usage(37, 8, 30))
    return write(read(_EXAMPLE), "smollm2-135m-instruct", "0" * 32, [result])


API = (
    Operation(
        method="POST",
        paths=tuple(_RESPONSES),
        summary="Answers an input; nothing is kept, so that each request holds the whole conversation.",
        notes="An answer that a limit cut short has `incomplete_details`. Streams are named events, with "
        "`sequence_number`, `output_index` and `content_index`; the last is `response.completed`, with `timings`. "
        "`output_tokens_details` counts reasoning by its share of the text.",
        fields=FIELDS,
        groups=(GENERATION, SAMPLING),
        example=_EXAMPLE,
        answer=_answer,
        nullable=("max_output_tokens", "instructions"),
        streams="text/event-stream",
        errors=(*OF_EVERY_JOB, ContextExceeded, Unsupported),
    ),
    Operation(
        method="POST",
        paths=tuple(_COUNTS),
        summary="Counts the tokens of the prompt that an input becomes.",
        fields=FIELDS,
        example=_EXAMPLE,
        answer=lambda: write_count(AsideAsked(model="", params=[]), "", "", [PromptResult("", 31)]),
        errors=(*OF_EVERY_JOB, ContextExceeded),
    ),
)
