"""Ollama's API: `/api/generate`, `/api/chat` and its embeddings."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from aiohttp import web

from velesio.backends.base import ModelCard
from velesio.errors import BadRequest, ContextExceeded, Unsupported, VelesioError
from velesio.http import loading, sse, talks
from velesio.http.dispatch import Numbered, answers_to, ask, jobs_of
from velesio.http.fields import Fields
from velesio.http.gateway import ARRIVED, JOB_ID
from velesio.http.ollama.answers import HEADERS, Frames, Writer, lines_response
from velesio.http.ollama.forms import embedded, vectors_of
from velesio.http.ollama.library import model_of, read_body
from velesio.http.ollama.models import can_think, stamp
from velesio.http.ollama.options import OPTIONS
from velesio.http.ollama.requests import (
    CHAT,
    EMBED,
    EMBEDDINGS,
    GENERATE,
    Asked,
    Generating,
    read_chat,
    read_embed,
    read_embeddings,
    read_generate,
)
from velesio.http.ollama.room import cut, prompted, shortened
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.http.reference import table
from velesio.http.wire import json_response
from velesio.jobs import (
    Chat,
    Completed,
    Completion,
    Embed,
    EmbedResult,
    TextResult,
    Timings,
    Tokenize,
    TokensResult,
    Usage,
)

log = structlog.get_logger("velesio.http")


async def generate(request: web.Request) -> web.StreamResponse:
    """`POST /api/generate`."""
    return await answer(request, read_generate(await read_body(request)), in_message=False)


async def chat(request: web.Request) -> web.StreamResponse:
    """`POST /api/chat`."""
    return await answer(request, read_chat(await read_body(request)), in_message=True)


async def answer(request: web.Request, asked: Asked, *, in_message: bool) -> web.StreamResponse:
    """The answer to a prompt or a conversation, which are cut until they fit."""
    card = await model_of(request, asked.model)
    writer = Writer(asked.model, asked.params, request[ARRIVED], in_message=in_message)
    if asked.params is None:
        return await _load(request, card, asked, writer)
    if asked.thinks and not can_think(card.meta):
        raise BadRequest(f'"{asked.model}" does not support thinking', param="think")
    params = msgspec.structs.replace(asked.params, keep_alive=loading.kept(request, asked.params.keep_alive))
    if isinstance(params, Chat):
        (params,) = await talks.resumed(request, [params], model=card.name)
    if asked.context and isinstance(params, Chat):
        params = await _prompted(request, card, params, writer, asked.context)
    while True:
        try:
            return await _say(request, card, asked, params, writer)
        except ContextExceeded as error:
            shorter = await _shorter(request, card, params, writer, error) if asked.truncate else None
            if shorter is None:
                raise
            params = shorter


async def _prompted(
    request: web.Request, card: ModelCard, chat: Chat, writer: Writer, before: Sequence[int] = ()
) -> Completion:
    found = await prompted(request, card.name, chat, before)
    writer.dialect = found.dialect
    return found.params


async def _shorter(
    request: web.Request, card: ModelCard, params: Generating, writer: Writer, error: ContextExceeded
) -> Generating | None:
    """What may fit; None: nothing can be left out."""
    if (shorter := shortened(params, error)) is not None:
        return shorter
    if isinstance(params, Chat) and not params.media:
        params = await _prompted(request, card, params, writer)
    return await cut(request, card.name, params, error) if isinstance(params, Completion) else None


async def _say(
    request: web.Request, card: ModelCard, asked: Asked, params: Generating, writer: Writer
) -> web.StreamResponse:
    async def remember(result: TextResult) -> None:
        if asked.remembers:
            writer.context = await _tokens(request, card, result)

    async with answers_to(request, jobs_of(request, card.name, [params], stream=asked.stream)) as answers:
        if asked.stream:
            await answers.begin()
            remembered = _remembering(answers, remember)
            return await sse.respond(request, remembered, Frames(writer), headers=HEADERS)
        (result,) = await answers.texts()
    await remember(result)
    request[JOB_ID] = answers.ids[0]
    return json_response(writer.whole(result))


async def _remembering(
    answers: AsyncIterator[Sequence[Numbered]], remember: Callable[[TextResult], Any]
) -> AsyncIterator[Sequence[Numbered]]:
    """`answers`, of which a result is given only after it is remembered."""
    async for batch in answers:
        for _, event in batch:
            if isinstance(event, Completed) and isinstance(event.result, TextResult):
                await remember(event.result)
        yield batch


async def _tokens(request: web.Request, card: ModelCard, result: TextResult) -> tuple[int, ...] | None:
    """All tokens of prompt and answer; None: they cannot be told, which is no reason to withhold the answer."""
    try:
        prompt = await ask(request, card.name, Tokenize(result.prompt), TokensResult)
    except VelesioError as error:
        log.info("answer without context", code=error.code)
        return None
    return prompt.tokens + result.tokens


async def _load(request: web.Request, card: ModelCard, asked: Asked, writer: Writer) -> web.StreamResponse:
    """Loads a model, or unloads it if it shall not stay."""
    if asked.keep_alive == 0:
        await loading.unload(request, card)
        return lines_response([writer.loaded("unload")], stream=asked.stream)
    await loading.load(request, card, asked.keep_alive)
    return lines_response([writer.loaded("load")], stream=asked.stream)


async def embed(request: web.Request) -> web.Response:
    """`POST /api/embed`: a vector of length 1 for each text."""
    name, params = read_embed(await read_body(request))
    card = await model_of(request, name)
    result = await _vectors(request, card, params)
    return json_response(embedded(name, result, time.monotonic() - request[ARRIVED]))


async def embeddings(request: web.Request) -> web.Response:
    """`POST /api/embeddings`: the older form, for one text."""
    name, params = read_embeddings(await read_body(request))
    vectors = vectors_of(name, await _vectors(request, await model_of(request, name), params))
    return json_response({"embedding": vectors[0] if vectors else []})


async def _vectors(request: web.Request, card: ModelCard, params: Embed | None) -> EmbedResult:
    """A vector for each input; none, if there is none."""
    if params is None:
        await loading.load(request, card)
        return EmbedResult(matrices=(), dimensions=0, tokens=())
    params = msgspec.structs.replace(params, keep_alive=loading.kept(request, params.keep_alive))
    return await ask(request, card.name, params, EmbedResult)


ROUTES = [
    web.post("/api/generate", generate),
    web.post("/api/chat", chat),
    web.post("/api/embed", embed),
    web.post("/api/embeddings", embeddings),
]

_MODEL = "smollm2-135m-instruct"
_TIMES = {"created_at": stamp(1_764_000_000_000_000_000), "total_duration": 64_000_000, "load_duration": 1_200_000}
_RESULT = TextResult("Paris.", (1,), usage=Usage(36, 3), timings=Timings(41.0, 22.0))
_PROMPT = {"model": _MODEL, "prompt": "What is the capital of France?", "stream": False}
_CHAT = {
    "model": _MODEL,
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "stream": False,
}


def _generated() -> dict[str, Any]:
    writer = Writer(_MODEL, None, 0.0, in_message=False)
    writer.context = (1, 4093, 198)
    return writer.whole(_RESULT) | _TIMES


def _chatted() -> dict[str, Any]:
    return Writer(_MODEL, None, 0.0, in_message=True).whole(_RESULT) | _TIMES


_STREAM = "application/x-ndjson"
_LINES = (
    "A stream has a line of JSON for each piece of text, without blank lines; an error within it is a line `error`."
)


def _said(
    path: str, summary: str, notes: str, *, fields: Fields, example: Mapping[str, Any], answer: Callable[[], Any]
) -> Operation:
    """An operation that answers in text."""
    return Operation(
        method="POST",
        paths=(path,),
        summary=summary,
        notes=f"{_LINES} {notes}",
        fields=fields,
        example=example,
        answer=answer,
        streams=_STREAM,
        errors=(*OF_EVERY_JOB, Unsupported, ContextExceeded),
    )


API = (
    _said(
        "/api/generate",
        "Answers a prompt, fills a gap, loads or unloads a model.",
        f"`done_reason` is `stop`, `length`, `load` or `unload`.\n\nIn `options`:\n\n{table(OPTIONS)}",
        fields=GENERATE,
        example=_PROMPT,
        answer=_generated,
    ),
    _said(
        "/api/chat",
        "Answers a conversation.",
        "`options` are those of `/api/generate`.",
        fields=CHAT,
        example=_CHAT,
        answer=_chatted,
    ),
    Operation(
        method="POST",
        paths=("/api/embed",),
        summary="Turns texts into vectors of length 1.",
        fields=EMBED,
        example={"model": _MODEL, "input": ["A cat sleeps."]},
        answer=lambda: {
            "model": _MODEL,
            "embeddings": [[0.6, 0.8]],
            "total_duration": _TIMES["total_duration"],
            "load_duration": 0,
            "prompt_eval_count": 4,
        },
        errors=(*OF_EVERY_JOB, ContextExceeded),
    ),
    Operation(
        method="POST",
        paths=("/api/embeddings",),
        summary="Turns a text into a vector; the older form.",
        fields=EMBEDDINGS,
        example={"model": _MODEL, "prompt": "A cat sleeps."},
        answer=lambda: {"embedding": [3.0, 4.0]},
    ),
)
