"""Ollama's request bodies: what they ask for, as params of jobs."""

import json
import re
from collections.abc import Mapping
from typing import Any

import msgspec
import structlog

from velesio.errors import Unsupported
from velesio.http.conversation import messages_of
from velesio.http.generation import stops_of
from velesio.http.sampling import sampling_of
from velesio.http.wire import INT_MAX, bad_field, convert, explain_type, within
from velesio.jobs import Chat, Completion, Embed, Grammar, Infill, Sampling

log = structlog.get_logger("velesio.http")

MOST_LOGPROBS = 20
"""Rivals of each token that can be asked for."""
WHOLE_CONTEXT = 32768
"""Tokens that `repeat_last_n` -1 looks back on; Ollama means the context by it."""

_DEFAULTS = {"top_p": 0.9, "min_p": 0.0}
"""Where Ollama's defaults are not llama.cpp's."""
_SAMPLING = frozenset(field.name for field in msgspec.structs.fields(Sampling))
_OTHERS = frozenset({"num_predict", "num_keep", "stop"})
_AT_LOADING = frozenset(
    {
        "num_ctx",
        "num_batch",
        "num_gpu",
        "main_gpu",
        "num_thread",
        "use_mmap",
        "use_mlock",
        "low_vram",
        "numa",
        "f16_kv",
        "vocab_only",
        "logits_all",
        "embedding_only",
        "draft_num_predict",
    }
)
"""What config.toml says for each model."""

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


Generating = Completion | Infill | Chat


class GenerateBody(msgspec.Struct):
    """The fields of `/api/generate` and `/api/chat` that one struct can read."""

    model: str = ""
    prompt: str = ""
    suffix: str = ""
    system: str = ""
    template: str = ""
    context: list[int] = []
    stream: bool = True
    raw: bool = False
    images: list[str] = []
    think: bool | str | None = None
    truncate: bool = True
    shift: bool | None = None
    logprobs: bool = False
    top_logprobs: int = 0


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
    """Whether a conversation that is too long loses its oldest messages."""
    thinks: bool | None = None
    """Whether the model shall think; None: as it likes."""
    remembers: bool = False
    """Whether the answer's tokens are given as `context`."""


def read_generate(raw: Mapping[str, Any]) -> Asked:
    """A request for `/api/generate`.

    Raises:
        BadRequest: naming the field.
        Unsupported: pictures, or a template of its own.
    """
    body = convert(raw, GenerateBody)
    if body.raw and (body.template or body.system or body.context):
        raise bad_field("raw", "raw mode does not support template, system, or context")
    if body.template:
        raise Unsupported(
            "Field 'template': a model's own template renders its prompts; send the whole prompt with raw instead",
            param="template",
        )
    _refuse_pictures(body.images, "images")
    for index, token in enumerate(body.context):
        within(f"context[{index}]", token, 0)
    return _asked(raw, body, _prompted(raw, body), context=tuple(body.context), remembers=not (body.raw or body.suffix))


def _prompted(raw: Mapping[str, Any], body: GenerateBody) -> Generating | None:
    if body.suffix:
        return _with(raw, body, Infill(prefix=body.prompt, suffix=body.suffix))
    if not body.prompt:
        return None
    if body.raw:
        return _with(raw, body, Completion(prompt=body.prompt))
    messages = [{"role": "user", "content": body.prompt}]
    if body.system:
        messages.insert(0, {"role": "system", "content": body.system})
    return _with(raw, body, Chat(messages=messages, **_thinking(body.think)))


def read_chat(raw: Mapping[str, Any]) -> Asked:
    """A request for `/api/chat`; without messages it loads the model.

    Raises:
        BadRequest: naming the field.
        Unsupported: pictures.
    """
    body = convert({name: value for name, value in raw.items() if name not in {"images", "context"}}, GenerateBody)
    messages = raw.get("messages", [])
    if not isinstance(messages, list):
        raise bad_field("messages", "expected a list of messages")
    if not messages:
        return _asked(raw, body, None)
    chat = Chat(
        messages=messages_of({"messages": openai_messages(messages)}),
        tools=tools_of(raw.get("tools")),
        **_thinking(body.think),
    )
    return _asked(raw, body, _with(raw, body, chat))


