"""Tools of a chat: which there are, which may be called."""

from typing import Any

import pytest

from velesio.errors import BadRequest, Unsupported
from velesio.http.text.tools import MOST_TOOLS, Tools, tools_of


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
NOTHING = {"type": "object", "properties": {}}
F, G = tool("f", parameters=NOTHING, strict=True), tool("g", description="G.", parameters=SCHEMA)
BOTH = [tool("f", strict=True), G]


@pytest.mark.parametrize(
    ("raw", "tools"),
    [
        ({}, Tools()),
        ({"tools": [], "tool_choice": "auto"}, Tools()),
        ({"tools": BOTH}, Tools((F, G))),
        (
            {"tools": [{"function": {"name": "f", "strict": True}}], "parallel_tool_calls": False},
            Tools((F,), "auto", False),
        ),
        ({"tools": BOTH, "tool_choice": "none"}, Tools((F, G), "none")),
        ({"tools": BOTH, "tool_choice": "required"}, Tools((F, G), "required")),
        ({"tools": BOTH, "tool_choice": {"type": "function", "function": {"name": "g"}}}, Tools((F, G), "=g")),
        ({"tools": BOTH, "tool_choice": {"type": "function", "name": "g"}}, Tools((F, G), "=g")),
        (
            {
                "tools": BOTH,
                "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [tool("g")]}},
            },
            Tools((G,), "required"),
        ),
    ],
)
def test_tools(raw: dict[str, Any], tools: Tools) -> None:
    """A function without parameters takes an empty object; choices name one, some or none of them."""
    assert tools_of(raw) == tools


def test_none_may_be_called() -> None:
    """The template still shows them."""
    assert Tools((F,), "none").callable == ()
    assert Tools((F,)).callable == (F,)


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"tools": "f"}, "tools"),
        ({"tools": [F] * (MOST_TOOLS + 1)}, "tools"),
        ({"tools": ["f"]}, "tools[0]"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [tool("")]}, "tools[0].function.name"),
        ({"tools": [tool("f", parameters=[])]}, "tools[0].function.parameters"),
        ({"tools": [tool("f", parameters={"maximum": 2**70})]}, "tools[0].function"),
        ({"tool_choice": "any"}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": 5}, "tool_choice"),
        ({"tools": BOTH, "tool_choice": {"type": "function", "function": {"name": "h"}}}, "tool_choice"),
        ({"tools": BOTH, "tool_choice": {"type": "allowed_tools"}}, "tool_choice.allowed_tools"),
        (
            {"tools": BOTH, "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": ["f"]}},
            "tool_choice.allowed_tools.tools[0]",
        ),
        ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ],
)
def test_bad_tools_are_named(raw: dict[str, Any], param: str) -> None:
    """By their path in the body."""
    with pytest.raises(BadRequest) as caught:
        tools_of(raw)
    assert caught.value.param == param


def test_only_functions_are_tools() -> None:
    """Others run on OpenAI's servers."""
    with pytest.raises(Unsupported):
        tools_of({"tools": [{"type": "custom", "custom": {"name": "x"}}]})
