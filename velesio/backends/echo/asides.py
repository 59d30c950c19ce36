"""Echo's asides: a token is a character, a vector counts letters, the best document shares most words."""

import array
import hashlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from velesio.errors import BadRequest, ContextExceeded, Unsupported
from velesio.jobs import (
    Aside,
    Detokenize,
    DetokenizedResult,
    Embed,
    EmbedResult,
    Prompt,
    PromptResult,
    Render,
    Rerank,
    RerankResult,
    Result,
    Slots,
    SlotsResult,
    Tokenize,
    TokensResult,
)

DIMENSIONS = 8


def answer(params: Aside, context: int, slots: Callable[[], list[bool]]) -> Result:
    """The result of an aside; `slots` tells which slots are busy.

    Raises:
        BadRequest: tokens that are none, an input that is empty or too long.
        Unsupported: saving, restoring and erasing slots.
    """
    return _ANSWERS[type(params)](params, context, slots)


def _render(params: Render, *_: Any) -> Result:
    lines = [f"{message.get('role')}: {message.get('content') or ''}\n" for message in params.chat.messages]
    prompt = "".join([*lines, "assistant: "] if params.chat.add_generation_prompt else lines)
    return PromptResult(prompt, len(prompt))


def _tokenize(params: Tokenize, *_: Any) -> Result:
    tokens = _tokens(params.content)
    pieces = tuple(_character(token).encode() for token in tokens) if params.pieces else ()
    return TokensResult(tuple(tokens), pieces)


def _detokenize(params: Detokenize, *_: Any) -> Result:
    return DetokenizedResult("".join(map(_character, params.tokens)))


def _embed(params: Embed, context: int, _: Any) -> Result:
    texts = ["".join(map(_character, _tokens(prompt))) for prompt in params.inputs]
    for text in texts:
        if not text:
            raise BadRequest("an input is empty")
        if len(text) > context and not params.truncate:
            raise ContextExceeded.of(len(text), context)
    size = params.dimensions or DIMENSIONS
    matrices = tuple(_vector(text[:context], size, params.normalize) for text in texts)
    return EmbedResult(matrices, size, tuple(min(len(text), context) for text in texts))


def _vector(text: str, size: int, normalize: int) -> bytes:
    counts = [0.0] * DIMENSIONS
    for character in text:
        counts[hashlib.blake2b(character.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0] % DIMENSIONS] += 1
    counts = counts[:size]
    length = sum(count * count for count in counts) ** 0.5 if normalize >= 0 else 1.0
    values = array.array("f", [count / (length or 1.0) for count in counts])
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _rerank(params: Rerank, *_: Any) -> Result:
    wanted = set(params.query.split())
    scores = tuple(len(wanted & set(document.split())) / (len(wanted) or 1) for document in params.documents)
    return RerankResult(scores, sum(len(params.query) + len(document) for document in params.documents))


def _slots(params: Slots, context: int, slots: Callable[[], list[bool]]) -> Result:
    if params.action != "list":
        raise Unsupported("this model caches nothing")
    return SlotsResult(
        tuple(
            {"id": index, "n_ctx": context, "speculative": False, "is_processing": busy}
            for index, busy in enumerate(slots())
        )
    )


def _tokens(prompt: Prompt) -> list[int]:
    parts = [prompt] if isinstance(prompt, str) else prompt
    return [token for part in parts for token in (map(ord, part) if isinstance(part, str) else [part])]


def _character(token: int) -> str:
    if not 0 <= token <= sys.maxunicode or 0xD800 <= token <= 0xDFFF:
        raise BadRequest(f"there is no token {token}")
    return chr(token)


_ANSWERS: Mapping[type, Callable[..., Result]] = {
    Render: _render,
    Tokenize: _tokenize,
    Detokenize: _detokenize,
    Embed: _embed,
    Rerank: _rerank,
    Slots: _slots,
}
