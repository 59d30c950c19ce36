"""The bodies of Anthropic's `/v1/messages`: what they ask for, as the params of a chat."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from velesio.errors import Unsupported
from velesio.http.conversation import messages_of
from velesio.http.generation import stops_of
from velesio.http.sampling import sampling_of
from velesio.http.wire import INT_MAX, bad_field, convert, within
from velesio.jobs import Chat, Grammar

MAX_TOKENS = 4096
"""Where a request does not say; Anthropic's own server wants it said."""

_SAMPLING = ("temperature", "top_p", "top_k")
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}
_PICTURES = "models here read text only; they cannot see pictures"


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


def read(raw: Mapping[str, Any]) -> Asked:
    """A request for a message, or for the number of its tokens.

    Raises:
        BadRequest: naming the field.
        Unsupported: pictures, files, tools that Anthropic's own servers run.
    """
    body = convert(raw, Body)
    messages = _system(raw.get("system")) + _conversation(raw.get("messages"))
    chat = Chat(
        messages=messages_of({"messages": messages}),
        sampling=sampling_of({name: raw[name] for name in _SAMPLING if name in raw}),
        max_tokens=within("max_tokens", body.max_tokens, 0, INT_MAX),
        stop=stops_of(body.stop_sequences),
        tools=_tools(raw.get("tools")),
        grammar=_grammar(raw),
        **_choice(raw.get("tool_choice")),
        **_thinking(raw.get("thinking")),
    )
    return Asked(model=body.model, stream=body.stream, chat=chat)


def _system(system: Any) -> list[dict[str, Any]]:
    if system is None or system == "":
        return []
    return [{"role": "system", "content": _text(system, "system")}]


def _text(content: Any, path: str) -> str:
    """Plain text from a string or a list of blocks."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise bad_field(path, 'expected a string, or a list of blocks like {"type": "text", "text": "Hello"}')
    return "\n".join(_text_block(block, f"{path}[{index}]") for index, block in enumerate(content))


def _text_block(block: Any, path: str) -> str:
    kind = _kind(block, path)
    if kind == "image":
        raise Unsupported(f"Field '{path}': {_PICTURES}", param=path)
    if kind == "document":
        return _document(block.get("source"), f"{path}.source")
    if kind != "text":
        raise bad_field(f"{path}.type", f"{kind!r} is not known here; send text")
    return _string(block, "text", path)


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
    if not isinstance(message, dict) or message.get("role") not in {"user", "assistant", "system"}:
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
        self._texts: list[str] = []
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
            self._texts.append(_text_block(block, path))

    def messages(self, role: str) -> list[dict[str, Any]]:
        """All of them as OpenAI writes them."""
        said: dict[str, Any] = {"role": role, "content": "\n".join(self._texts)}
        if self._thoughts:
            said["reasoning_content"] = "\n".join(self._thoughts)
        if self._calls:
            said["tool_calls"] = self._calls
        if self._results and not self._texts:
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
    text = "" if content is None else _text(content, f"{path}.content")
    return {"role": "tool", "tool_call_id": _string(block, "tool_use_id", path), "content": text}


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
        raise Unsupported(f"Field '{path}.type': {kind!r} runs on Anthropic's servers only", param=f"{path}.type")
    schema = tool.get("input_schema", {"type": "object"})
    if not isinstance(schema, dict):
        raise bad_field(f"{path}.input_schema", "expected a JSON schema")
    function: dict[str, Any] = {"name": _string(tool, "name", path), "parameters": schema}
    if isinstance(tool.get("description"), str):
        function["description"] = tool["description"]
    return {"type": "function", "function": function}


def _choice(value: Any) -> dict[str, Any]:
    """Fields of `Chat` for `tool_choice`."""
    if value is None:
        return {}
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "tool":
        choice = f"={_string(value, 'name', 'tool_choice')}"
    elif isinstance(kind, str) and kind in _CHOICES:
        choice = _CHOICES[kind]
    else:
        raise bad_field("tool_choice.type", f"{kind!r} is none of auto, any, tool, none")
    alone = value.get("disable_parallel_tool_use")
    return {"tool_choice": choice, "parallel_tool_calls": False if alone is True else None}


def _thinking(value: Any) -> dict[str, Any]:
    """Fields of `Chat` for `thinking`."""
    if value is None:
        return {}
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "disabled":
        return {"template_kwargs": {"enable_thinking": False}, "reasoning_budget": 0}
    if kind == "adaptive":
        return {"template_kwargs": {"enable_thinking": True}}
    if kind != "enabled":
        raise bad_field("thinking.type", f"{kind!r} is none of enabled, disabled, adaptive")
    budget = value.get("budget_tokens", -1)
    if type(budget) is not int:
        raise bad_field("thinking.budget_tokens", "expected an integer")
    within("thinking.budget_tokens", budget, -1)
    return {"template_kwargs": {"enable_thinking": True}, "reasoning_budget": budget}


def _grammar(raw: Mapping[str, Any]) -> Grammar | None:
    """What `output_config.format`, or `output_format` before it, asks for."""
    config = raw.get("output_config", {})
    if not isinstance(config, dict):
        raise bad_field("output_config", "expected an object")
    path = "output_config.format" if config.get("format") is not None else "output_format"
    value = config.get("format") if path == "output_config.format" else raw.get("output_format")
    if value is None:
        return None
    schema = value.get("schema") if isinstance(value, dict) and value.get("type") == "json_schema" else None
    if not isinstance(schema, dict):
        raise bad_field(path, 'expected {"type": "json_schema", "schema": {…}}')
    return Grammar(schema=schema)
