"""Ollama's routes as forms: how their answers are asked for now and fetched later.

Such an answer is one job. What the direct routes do around theirs is left out: nothing is cut that is too long, and no
`context` is read or given, since both take further jobs.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import BadRequest
from velesio.http.access import scopes
from velesio.http.embeddings import floats
from velesio.http.form import Form
from velesio.http.ollama.answers import Writer
from velesio.http.ollama.library import model_of
from velesio.http.ollama.models import can_think, names_of
from velesio.http.ollama.requests import (
    Asked,
    Generating,
    read_chat,
    read_embed,
    read_embeddings,
    read_generate,
)
from velesio.http.wire import bad_field
from velesio.jobs import Embed, EmbedResult, TextResult


class Later(msgspec.Struct, frozen=True, kw_only=True):
    """A request, read: one job, or none if it only loads a model."""

    name: str
    """The model as the client writes it; answers repeat it."""
    params: Sequence[Generating | Embed]

    @property
    def model(self) -> str:
        """Its name here."""
        return names_of(self.name)[-1]


def vectors_of(name: str, result: EmbedResult) -> list[list[float]]:
    """A vector for each input.

    Raises:
        BadRequest: the model gives one for each token.
    """
    if not result.pooled:
        raise BadRequest(f"{name!r} gives a vector for each token, not for each text; ask at /embeddings for those")
    return [floats(matrix) for matrix in result.matrices]


def embedded(name: str, result: EmbedResult, seconds: float) -> dict[str, Any]:
    """The answer of `/api/embed` after so many seconds."""
    return {
        "model": name,
        "embeddings": vectors_of(name, result),
        "total_duration": round(seconds * 1e9),
        "load_duration": 0,
        "prompt_eval_count": sum(result.tokens),
    }


def _text_form(read: Callable[[Mapping[str, Any]], Asked], *, in_message: bool) -> Form:
    def later(raw: Mapping[str, Any]) -> Later:
        asked = read(raw)
        if asked.context:
            raise bad_field("body.context", "goes on with answers that are waited for; send the conversation as a chat")
        return Later(name=asked.model, params=[asked.params] if asked.params else [])

    def write(asked: Later, _: str, __: str, results: Sequence[TextResult]) -> dict[str, Any]:
        (result,), (params,) = results, asked.params
        took = (result.timings.prompt_ms + result.timings.predicted_ms) / 1000
        text = None if isinstance(params, Embed) else params
        return Writer(asked.name, text, time.monotonic() - took, in_message=in_message).whole(result)

    return Form(later, write, settle=_settled)


def _vector_form(
    read: Callable[[Mapping[str, Any]], tuple[str, Embed | None]], write: Callable[[Later, EmbedResult], dict[str, Any]]
) -> Form:
    def later(raw: Mapping[str, Any]) -> Later:
        name, params = read(raw)
        return Later(name=name, params=[params] if params else [])

    return Form(later, lambda asked, _, __, results: write(asked, results[0]), EmbedResult, settle=_settled)


async def _settled(request: web.Request, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body as its key may have it; the model is one that there is, and that can think if it shall."""
    card = await model_of(request, name) if isinstance(name := body.get("model"), str) and name else None
    if card is not None and body.get("think") not in {None, False, "false"} and not can_think(card.meta):
        raise BadRequest(f'"{name}" does not support thinking', param="body.think")
    return dict(body) if scopes.may_control(request) else {key: body[key] for key in body if key != "keep_alive"}


_GENERATE = _text_form(read_generate, in_message=False)
_CHAT = _text_form(read_chat, in_message=True)
_EMBED = _vector_form(read_embed, lambda asked, result: embedded(asked.name, result, 0.0))
_EMBEDDINGS = _vector_form(read_embeddings, lambda asked, result: {"embedding": vectors_of(asked.name, result)[0]})

FORMS: Mapping[str, Form] = {
    "/api/generate": _GENERATE,
    "/api/chat": _CHAT,
    "/api/embed": _EMBED,
    "/api/embeddings": _EMBEDDINGS,
    "/generate": _GENERATE,
    "/chat": _CHAT,
    "/embed": _EMBED,
}
"""By path."""
