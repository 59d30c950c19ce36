"""What a chat says of the reasoning before the answer: whether there is any, for how long, and where it is told."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from velesio.http.fields import given, passed, refused
from velesio.http.wire import bad_field, within

Format = Literal["none", "deepseek", "deepseek-legacy", "auto"]

_FORMATS: tuple[Format, ...] = ("none", "deepseek", "deepseek-legacy", "auto")
_BUDGETS = ("reasoning_budget_tokens", "thinking_budget_tokens", "reasoning_budget")


class Reasoning(NamedTuple):
    """How a chat is thought about."""

    format: Format = "auto"
    """`none`: as part of the content; `deepseek-legacy`: there and apart, in a stream only there; else apart."""
    budget: int = -1
    """Tokens; -1: no limit."""
    kwargs: Mapping[str, Any] = {}
    """Variables for the model's template."""


def reasoning_of(raw: Mapping[str, Any]) -> Reasoning:
    """The reasoning fields of a body.

    Raises:
        BadRequest: naming the field.
    """
    form = raw.get("reasoning_format", "auto")
    if form not in _FORMATS:
        raise bad_field("reasoning_format", f"expected one of {', '.join(_FORMATS)}")
    return Reasoning(form, _budget(raw), template_kwargs_of(raw))


def _budget(raw: Mapping[str, Any]) -> int:
    name = next((name for name in _BUDGETS if name in raw), None)
    if name is None:
        return 0 if raw.get("reasoning_effort") == "none" else -1
    value = raw[name]
    value = int(value) if type(value) is float and value.is_integer() else value
    if type(value) is not int:
        raise bad_field(name, "expected an integer")
    return within(name, value, -1)


def template_kwargs_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Variables for the model's template: `chat_template_kwargs` and what the fields beside it mean.

    Raises:
        BadRequest: naming the field.
    """
    named = raw.get("chat_template_kwargs", {})
    if not isinstance(named, dict):
        raise bad_field("chat_template_kwargs", "expected an object")
    return _storable(_meant(raw) | named)


def _meant(raw: Mapping[str, Any]) -> dict[str, Any]:
    for path, place in (
        ("enable_thinking", raw),
        ("chat_template_kwargs.enable_thinking", raw.get("chat_template_kwargs", {})),
    ):
        thinking = place.get("enable_thinking")
        if thinking is not None and not isinstance(thinking, bool):
            raise bad_field(path, "expected true or false")
    effort = raw.get("reasoning_effort")
    if effort is not None and not isinstance(effort, str):
        raise bad_field("reasoning_effort", 'expected a string, like "low"')
    meant: dict[str, Any] = {}
    if effort == "none":
        meant["enable_thinking"] = False
    elif effort is not None:
        meant["reasoning_effort"] = effort
    if "enable_thinking" in raw:
        meant["enable_thinking"] = raw["enable_thinking"]
    return meant


def _storable(kwargs: dict[str, Any]) -> dict[str, Any]:
    """JSON has integers of any size, the queue's format has 64 bits."""
    try:
        msgspec.msgpack.encode(kwargs)
    except (OverflowError, RecursionError):
        raise bad_field("chat_template_kwargs", "has a number that is too large, or is nested too deeply") from None
    return kwargs


FIELDS = {
    "reasoning_format": given(
        Format,
        "where the reasoning is told: `none`: in `content`; `deepseek`, `auto`: in `reasoning_content`; "
        "`deepseek-legacy`: in both, in a stream only in `content`",
        default="auto",
    ),
    "reasoning_effort": given(str, "a variable of the model's template; `none`: no reasoning"),
    "reasoning_budget_tokens": given(int, "tokens of reasoning, after which it is ended; -1: no limit", default=-1),
    "thinking_budget_tokens": given(int, "the same, if that is not given"),
    "reasoning_budget": given(int, "the same, if neither is given"),
    "enable_thinking": given(bool, "a variable of the model's template"),
    "chat_template_kwargs": given(dict[str, Any], "variables of the model's template; they count most", default={}),
    "reasoning_control": passed("the reasoning of every answer can be ended, by `/v1/chat/completions/control`"),
    "reasoning_budget_message": refused("other words at the end of the reasoning than the model's own are"),
    "reasoning_budget_start_tag": passed("the model's template tells how its reasoning is marked"),
    "reasoning_budget_end_tag": passed("the same"),
    "reasoning_budget_end_tags": passed("the same"),
}
