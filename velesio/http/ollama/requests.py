"""Ollama's request bodies: what they ask for, as params of jobs."""

from collections.abc import Mapping
from typing import Any

import msgspec

from velesio.http.embeddings import MOST_INPUTS
from velesio.http.fields import Fields, given, of, passed, refuse, refused
from velesio.http.media import MARKER, Media, decoded
from velesio.http.ollama.messages import openai_messages, pictures_of
from velesio.http.ollama.options import keep_alive_of, params_of
from velesio.http.text.conversation import conversation_of
from velesio.http.text.tools import tools_of
from velesio.http.wire import bad_field, convert, explain_type, within
from velesio.jobs import Chat, Completion, Embed, Grammar, Infill

MOST_LOGPROBS = 20
"""Rivals of each token that can be asked for."""

Generating = Completion | Infill | Chat


class Body(msgspec.Struct):
    """The fields that `/api/generate` and `/api/chat` share and that one struct can read."""

    model: str = ""
    stream: bool = True
    think: bool | str | None = None
    truncate: bool = True
    shift: bool | None = None
    logprobs: bool = False
    top_logprobs: int = 0


class PromptBody(msgspec.Struct):
    """Those that only `/api/generate` has."""

    prompt: str = ""
    suffix: str = ""
    system: str = ""
    context: list[int] = []
    raw: bool = False
    images: list[str] = []


class EmbedBody(msgspec.Struct):
    """The fields of `/api/embed` and `/api/embeddings`."""

    model: str = ""
    prompt: str = ""
    truncate: bool = True
    dimensions: int = 0


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request for text, read."""

    model: str
    """As the client writes it; answers repeat it."""
    stream: bool
    params: Generating | None
    """None: only load the model, or unload it."""
    context: tuple[int, ...] = ()
    """Tokens of an earlier conversation, before those of `params`."""
    keep_alive: float | None = None
    """Seconds; negative: for ever; None: as the server likes."""
    truncate: bool = True
    """Whether what is too long is cut: a conversation loses its oldest messages, a prompt its middle."""
    thinks: bool | None = None
    """Whether the model shall think; None: as it likes."""
    remembers: bool = False
    """Whether the answer's tokens are given as `context`."""


def read_generate(raw: Mapping[str, Any]) -> Asked:
    """A request for `/api/generate`.

    Raises:
        BadRequest: naming the field.
        Unsupported: a template of its own.
    """
    body, prompt = convert(raw, Body), convert(raw, PromptBody)
    if prompt.raw and (prompt.system or prompt.context or raw.get("template")):
        raise bad_field("raw", "raw mode does not support template, system, or context")
    refuse(raw, GENERATE)
    for index, token in enumerate(prompt.context):
        within(f"context[{index}]", token, 0)
    # What was filled in, or put together by the client itself, is no turn of a conversation.
    remembers = not (prompt.raw or prompt.suffix or prompt.images)
    params = _prompted(prompt, _thinking(body.think))
    return _asked(raw, body, params, context=tuple(prompt.context), remembers=remembers)


def _prompted(body: PromptBody, thinking: dict[str, Any]) -> Generating | None:
    if body.suffix:
        if body.images:
            raise bad_field("images", "cannot be seen where a gap before a suffix is filled")
        return Infill(prefix=body.prompt, suffix=body.suffix)
    if not body.prompt and not body.images:
        return None
    if body.raw:
        return _raw(body)
    parts = pictures_of(body.images, "images")
    said = [*parts, {"type": "text", "text": body.prompt}] if parts else body.prompt
    system = [{"role": "system", "content": body.system}] if body.system else []
    talk = conversation_of({"messages": [*system, {"role": "user", "content": said}]})
    return Chat(messages=talk.messages, media=talk.media, **thinking)


def _raw(body: PromptBody) -> Completion:
    """A prompt that no template renders; pictures whose place it does not mark stand at its beginning."""
    media = Media()
    for index, image in enumerate(body.images):
        media.add(decoded(image, f"images[{index}]"), f"images[{index}]")
    missing = len(media.files) - body.prompt.count(MARKER) if media.files else 0
    return Completion(prompt=MARKER * missing + body.prompt, media=media.files)


def read_chat(raw: Mapping[str, Any]) -> Asked:
    """A request for `/api/chat`; without messages it loads the model.

    Raises:
        BadRequest: naming the field.
    """
    body = convert(raw, Body)
    messages = raw.get("messages", [])
    if not isinstance(messages, list):
        raise bad_field("messages", "expected a list of messages")
    if not messages:
        return _asked(raw, body, None)
    talk = conversation_of({"messages": openai_messages(messages)})
    tools = tools_of({"tools": raw.get("tools", [])}).tools
    return _asked(raw, body, Chat(messages=talk.messages, media=talk.media, tools=tools, **_thinking(body.think)))


def _asked(raw: Mapping[str, Any], body: Body, params: Generating | None, **more: Any) -> Asked:
    """`params` with the fields that every kind of text job has, and what is not the job's."""
    if not body.model:
        raise bad_field("model", "is required: the name of a model, as /api/tags lists them")
    within("top_logprobs", body.top_logprobs, 0, MOST_LOGPROBS)
    keep_alive, options = keep_alive_of(raw.get("keep_alive")), params_of(raw.get("options"))
    if params is not None:
        params = msgspec.structs.replace(
            params,
            shift=body.shift,
            grammar=grammar_of(raw.get("format")),
            n_probs=max(1, body.top_logprobs) if body.logprobs else 0,
            keep_alive=keep_alive,
            **options,
        )
    return Asked(
        model=body.model,
        stream=body.stream,
        params=params,
        keep_alive=keep_alive,
        truncate=body.truncate,
        thinks=None if body.think is None else body.think not in {False, "false"},
        **more,
    )


