"""Tools that an answer may call, as OpenAI's chats name them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from velesio.errors import Unsupported
from velesio.http import fields
from velesio.http.wire import bad_field

MOST_TOOLS = 128
_WORDS = ("auto", "none", "required")
_EXAMPLE = '{"type": "function", "function": {"name": "…", "parameters": {…}}}'


class Tools(NamedTuple):
    """What `jobs.Chat` has of them."""

    tools: tuple[dict[str, Any], ...] = ()
    choice: str = "auto"
    parallel: bool | None = None

    @property
    def callable(self) -> tuple[dict[str, Any], ...]:
        """Those that an answer may call."""
        return () if self.choice == "none" else self.tools


def tools_of(raw: Mapping[str, Any]) -> Tools:
    """The tools of a body, and which of them must or may be called.

    Raises:
        BadRequest: naming the field.
        Unsupported: tools that are no functions.
    """
    tools = _tools(raw.get("tools", []))
    choice, tools = _choice(raw.get("tool_choice", "auto"), tools)
    parallel = raw.get("parallel_tool_calls")
    if parallel is not None and not isinstance(parallel, bool):
        raise bad_field("parallel_tool_calls", "expected true or false")
    return Tools(tools, choice, parallel)


def function(name: Any, description: Any, parameters: Any, path: str, *, strict: bool = False) -> dict[str, Any]:
    """One tool as templates expect it; without parameters it takes an empty object.

    Raises:
        BadRequest: naming the field.
    """
    parameters = {"type": "object", "properties": {}} if parameters is None else parameters
    if not isinstance(name, str) or not name:
        raise bad_field(f"{path}.name", "expected the name of a function")
    if not isinstance(parameters, dict):
        raise bad_field(f"{path}.parameters", "expected a JSON schema, an object")
    inner: dict[str, Any] = {"name": name}
    if isinstance(description, str):
        inner["description"] = description
    inner["parameters"] = parameters
    if strict:
        inner["strict"] = True
    tool = {"type": "function", "function": inner}
    try:
        msgspec.msgpack.encode(tool)
    except (OverflowError, RecursionError):
        raise bad_field(path, "has a number that is too large, or is nested too deeply") from None
    return tool


def described(given: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The same from an object with `name`, `description`, `parameters` and `strict`.

    Raises:
        BadRequest: naming the field.
    """
    strict = given.get("strict") is True
    return function(given.get("name"), given.get("description"), given.get("parameters"), path, strict=strict)


def _tools(value: Any) -> tuple[dict[str, Any], ...]:
    if not isinstance(value, list):
        raise bad_field("tools", f"expected a list of tools like {_EXAMPLE}")
    if len(value) > MOST_TOOLS:
        raise bad_field("tools", f"has {len(value)} items; at most {MOST_TOOLS} are accepted")
    return tuple(_tool(tool, f"tools[{index}]") for index, tool in enumerate(value))


def _tool(tool: Any, path: str) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise bad_field(path, f"expected {_EXAMPLE}")
    if (kind := tool.get("type", "function")) != "function":
        raise Unsupported(f"Field '{path}.type': {kind!r} is none that can be called here; send functions", param=path)
    inner = tool.get("function")
    if not isinstance(inner, dict):
        raise bad_field(f"{path}.function", f"expected {_EXAMPLE}")
    return described(inner, f"{path}.function")


def _choice(value: Any, tools: tuple[dict[str, Any], ...]) -> tuple[str, tuple[dict[str, Any], ...]]:
    """`jobs.Chat.tool_choice`, and the tools that are left to choose from."""
    if isinstance(value, str):
        if value not in _WORDS:
            raise bad_field("tool_choice", f"expected one of {', '.join(_WORDS)}, or a function")
        if value == "required" and not tools:
            raise bad_field("tool_choice", "needs tools to choose from")
        return value, tools
    kind = value.get("type") if isinstance(value, dict) else None
    if kind == "function":
        return f"={_named(value, tools, 'tool_choice')}", tools
    if kind == "allowed_tools" and isinstance(allowed := value.get("allowed_tools", value), dict):
        return _allowed(allowed, tools)
    raise bad_field("tool_choice", 'expected auto, none, required or {"type": "function", "function": {"name": "…"}}')


def _named(value: Mapping[str, Any], tools: Sequence[Mapping[str, Any]], path: str) -> str:
    """The name in a choice, which the responses API writes without `function`."""
    inner = value.get("function", value)
    name = inner.get("name") if isinstance(inner, dict) else None
    if not isinstance(name, str) or all(tool["function"]["name"] != name for tool in tools):
        known = ", ".join(tool["function"]["name"] for tool in tools) or "none"
        raise bad_field(path, f"names no function of tools; there are {known}")
    return name


def _allowed(value: Mapping[str, Any], tools: tuple[dict[str, Any], ...]) -> tuple[str, tuple[dict[str, Any], ...]]:
    mode, listed = value.get("mode", "auto"), value.get("tools")
    if mode not in {"auto", "required"} or not isinstance(listed, list) or not listed:
        raise bad_field("tool_choice.allowed_tools", "expected a mode, auto or required, and a list of tools")
    names = {
        _named(each if isinstance(each, dict) else {}, tools, f"tool_choice.allowed_tools.tools[{index}]")
        for index, each in enumerate(listed)
    }
    return mode, tuple(tool for tool in tools if tool["function"]["name"] in names)


FIELDS = {
    "tools": fields.given(
        list[dict[str, Any]], f"functions that the answer may call; at most {MOST_TOOLS}", default=[]
    ),
    "tool_choice": fields.given(
        str | dict[str, Any],
        "`auto`, `none`, `required`, one function, or `allowed_tools`",
        default="auto",
    ),
    "parallel_tool_calls": fields.given(bool, "whether the answer may call several; as the model's template likes"),
}
