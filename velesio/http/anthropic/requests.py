"""The bodies of Anthropic's `/v1/messages`: what they ask for, as the params of a chat."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from velesio.errors import Unsupported
from velesio.http.fields import Fields, given, of, passed, refuse, refused
from velesio.http.text.conversation import conversation_of
from velesio.http.text.generation import stops_of
from velesio.http.text.sampling import sampling_of
from velesio.http.text.tools import function
from velesio.http.wire import INT_MAX, bad_field, convert, within
from velesio.jobs import Chat, Grammar

MAX_TOKENS = 4096
"""Where a request does not say; Anthropic's own server wants it said."""

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_EFFORTS = ("low", "medium", "high", "xhigh", "max")


class Body(msgspec.Struct):
    """The fields that one struct can read."""

    model: str = ""
    max_tokens: int = MAX_TOKENS
    stream: bool = False
    stop_sequences: list[str] = []


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request, read."""

    model: str
    stream: bool
    chat: Chat
    omits_thinking: bool = False
    """Whether the answer's reasoning is left out of it."""


FIELDS: Fields = {
    **of(
        Body,
        model="a model's name or an alias; the first text model if there is none",
        max_tokens="tokens to generate at most; 0 only reads the prompt",
        stream="answer with events as the text is made",
        stop_sequences="texts that end the answer",
    ),
    "messages": given(
        list[dict[str, Any]],
        "turns of user and assistant; content is text or blocks of type text, image (base64), document (text), "
        "search_result, thinking, tool_use and tool_result. A last turn of the assistant is continued",
        required=True,
    ),
    "system": given(str | list[dict[str, Any]], "text, or blocks of text"),
    "tools": given(list[dict[str, Any]], "of type custom: name, description, input_schema", default=[]),
    "tool_choice": given(dict[str, Any], "type auto, any, tool (with name) or none; disable_parallel_tool_use"),
    "thinking": given(
        dict[str, Any],
        "type enabled (with budget_tokens), adaptive or disabled; display omitted leaves the text of it out",
    ),
    "output_config": given(dict[str, Any], "format: a JSON schema that the answer keeps to; effort, for templates"),
    "output_format": given(dict[str, Any], "the older name of output_config.format"),
    "cache_control": passed("beginnings of prompts are cached by themselves; in blocks as well"),
    "metadata": passed("who asks is known by the key"),
    "service_tier": passed("there is one"),
    "speed": passed("there is one"),
    "inference_geo": passed("models run where the workers are"),
    "context_management": passed("nothing is taken out of a conversation"),
    "diagnostics": passed("there are none"),
    "user_profile_id": passed("who asks is known by the key"),
    "workspace_id": passed("who asks is known by the key"),
    "container": refused("containers for code are"),
    "mcp_servers": refused("MCP servers, whose tools the client can call and describe in tools, are"),
}


def read(raw: Mapping[str, Any]) -> Asked:
    """A request for a message, or for the number of its tokens.

    Raises:
        BadRequest: naming the field.
        Unsupported: files, and what only Anthropic's own servers do.
    """
    refuse(raw, FIELDS)
    body = convert(raw, Body)
    talk = conversation_of({"messages": _system(raw.get("system")) + _conversation(raw.get("messages"))})
    tools = _tools(raw.get("tools"))
    thinking, budget = _thinking(raw.get("thinking"))
    config = _config(raw)
    chat = Chat(
        messages=talk.messages,
        media=talk.media,
        sampling=sampling_of(raw),
        max_tokens=within("max_tokens", body.max_tokens, 0, INT_MAX),
        stop=stops_of(body.stop_sequences),
        tools=tools,
        grammar=_grammar(raw, config),
        template_kwargs=thinking | _effort(config),
        reasoning_budget=budget,
        **_choice(raw.get("tool_choice"), [tool["function"]["name"] for tool in tools]),
    )
    return Asked(model=body.model, stream=body.stream, chat=chat, omits_thinking=_omits(raw.get("thinking")))


def _system(system: Any) -> list[dict[str, Any]]:
    if system is None or system == "":
        return []
    return [{"role": "system", "content": _text(system, "system")}]


def _text(content: Any, path: str) -> str:
    """Plain text from a string or a list of blocks."""
    joined = _joined(_parts(content, path))
    if not isinstance(joined, str):
        raise bad_field(path, "expected text only")
    return joined


