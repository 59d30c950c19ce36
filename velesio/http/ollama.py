"""Ollama's API: `/api/…`."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog
from aiohttp import web

from velesio import __version__
from velesio.backends.base import ModelCard
from velesio.errors import BadRequest, ContextExceeded, ModelNotFound, NotFound, Unsupported, VelesioError
from velesio.http import sse
from velesio.http.dispatch import Numbered, answers_to, ask, find_model, jobs_of, visible_cards
from velesio.http.embeddings import floats
from velesio.http.gateway import ARRIVED, CREDENTIAL, GATEWAY, JOB_ID
from velesio.http.ollama_answers import HEADERS, Frames, Writer
from velesio.http.ollama_models import can_think, names_of, running, show, tags
from velesio.http.ollama_requests import Asked, Generating, read_chat, read_embed, read_embeddings, read_generate
from velesio.http.wire import bad_field, encode, json_response, read_object
from velesio.jobs import (
    Chat,
    Completed,
    Completion,
    Embed,
    EmbedResult,
    PromptResult,
    Render,
    TextParams,
    TextResult,
    Tokenize,
    TokensResult,
)

log = structlog.get_logger("velesio.http")

Raw = Mapping[str, Any]

_SHARED = tuple(field.name for field in msgspec.structs.fields(TextParams))
_ROOM = 0.9
"""Part of the context that a shortened conversation is meant to fill: its tokens are estimated."""
_FILES = "models of this server are files and tables of its config.toml"


async def _body(request: web.Request) -> dict[str, Any]:
    return await read_object(request, request.app[GATEWAY].server.max_body)


async def model_of(request: web.Request, name: str) -> ModelCard:
    """The card for a model's name, with or without `:latest`.

    Raises:
        ModelNotFound: in Ollama's words, which some clients look for.
    """
    for candidate in names_of(name):
        try:
            return await find_model(request, candidate, "text")
        except ModelNotFound as error:
            missing = error
    raise ModelNotFound(f"model '{name}' not found: {missing.message}", param="model")


def _named(raw: Raw) -> str:
    """The model that a body names; `name` is its older name."""
    name = raw.get("model", raw.get("name"))
    if not isinstance(name, str) or not name:
        raise bad_field("model", "is required: the name of a model, as /api/tags lists them")
    return name


async def generate(request: web.Request) -> web.StreamResponse:
    """`POST /api/generate`."""
    return await answer(request, read_generate(await _body(request)), in_message=False)


async def chat(request: web.Request) -> web.StreamResponse:
    """`POST /api/chat`."""
    return await answer(request, read_chat(await _body(request)), in_message=True)


async def answer(request: web.Request, asked: Asked, *, in_message: bool) -> web.StreamResponse:
    """The answer to a prompt or a conversation, which loses its oldest messages until it fits."""
    card = await model_of(request, asked.model)
    writer = Writer(asked.model, asked.params, request[ARRIVED], in_message=in_message)
    if asked.params is None:
        return await _load(request, card, asked, writer)
    if asked.thinks and not can_think(card.meta):
        raise BadRequest(f'"{asked.model}" does not support thinking', param="think")
    params = await _continued(request, card, asked, asked.params)
    while True:
        try:
            return await _say(request, card, asked, params, writer)
        except ContextExceeded as error:
            shorter = shortened(params, error) if asked.truncate else None
            if shorter is None:
                raise
            params = shorter


async def _continued(request: web.Request, card: ModelCard, asked: Asked, params: Generating) -> Generating:
    """With `context`: the new turn's prompt after the tokens of the earlier ones."""
    if not asked.context or not isinstance(params, Chat):
        return params
    rendered = await ask(request, card.name, Render(params), PromptResult)
    shared = {name: getattr(params, name) for name in _SHARED}
    return Completion(prompt=[*asked.context, rendered.prompt], **shared)


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


def shortened(params: Generating, error: ContextExceeded) -> Chat | None:
    """A conversation without so many of its oldest messages that it probably fits, the system's and the last one kept;
    None: there is nothing to leave out."""
    if not isinstance(params, Chat):
        return None
    tokens, context = error.details.get("n_prompt_tokens", 0), error.details.get("n_ctx", 0)
    system = [message for message in params.messages if message["role"] == "system"]
    others = [message for message in params.messages if message["role"] != "system"]
    if len(others) < 2 or not tokens:
        return None
    room = sum(map(_length, params.messages)) * min(1.0, context / tokens) * _ROOM - sum(map(_length, system))
    kept = others[1:]
    while len(kept) > 1 and (sum(map(_length, kept)) > room or kept[0]["role"] == "tool"):
        kept = kept[1:]
    return msgspec.structs.replace(params, messages=system + kept)


def _length(message: Mapping[str, Any]) -> int:
    return len(str(message.get("content"))) + len(str(message.get("tool_calls", "")))


async def _load(request: web.Request, card: ModelCard, asked: Asked, writer: Writer) -> web.StreamResponse:
    """Loads a model by the smallest of jobs; unloading is the worker's own affair."""
    await ask(request, card.name, Tokenize("load"), TokensResult)
    return _lines([writer.loaded("load")], stream=asked.stream)