def _asked(raw: Mapping[str, Any], body: GenerateBody, params: Generating | None, **more: Any) -> Asked:
    if not body.model:
        raise bad_field("model", "is required: the name of a model, as /api/tags lists them")
    return Asked(
        model=body.model,
        stream=body.stream,
        params=params,
        keep_alive=keep_alive_of(raw.get("keep_alive")),
        truncate=body.truncate,
        thinks=None if body.think is None else body.think not in {False, "false"},
        **more,
    )


def _with(raw: Mapping[str, Any], body: GenerateBody, params: Generating) -> Generating:
    """`params` with the fields that every kind of text job has."""
    options = options_of(raw.get("options"))
    within("top_logprobs", body.top_logprobs, 0, MOST_LOGPROBS)
    return msgspec.structs.replace(
        params,
        sampling=sampling_of(_DEFAULTS | {name: value for name, value in options.items() if name in _SAMPLING}),
        max_tokens=_limit(options),
        n_keep=within("options.num_keep", _whole(options, "num_keep", 4), -1),
        stop=_stops(options.get("stop")),
        shift=body.shift,
        grammar=grammar_of(raw.get("format")),
        n_probs=max(1, body.top_logprobs) if body.logprobs else 0,
    )


def _limit(options: Mapping[str, Any]) -> int:
    """-1 is until the model ends, -2 until the context is full, which ends it here as well."""
    return max(-1, within("options.num_predict", _whole(options, "num_predict", -1), -2))


def _stops(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, str | list) or (isinstance(value, list) and not all(isinstance(s, str) for s in value)):
        raise bad_field("options.stop", "expected a string, or a list of strings")
    return stops_of(value)


def _whole(options: Mapping[str, Any], name: str, default: int) -> int:
    value = options.get(name, default)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise bad_field(f"options.{name}", "expected an integer")
    return int(value)