def _parts(content: Any, path: str) -> list[dict[str, Any]]:
    """OpenAI's parts for a string or a list of blocks."""
    if isinstance(content, str):
        return [_said(content)]
    if not isinstance(content, list):
        raise bad_field(path, 'expected a string, or a list of blocks like {"type": "text", "text": "Hello"}')
    return [_part(block, f"{path}[{index}]") for index, block in enumerate(content)]


def _joined(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Text alone as one string, which every template reads; what holds pictures stays in parts."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _said(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _part(block: Any, path: str) -> dict[str, Any]:
    kind = _kind(block, path)
    match kind:
        case "text":
            return _said(_string(block, "text", path))
        case "image":
            return {"type": "image_url", "image_url": {"url": _picture(block.get("source"), f"{path}.source")}}
        case "document":
            return _said(_titled(block, _document(block.get("source"), f"{path}.source")))
        case "search_result":
            return _said(_titled(block, _text(block.get("content"), f"{path}.content")))
        case _:
            raise bad_field(f"{path}.type", f"{kind!r} is not known here; send text, image, document or search_result")


def _titled(block: Mapping[str, Any], text: str) -> str:
    """A document's text after what is said about it."""
    about = [block.get(name) for name in ("title", "context", "source")]
    return "\n".join([*(each for each in about if isinstance(each, str) and each), text])


def _picture(source: Any, path: str) -> str:
    """The address of a picture; one that comes with the request is an address in itself."""
    kind = source.get("type") if isinstance(source, dict) else None
    if kind == "base64":
        return f"data:{_string(source, 'media_type', path)};base64,{_string(source, 'data', path)}"
    if kind == "url":
        return _string(source, "url", path)
    if kind == "file":
        raise Unsupported(f"Field '{path}': no files are kept here; send the picture itself as base64", param=path)
    raise bad_field(path, 'expected {"type": "base64", "media_type": "image/png", "data": "…"} or a url')


def _document(source: Any, path: str) -> str:
    if isinstance(source, dict) and source.get("type") == "text":
        return _string(source, "data", path)
    if isinstance(source, dict) and source.get("type") == "content":
        return _text(source.get("content"), f"{path}.content")
    raise Unsupported(f"Field '{path}': only documents of plain text are read here", param=path)


def _kind(block: Any, path: str) -> str:
    kind = block.get("type") if isinstance(block, dict) else None
    if not isinstance(kind, str):
        raise bad_field(path, 'expected a block with a type, like {"type": "text", "text": "Hello"}')
    return kind


def _string(block: Mapping[str, Any], name: str, path: str) -> str:
    value = block.get(name)
    if not isinstance(value, str):
        raise bad_field(f"{path}.{name}", "expected a string")
    return value


def _conversation(messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages:
        raise bad_field("messages", 'is required: a list like [{"role": "user", "content": "Hello"}]')
    return [each for index, message in enumerate(messages) for each in _turn(message, f"messages[{index}]")]


def _turn(message: Any, path: str) -> list[dict[str, Any]]:
    """OpenAI's messages for one of Anthropic's: results of tools are messages of their own, before the text."""
    if not isinstance(message, dict) or message.get("role") not in ("user", "assistant", "system"):
        raise bad_field(f"{path}.role", "expected user or assistant")
    role, content = message["role"], message.get("content")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    if not isinstance(content, list):
        raise bad_field(f"{path}.content", "expected a string or a list of blocks")
    turn = _Turn()
    for index, block in enumerate(content):
        turn.add(block, f"{path}.content[{index}]", role)
    return turn.messages(role)


class _Turn:
    """The blocks of one message, sorted by what they are."""

    def __init__(self) -> None:
        self._parts: list[dict[str, Any]] = []
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._results: list[dict[str, Any]] = []

    def add(self, block: Any, path: str, role: str) -> None:
        """One block more."""
        kind = _kind(block, path)
        if kind == "thinking" and role == "assistant":
            self._thoughts.append(_string(block, "thinking", path))
        elif kind == "redacted_thinking" and role == "assistant":
            return  # only Anthropic's servers can read it
        elif kind == "tool_use" and role == "assistant":
            self._calls.append(_call(block, path))
        elif kind == "tool_result" and role == "user":
            self._results.append(_result(block, path))
        else:
            self._parts.append(_part(block, path))

    def messages(self, role: str) -> list[dict[str, Any]]:
        """All of them as OpenAI writes them."""
        said: dict[str, Any] = {"role": role, "content": _joined(self._parts)}
        if self._thoughts:
            said["reasoning_content"] = "\n".join(self._thoughts)
        if self._calls:
            said["tool_calls"] = self._calls
        if self._results and not self._parts:
            return self._results
        return [*self._results, said]


def _call(block: Mapping[str, Any], path: str) -> dict[str, Any]:
    arguments = block.get("input", {})
    if not isinstance(arguments, dict):
        raise bad_field(f"{path}.input", "expected an object")
    written = json.dumps(arguments, ensure_ascii=False)
    function = {"name": _string(block, "name", path), "arguments": written}
    return {"id": _string(block, "id", path), "type": "function", "function": function}


def _result(block: Mapping[str, Any], path: str) -> dict[str, Any]:
    content = block.get("content")
    said = "" if content is None else _joined(_parts(content, f"{path}.content"))
    return {"role": "tool", "tool_call_id": _string(block, "tool_use_id", path), "content": said}


def _tools(value: Any) -> tuple[dict[str, Any], ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise bad_field("tools", "expected a list of tools")
    return tuple(_tool(tool, f"tools[{index}]") for index, tool in enumerate(value))


def _tool(tool: Any, path: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise bad_field(path, 'expected {"name": "…", "input_schema": {…}}')
    if (kind := tool.get("type", "custom")) != "custom":
        remedy = "describe one of your own, with a name and an input_schema"
        raise Unsupported(f"Field '{path}.type': {kind!r} is a tool of Anthropic's; {remedy}", param=f"{path}.type")
    schema = tool.get("input_schema", {"type": "object"})
    if not isinstance(schema, dict):
        raise bad_field(f"{path}.input_schema", "expected a JSON schema")
    return function(_string(tool, "name", path), tool.get("description"), schema, path)


def _choice(value: Any, names: Sequence[str]) -> dict[str, Any]:
    """Fields of `Chat` for `tool_choice`, of the tools with these names."""
    if value is None:
        return {}
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "tool":
        name = _string(value, "name", "tool_choice")
        if name not in names:
            raise bad_field(
                "tool_choice.name", f"{name!r} is none of the tools: {', '.join(names) or 'there are none'}"
            )
        choice = f"={name}"
    elif isinstance(kind, str) and kind in _CHOICES:
        choice = _CHOICES[kind]
    else:
        raise bad_field("tool_choice.type", f"{kind!r} is none of auto, any, tool, none")
    if choice == "required" and not names:
        raise bad_field("tool_choice", "asks for a tool, and there are none in tools")
    alone = value.get("disable_parallel_tool_use")
    return {"tool_choice": choice, "parallel_tool_calls": False if alone is True else None}


def _thinking(value: Any) -> tuple[dict[str, Any], int]:
    """What `thinking` tells the template, and the tokens of reasoning that it allows; -1: any number."""
    if value is None:
        return {}, -1
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "disabled":
        return {"enable_thinking": False}, 0
    if kind == "adaptive":
        return {"enable_thinking": True}, -1
    if kind != "enabled":
        raise bad_field("thinking.type", f"{kind!r} is none of enabled, disabled, adaptive")
    budget = value.get("budget_tokens", -1)
    if type(budget) is not int:
        raise bad_field("thinking.budget_tokens", "expected an integer")
    return {"enable_thinking": True}, within("thinking.budget_tokens", budget, -1)


def _omits(thinking: Any) -> bool:
    display = thinking.get("display") if isinstance(thinking, dict) else None
    if display not in (None, "summarized", "omitted"):
        raise bad_field("thinking.display", f"{display!r} is none of summarized, omitted")
    return display == "omitted"


def _config(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    config = raw.get("output_config", {})
    if not isinstance(config, dict):
        raise bad_field("output_config", "expected an object")
    return config


def _effort(config: Mapping[str, Any]) -> dict[str, Any]:
    """What `output_config.effort` tells the template."""
    effort = config.get("effort")
    if effort is None:
        return {}
    if effort not in _EFFORTS:
        raise bad_field("output_config.effort", f"{effort!r} is none of {', '.join(_EFFORTS)}")
    return {"reasoning_effort": effort}


def _grammar(raw: Mapping[str, Any], config: Mapping[str, Any]) -> Grammar | None:
    """What `output_config.format`, or `output_format` before it, asks for."""
    path = "output_config.format" if config.get("format") is not None else "output_format"
    value = config.get("format") if path == "output_config.format" else raw.get("output_format")
    if value is None:
        return None
    schema = value.get("schema") if isinstance(value, dict) and value.get("type") == "json_schema" else None
    if not isinstance(schema, dict):
        raise bad_field(path, 'expected {"type": "json_schema", "schema": {…}}')
    return Grammar(schema=schema)