def _lines(lines: Sequence[Any], *, stream: bool) -> web.Response:
    """What is known at once, as a stream of lines or as the last of them alone."""
    if not stream:
        return json_response(lines[-1])
    return web.Response(body=b"".join(encode(line) + b"\n" for line in lines), headers=HEADERS)


async def embed(request: web.Request) -> web.Response:
    """`POST /api/embed`: a vector of length 1 for each text."""
    name, params = read_embed(await _body(request))
    card = await model_of(request, name)
    vectors, counted = await _vectors(request, card, params)
    taken = round((time.monotonic() - request[ARRIVED]) * 1e9)
    return json_response(
        {
            "model": name,
            "embeddings": vectors,
            "total_duration": taken,
            "load_duration": 0,
            "prompt_eval_count": counted,
        }
    )


async def embeddings(request: web.Request) -> web.Response:
    """`POST /api/embeddings`: the older form, for one text."""
    name, params = read_embeddings(await _body(request))
    vectors, _ = await _vectors(request, await model_of(request, name), params)
    return json_response({"embedding": vectors[0] if vectors else []})


async def _vectors(request: web.Request, card: ModelCard, params: Embed | None) -> tuple[list[list[float]], int]:
    """A vector for each input, and how many tokens these had."""
    if params is None:
        return [], 0
    result = await ask(request, card.name, params, EmbedResult)
    if not result.pooled:
        raise BadRequest(
            f"{card.name!r} gives a vector for each token, not for each text; ask at /embeddings for those"
        )
    return [floats(matrix) for matrix in result.matrices], sum(result.tokens)


async def list_tags(request: web.Request) -> web.Response:
    """`GET /api/tags`."""
    return json_response(tags(visible_cards(request.app[GATEWAY].registry, request[CREDENTIAL])))


async def list_running(request: web.Request) -> web.Response:
    """`GET /api/ps`."""
    registry = request.app[GATEWAY].registry
    return json_response(running(registry.workers(), visible_cards(registry, request[CREDENTIAL])))


async def show_model(request: web.Request) -> web.Response:
    """`POST /api/show`."""
    return json_response(show(await model_of(request, _named(await _body(request)))))


async def version(request: web.Request) -> web.Response:  # noqa: ARG001
    """`GET /api/version`: Velesio's."""
    return json_response({"version": __version__})


async def pull(request: web.Request) -> web.StreamResponse:
    """`POST /api/pull`: a model that is there is pulled at once, another never."""
    raw = await _body(request)
    name = _named(raw)
    try:
        await model_of(request, name)
    except ModelNotFound as error:
        remedy = "this server fetches no models: put its GGUF file into models_dir, or add a [[models]] table"
        raise ModelNotFound(f"pull model manifest: {error.message} {remedy}", param="model") from None
    lines = [{"status": status} for status in ("pulling manifest", "verifying sha256 digest", "success")]
    return _lines(lines, stream=raw.get("stream") is not False)


async def push(request: web.Request) -> web.StreamResponse:
    """`POST /api/push`: refused."""
    _named(await _body(request))
    raise Unsupported(f"models cannot be pushed: {_FILES}")


async def create(request: web.Request) -> web.StreamResponse:
    """`POST /api/create`: refused."""
    _named(await _body(request))
    raise Unsupported(
        f"models cannot be created by request: {_FILES}; send system, format and options with each request instead"
    )


async def copy(request: web.Request) -> web.StreamResponse:
    """`POST /api/copy`: refused, where the source is there."""
    raw = await _body(request)
    await model_of(request, _named({"model": raw.get("source")}))
    raise Unsupported(f"models cannot be copied by request: {_FILES}; give the model `aliases` there")


async def delete(request: web.Request) -> web.StreamResponse:
    """`DELETE /api/delete`: refused, where the model is there."""
    await model_of(request, _named(await _body(request)))
    raise Unsupported(f"models cannot be deleted by request: {_FILES}; remove it there and start the worker again")


async def find_blob(request: web.Request) -> web.Response:
    """`HEAD /api/blobs/{digest}`: there is none."""
    raise NotFound(f"there is no blob {request.match_info['digest']}: {_FILES}")


async def store_blob(request: web.Request) -> web.Response:  # noqa: ARG001
    """`POST /api/blobs/{digest}`: refused."""
    raise Unsupported(f"files of models cannot be sent: {_FILES}")


ROUTES = [
    web.post("/api/generate", generate),
    web.post("/api/chat", chat),
    web.post("/api/embed", embed),
    web.post("/api/embeddings", embeddings),
    web.get("/api/tags", list_tags),
    web.get("/api/ps", list_running),
    web.post("/api/show", show_model),
    web.get("/api/version", version),
    web.post("/api/pull", pull),
    web.post("/api/push", push),
    web.post("/api/create", create),
    web.post("/api/copy", copy),
    web.delete("/api/delete", delete),
    web.get("/api/blobs/{digest}", find_blob),
    web.post("/api/blobs/{digest}", store_blob),
]
