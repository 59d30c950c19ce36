"""Room in the context: what is too long is cut, as Ollama does unless `truncate` is false."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import ContextExceeded
from velesio.http.dispatch import ask
from velesio.http.ollama.requests import Generating
from velesio.jobs import (
    Chat,
    Completion,
    Dialect,
    Infill,
    Prompt,
    PromptResult,
    Render,
    TextParams,
    Tokenize,
    TokensResult,
)

_SHARED = tuple(field.name for field in msgspec.structs.fields(TextParams))
_ESTIMATED = 0.9
"""Part of the context that a shortened conversation is meant to fill: its tokens are estimated."""
_PROMPT = 0.75
"""Part of the context that is left to a prompt that is cut; the answer gets the rest."""


class Prompted(msgspec.Struct, frozen=True):
    """A conversation as the prompt that it becomes."""

    params: Completion
    dialect: Dialect
    """Of the answer, which the prompt alone does not tell."""


async def prompted(request: web.Request, model: str, chat: Chat, before: Sequence[int] = ()) -> Prompted:
    """`chat` as the model's template writes it, after the tokens `before`."""
    rendered = await ask(request, model, Render(chat), PromptResult)
    prompt: Prompt = [*before, rendered.prompt] if before else rendered.prompt
    return Prompted(Completion(prompt=prompt, media=chat.media, **_shared(chat)), rendered.dialect)


def _shared(params: TextParams) -> dict[str, Any]:
    return {name: getattr(params, name) for name in _SHARED}


async def cut(request: web.Request, model: str, params: Completion, error: ContextExceeded) -> Completion | None:
    """A prompt without its middle; None: nothing can be left out."""
    if params.media:
        return None
    first = params.prompt[0] if isinstance(params.prompt, list) else params.prompt
    # The begin mark that the model wants is a token from now on.
    tokenize = Tokenize(params.prompt, add_special=isinstance(first, str))
    tokens = (await ask(request, model, tokenize, TokensResult)).tokens
    kept = without_middle(tokens, params.n_keep, int(error.details.get("n_ctx", 0) * _PROMPT))
    return msgspec.structs.replace(params, prompt=list(kept)) if len(kept) < len(tokens) else None


def without_middle(tokens: Sequence[int], keep: int, room: int) -> Sequence[int]:
    """`tokens`, of which the first `keep` (negative: none) and the last ones are left where `room` is not enough."""
    if len(tokens) <= room or room < 1:
        return tokens
    keep = min(max(keep, 0), room - 1)
    return [*tokens[:keep], *tokens[len(tokens) - (room - keep) :]]


def shortened(params: Generating, error: ContextExceeded) -> Chat | None:
    """A conversation without so many of its oldest messages that it probably fits, the system's and the last one kept;
    None: there is nothing to leave out."""
    if isinstance(params, Completion | Infill):
        return None
    tokens, context = error.details.get("n_prompt_tokens", 0), error.details.get("n_ctx", 0)
    system = [message for message in params.messages if message["role"] == "system"]
    others = [message for message in params.messages if message["role"] != "system"]
    if len(others) < 2 or not tokens:
        return None
    room = sum(map(_length, params.messages)) * min(1.0, context / tokens) * _ESTIMATED - sum(map(_length, system))
    kept = others[1:]
    while len(kept) > 1 and (sum(map(_length, kept)) > room or kept[0]["role"] == "tool"):
        kept = kept[1:]
    return _with(params, system + kept)


def _with(chat: Chat, messages: list[dict[str, Any]]) -> Chat:
    """`chat` with these of its messages, and no files but theirs."""
    files: list[bytes] = []
    return msgspec.structs.replace(
        chat, messages=[_refiled(message, chat.media, files) for message in messages], media=tuple(files)
    )


def _refiled(message: dict[str, Any], media: Sequence[bytes], files: list[bytes]) -> dict[str, Any]:
    if not isinstance(message["content"], list):
        return message
    parts = []
    for part in message["content"]:
        if part["type"] == "media":
            files.append(media[part["media"]])
            parts.append(part | {"media": len(files) - 1})
        else:
            parts.append(part)
    return message | {"content": parts}


def _length(message: Mapping[str, Any]) -> int:
    return len(str(message.get("content"))) + len(str(message.get("tool_calls", "")))