def options_of(value: Any) -> dict[str, Any]:
    """The options that are known; what is not is left out, with a line in the log.

    Raises:
        BadRequest: no object, or a value of the wrong type.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise bad_field("options", 'expected an object, like {"temperature": 0}')
    known = {name: option for name, option in value.items() if name in _SAMPLING | _OTHERS and option is not None}
    if known.get("repeat_last_n") == -1:
        known["repeat_last_n"] = WHOLE_CONTEXT
    if strange := sorted(value.keys() - _SAMPLING - _OTHERS - _AT_LOADING):
        log.warning("unknown options ignored", options=strange[:10])
    if fixed := sorted(value.keys() & _AT_LOADING):
        log.info("options ignored that config.toml sets for each model", options=fixed)
    return known


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


def keep_alive_of(value: Any) -> float | None:
    """Seconds for which the model stays loaded: a number, or a duration like "5m", "1h30m" or "-1"; negative: for ever.

    Raises:
        BadRequest: it is something else.
    """
    if value is None:
        return None
    seconds = value if type(value) in {int, float} else _duration(value) if isinstance(value, str) else None
    if seconds is None:
        raise bad_field("keep_alive", 'expected seconds, or a duration like "5m"')
    return max(-1.0, min(float(seconds), float(INT_MAX)))


def _duration(text: str) -> float | None:
    sign, rest = (-1.0, text[1:]) if text.startswith("-") else (1.0, text)
    if re.fullmatch(r"\d+(\.\d+)?", rest):
        return sign * float(rest)
    if not rest or _DURATION.sub("", rest):
        return None
    return sign * sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(rest))


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


def tools_of(value: Any) -> tuple[dict[str, Any], ...]:
    """Tools, which Ollama writes as OpenAI does.

    Raises:
        BadRequest: naming the tool.
    """
    if value is None:
        return ()
    if not isinstance(value, list):
        raise bad_field("tools", "expected a list of tools")
    for index, tool in enumerate(value):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise bad_field(f"tools[{index}]", 'expected {"type": "function", "function": {"name": "…", …}}')
    return tuple({"type": "function"} | tool for tool in value)


def openai_messages(messages: list[Any]) -> list[dict[str, Any]]:
    """Ollama's messages as OpenAI's: calls get ids where they have none, and their results refer to them.

    Raises:
        BadRequest: naming the message.
        Unsupported: pictures.
    """
    calls = _Calls()
    return [_message(message, f"messages[{index}]", calls) for index, message in enumerate(messages)]


class _Calls:
    """The calls of a conversation that have no result yet, as (id, name)."""

    def __init__(self) -> None:
        self._open: list[tuple[str, str]] = []
        self._count = 0

    def add(self, given: Any, name: str) -> str:
        """The id of one more call."""
        self._count += 1
        call_id = given if isinstance(given, str) and given else f"call_{self._count}"
        self._open.append((call_id, name))
        return call_id

    def answered(self, given: Any, name: Any) -> str:
        """The id of the call that a result belongs to: the one that it names, else the oldest of that function, else
        the oldest."""
        if isinstance(given, str) and given:
            return given
        found = next((call for call in self._open if call[1] == name), self._open[0] if self._open else None)
        if found is None:
            return "call_0"
        self._open.remove(found)
        return found[0]


def _message(message: Any, path: str, calls: _Calls) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise bad_field(path, "expected an object with role and content")
    role, content = message.get("role"), message.get("content") or ""
    if not isinstance(content, str):
        raise bad_field(f"{path}.content", "expected a string")
    _refuse_pictures(message.get("images"), f"{path}.images")
    read: dict[str, Any] = {"role": role, "content": content}
    if role == "tool":
        name = message.get("tool_name") or message.get("name")
        read["tool_call_id"] = calls.answered(message.get("tool_call_id"), name)
        return read | ({"name": name} if isinstance(name, str) else {})
    if isinstance(thinking := message.get("thinking"), str) and thinking:
        read["reasoning_content"] = thinking
    if made := message.get("tool_calls"):
        if not isinstance(made, list):
            raise bad_field(f"{path}.tool_calls", "expected a list")
        read["tool_calls"] = [_call(call, f"{path}.tool_calls[{n}]", calls) for n, call in enumerate(made)]
    return read


def _call(call: Any, path: str, calls: _Calls) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise bad_field(f"{path}.function", 'expected {"name": "…", "arguments": {…}}')
    name, arguments = function["name"], function.get("arguments") or {}
    if not isinstance(arguments, dict):
        raise bad_field(f"{path}.function.arguments", "expected an object")
    written = json.dumps(arguments, ensure_ascii=False)
    return {
        "id": calls.add(call.get("id"), name),
        "type": "function",
        "function": {"name": name, "arguments": written},
    }


def _refuse_pictures(images: Any, path: str) -> None:
    if images:
        raise Unsupported(f"Field '{path}': models here read text only; they cannot see pictures", param=path)


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
    within("dimensions", body.dimensions, 0)
    if not texts:
        return body.model, None
    return body.model, Embed(inputs=tuple(texts), truncate=body.truncate, dimensions=body.dimensions)


def read_embeddings(raw: Mapping[str, Any]) -> tuple[str, Embed | None]:
    """The model and the text of `/api/embeddings`, whose vector is not normalized.

    Raises:
        BadRequest: naming the field.
    """
    body = _embed_body(raw)
    return body.model, Embed(inputs=(body.prompt,), truncate=True, normalize=-1) if body.prompt else None


def _embed_body(raw: Mapping[str, Any]) -> EmbedBody:
    body = convert(raw, EmbedBody)
    if not body.model:
        raise bad_field("model", "is required: the name of a model, as /api/tags lists them")
    keep_alive_of(raw.get("keep_alive"))
    options_of(raw.get("options"))
    return body