def grammar_of(value: Any) -> Grammar | None:
    """What `format` asks for: "json" is any object, an object is a JSON schema.

    Raises:
        BadRequest: it is something else.
    """
    if value is None or value == "":
        return None
    if value == "json":
        return Grammar(schema={"type": "object"})
    if isinstance(value, dict):
        return Grammar(schema=value)
    raise bad_field("format", 'expected "json" or a JSON schema')


def _thinking(think: bool | str | None) -> dict[str, Any]:
    """Fields of `Chat` for `think`: a level is the reasoning effort."""
    if think is None:
        return {}
    if think in {False, "false"}:
        return {"template_kwargs": {"enable_thinking": False}, "reasoning_budget": 0}
    if think in {True, "true"}:
        return {"template_kwargs": {"enable_thinking": True}}
    if think in {"low", "medium", "high", "max"}:
        return {"template_kwargs": {"enable_thinking": True, "reasoning_effort": think}}
    raise bad_field("think", f'{think!r} is none of true, false, "low", "medium", "high", "max"')


def read_embed(raw: Mapping[str, Any]) -> tuple[str, Embed | None]:
    """The model and the texts of `/api/embed`; None: there is none, which only loads the model.

    Raises:
        BadRequest: naming the field.
    """
    body = _embed_body(raw)
    given = raw.get("input", [])
    try:
        texts = [given] if isinstance(given, str) else msgspec.convert(given, list[str])
    except msgspec.ValidationError as error:
        raise explain_type(str(error), "input") from None
    if len(texts) > MOST_INPUTS:
        raise bad_field("input", f"has {len(texts)} items; at most {MOST_INPUTS} are accepted")
    within("dimensions", body.dimensions, 0)
    keep_alive = keep_alive_of(raw.get("keep_alive"))
    if not texts:
        return body.model, None
    return body.model, Embed(
        inputs=tuple(texts), truncate=body.truncate, dimensions=body.dimensions, keep_alive=keep_alive
    )


def read_embeddings(raw: Mapping[str, Any]) -> tuple[str, Embed | None]:
    """The model and the text of `/api/embeddings`, whose vector is not normalized.

    Raises:
        BadRequest: naming the field.
    """
    body = _embed_body(raw)
    keep_alive = keep_alive_of(raw.get("keep_alive"))
    if not body.prompt:
        return body.model, None
    return body.model, Embed(inputs=(body.prompt,), truncate=True, normalize=-1, keep_alive=keep_alive)


def _embed_body(raw: Mapping[str, Any]) -> EmbedBody:
    body = convert(raw, EmbedBody)
    if not body.model:
        raise bad_field("model", "is required: the name of a model, as /api/tags lists them")
    params_of(raw.get("options"))
    return body


MODEL = given(str, "its name as `/api/tags` lists it, with or without `:latest`", required=True)
_KEEP_ALIVE = given(
    str | float, 'how long the model stays loaded after this: seconds, `"5m"`, 0: not at all, -1: for ever'
)
_SHARED: Fields = {
    **of(
        Body,
        model="",
        stream="a line of JSON for each piece of text",
        think="true, false, `low`, `medium`, `high` or `max`; refused for models that cannot",
        truncate="cut what is too long: a conversation loses its oldest messages, a prompt its middle",
        shift="go on without the oldest tokens when the context is full; as config.toml says",
        logprobs="tell how likely each token was",
        top_logprobs=f"and so many others, at most {MOST_LOGPROBS}; one at least",
    ),
    "model": MODEL,
    "format": given(str | dict[str, Any], '`"json"` for any object, or a JSON schema that the answer keeps to'),
    "keep_alive": _KEEP_ALIVE,
    "options": given(dict[str, Any], "sampling and limits, see below", default={}),
}
_NO_OPTIONS = passed("they do not change vectors")

GENERATE: Fields = {
    **_SHARED,
    **of(
        PromptBody,
        prompt="what to answer; empty: only load the model, or with `keep_alive` 0 unload it",
        suffix="what comes after the answer, for models that fill gaps; such a prompt is not cut",
        system="what the model is told before",
        context="tokens of an earlier answer that this one follows",
        raw="give the prompt to the model as it is",
        images="pictures in base64, for models that see",
    ),
    "template": refused("templates of requests, instead of the model's own or a whole prompt with `raw`, are"),
}
CHAT: Fields = {
    **_SHARED,
    "messages": given(
        list[dict[str, Any]],
        "`role`, `content`, `images` (base64), `thinking`, `tool_calls`, `tool_name`; empty: as an empty prompt",
        default=[],
    ),
    "tools": given(list[dict[str, Any]], "functions that the answer may call", default=[]),
}
EMBED: Fields = {
    "model": MODEL,
    "input": given(str | list[str], f"one text, or up to {MOST_INPUTS}; none: only load the model", default=[]),
    "truncate": given(bool, "cut what is longer than the context; false: refuse it", default=True),
    "dimensions": given(int, "leading values of each vector, normalized again; 0: all", default=0),
    "keep_alive": _KEEP_ALIVE,
    "options": _NO_OPTIONS,
}
EMBEDDINGS: Fields = {
    "model": MODEL,
    "prompt": given(str, "one text; empty: no vector", default=""),
    "keep_alive": _KEEP_ALIVE,
    "options": _NO_OPTIONS,
}
