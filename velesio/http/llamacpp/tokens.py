"""llama.cpp's `/tokenize`, `/detokenize` and `/apply-template`."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.http.fields import Fields, given, of
from velesio.http.form import AsideAsked, Form, aside
from velesio.http.openai.chat import FIELDS
from velesio.http.openai.counting import rendering
from velesio.http.operations import Operation
from velesio.http.text.prompts import prompt_of
from velesio.http.wire import INT_MAX, bad_field, convert, within
from velesio.jobs import Detokenize, DetokenizedResult, Prompt, PromptResult, Tokenize, TokensResult


class TokenizeBody(msgspec.Struct):
    """The fields of `/tokenize` beside `content`."""

    model: str = ""
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class DetokenizeBody(msgspec.Struct):
    """The fields of `/detokenize`."""

    model: str = ""
    tokens: list[int] = []


def read_tokenize(raw: Mapping[str, Any]) -> AsideAsked:
    """Text to be tokenized; without `content` nothing has to be done.

    Raises:
        BadRequest: naming the field.
    """
    body = convert(raw, TokenizeBody)
    if "content" not in raw or raw["content"] == []:
        return AsideAsked(model=body.model, params=[], body=body)
    job = Tokenize(
        content=_text(raw["content"]),
        add_special=body.add_special,
        parse_special=body.parse_special,
        pieces=body.with_pieces,
    )
    return AsideAsked(model=body.model, params=[job], body=body)


def _text(content: Any) -> Prompt:
    prompt, media = prompt_of(content, "content")
    if media:
        raise bad_field("content", "only text has tokens of its own; leave multimodal_data out")
    return prompt


def write_tokens(asked: AsideAsked, _model: str, _job_id: str, results: Sequence[TokensResult]) -> dict[str, Any]:
    """Ids, or ids with their text."""
    if not results:
        return {"tokens": []}
    (result,) = results
    if not asked.body.with_pieces:
        return {"tokens": result.tokens}
    pairs = zip(result.tokens, result.pieces, strict=True)
    return {"tokens": [{"id": token, "piece": _piece(piece)} for token, piece in pairs]}


def _piece(piece: bytes) -> str | list[int]:
    """A token may hold a part of a character only: then it is shown as bytes."""
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return list(piece)


def read_detokenize(raw: Mapping[str, Any]) -> AsideAsked:
    """Tokens to be text again; without any nothing has to be done.

    Raises:
        BadRequest: naming the field.
    """
    body = convert(raw, DetokenizeBody)
    for index, token in enumerate(body.tokens):
        within(f"tokens[{index}]", token, 0, INT_MAX)
    return AsideAsked(model=body.model, params=[Detokenize(tuple(body.tokens))] if body.tokens else [])


def write_text(_asked: AsideAsked, _model: str, _job_id: str, results: Sequence[DetokenizedResult]) -> dict[str, Any]:
    """The text."""
    return {"content": results[0].text if results else ""}


def write_prompt(_asked: AsideAsked, _model: str, _job_id: str, results: Sequence[PromptResult]) -> dict[str, Any]:
    """The prompt's text."""
    return {"prompt": results[0].prompt}


FORMS: Mapping[str, Form] = {
    "/tokenize": Form(read_tokenize, write_tokens, TokensResult),
    "/detokenize": Form(read_detokenize, write_text, DetokenizedResult),
    "/apply-template": Form(rendering, write_prompt, PromptResult),
}
"""By path."""

ROUTES = [web.post(path, aside(form)) for path, form in FORMS.items()]

_MODEL = "a name or alias of `GET /models`; empty: the first"
TOKENIZE: Fields = {
    "content": given(str | list[int | str], "text, or a list of texts and token ids; without it there are no tokens"),
    **of(
        TokenizeBody,
        model=_MODEL,
        add_special="add the begin and end marks that the model wants",
        parse_special="names of control tokens become these",
        with_pieces="tell the text of each token, or its bytes if they are a part of a character",
    ),
}
DETOKENIZE: Fields = of(DetokenizeBody, model=_MODEL, tokens="token ids")


def _tokenized() -> Any:
    return write_tokens(read_tokenize({"content": "Hello"}), "", "", [TokensResult((19556,))])


API = (
    Operation(
        method="POST",
        paths=("/tokenize",),
        summary="Turns text into tokens.",
        fields=TOKENIZE,
        example={"content": "Hello"},
        answer=_tokenized,
        answers=dict[str, list[int | dict[str, Any]]],
    ),
    Operation(
        method="POST",
        paths=("/detokenize",),
        summary="Turns tokens into text.",
        fields=DETOKENIZE,
        example={"tokens": [19556]},
        answer=lambda: write_text(read_detokenize({"tokens": [19556]}), "", "", [DetokenizedResult("Hello")]),
    ),
    Operation(
        method="POST",
        paths=("/apply-template",),
        summary="Shows the prompt that a conversation becomes.",
        fields=FIELDS,
        notes="Reads all that `/v1/chat/completions` reads; what does not change the prompt changes nothing.",
        example={"messages": [{"role": "user", "content": "Hi"}]},
        answer=lambda: {"prompt": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"},
    ),
)
