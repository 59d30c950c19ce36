"""Anthropic's API: `/v1/messages` and the count of a request's tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import ContextExceeded, Unsupported
from velesio.http import sse, talks
from velesio.http.anthropic.answers import Frames, Writer
from velesio.http.anthropic.requests import FIELDS, Asked, read
from velesio.http.dispatch import ask, jobs_of
from velesio.http.finding import find_model
from velesio.http.form import Form
from velesio.http.gateway import GATEWAY
from velesio.http.idempotency import answers_to
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.http.text.generation import SAMPLING
from velesio.http.wire import json_response, read_object
from velesio.jobs import Chat, PromptResult, Render, TextResult, Usage


async def _read(request: web.Request) -> Asked:
    return read(await read_object(request, request.app[GATEWAY].server.max_body))


async def messages(request: web.Request) -> web.StreamResponse:
    """`POST /v1/messages`: a message, streamed or not."""
    asked = await _read(request)
    card = await find_model(request, asked.model, "text")
    chats = await talks.resumed(request, [asked.chat], model=card.name)
    jobs = jobs_of(request, card.name, chats, stream=asked.stream)
    async with answers_to(request, jobs) as answers:
        writer = Writer(asked, card.name, answers.ids[0])
        if asked.stream:
            await answers.begin()
            return await sse.respond(request, answers, Frames(writer))
        (result,) = await answers.texts()
    return json_response(writer.whole(result))


async def count_tokens(request: web.Request) -> web.Response:
    """`POST /v1/messages/count_tokens`: what the prompt of such a request would have."""
    asked = await _read(request)
    card = await find_model(request, asked.model, "text")
    result = await ask(request, card.name, Render(asked.chat), PromptResult)
    return json_response({"input_tokens": result.tokens})


class _Later(msgspec.Struct, frozen=True):
    """A request whose answer is fetched later."""

    asked: Asked

    @property
    def model(self) -> str:
        """The name that the request has for it."""
        return self.asked.model

    @property
    def params(self) -> list[Chat]:
        """Its one job."""
        return [self.asked.chat]


def _whole(later: _Later, model: str, job_id: str, results: Sequence[TextResult]) -> dict[str, Any]:
    return Writer(later.asked, model, job_id).whole(results[0])


FORMS: Mapping[str, Form] = {"/v1/messages": Form(lambda raw: _Later(read(raw)), _whole)}
"""By path."""

ROUTES = [web.post("/v1/messages", messages), web.post("/v1/messages/count_tokens", count_tokens)]

_MODEL = "smollm2-135m-instruct"
_EXAMPLE = {
    "model": _MODEL,
    "max_tokens": 64,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
}


def _answer() -> dict[str, Any]:
    result = TextResult("Paris.", usage=Usage(36, 3, 30))
    return Writer(read(_EXAMPLE), _MODEL, "0" * 32).whole(result)


_ERRORS = (*OF_EVERY_JOB, Unsupported)

API = (
    Operation(
        method="POST",
        paths=("/v1/messages",),
        summary="Answers a conversation.",
        notes="A stream has Anthropic's events: `message_start`, blocks of `thinking`, `text` and `tool_use`, each "
        "with `content_block_start`, its deltas and `content_block_stop`, then `message_delta` with all counts, "
        "`message_stop`; `ping` fills silences, `error` ends what cannot go on.",
        fields=FIELDS,
        groups=(SAMPLING,),
        example=_EXAMPLE,
        answer=_answer,
        streams="text/event-stream",
        errors=(*_ERRORS, ContextExceeded),
    ),
    Operation(
        method="POST",
        paths=("/v1/messages/count_tokens",),
        summary="Counts the tokens of a conversation's prompt.",
        fields=FIELDS,
        example=_EXAMPLE,
        answer=lambda: {"input_tokens": 36},
        errors=_ERRORS,
    ),
)
