"""Messages of a chat, as OpenAI's clients write them."""

from collections.abc import Mapping
from typing import Any

import msgspec

from velesio.errors import Unsupported
from velesio.http.wire import bad_field

_ROLES = {"system": "system", "user": "user", "assistant": "assistant", "developer": "system"}
"""Role → the role that every model's template knows."""

_NO_TOOLS = "tools are not supported yet"


def messages_of(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The conversation, with contents as plain text.

    Raises:
        BadRequest: naming the field, `messages[1].content`.
        Unsupported: tools, pictures, sound.
    """
    if "messages" not in raw:
        raise bad_field("messages", 'is required: a list like [{"role": "user", "content": "Hello"}]')
    messages = raw["messages"]
    if not isinstance(messages, list) or not messages:
        raise bad_field("messages", "expected a non-empty list of messages")
    return [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]


def _message(message: Any, path: str) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise bad_field(path, "expected an object with role and content")
    role = message.get("role")
    if not isinstance(role, str):
        raise bad_field(f"{path}.role", f"expected one of {', '.join(_ROLES)}")
    if role in {"tool", "function"} or message.get("tool_calls") or message.get("function_call"):
        raise Unsupported(f"Field '{path}': {_NO_TOOLS}", param=path)
    if role not in _ROLES:
        raise bad_field(f"{path}.role", f"{role!r} is none of {', '.join(_ROLES)}")
    read = {"role": _ROLES[role], "content": _content(message.get("content"), f"{path}.content")}
    name = message.get("name")
    return {**read, "name": name} if isinstance(name, str) and name else read


def _content(content: Any, path: str) -> str:
    if isinstance(content, str):
        return content
    if content is None:
        raise bad_field(path, "is required: a string, or a list of parts")
    if not isinstance(content, list):
        raise bad_field(path, 'expected a string, or a list of parts like {"type": "text", "text": "Hello"}')
    return "\n".join(_part(part, f"{path}[{index}]") for index, part in enumerate(content))


def _part(part: Any, path: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise bad_field(path, 'expected an object with a type, like {"type": "text", "text": "Hello"}')
    if kind in {"text", "input_text", "output_text", "refusal"}:
        text = part.get("refusal" if kind == "refusal" else "text")
        if not isinstance(text, str):
            raise bad_field(f"{path}.text", "expected a string")
        return text
    if kind in {"image_url", "input_image", "input_audio", "input_video", "file"}:
        raise Unsupported(f"Field '{path}.type': models here read text only; {kind!r} is not supported yet", param=path)
    raise bad_field(f"{path}.type", f"{kind!r} is not a known type of content; send text")


def template_kwargs_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Variables for the model's template: `chat_template_kwargs` and what `reasoning_effort` means.

    Raises:
        BadRequest: naming the field.
    """
    given = raw.get("chat_template_kwargs", {})
    if not isinstance(given, dict):
        raise bad_field("chat_template_kwargs", "expected an object")
    thinking = given.get("enable_thinking")
    if thinking is not None and not isinstance(thinking, bool):
        raise bad_field("chat_template_kwargs.enable_thinking", "expected true or false")
    effort = raw.get("reasoning_effort")
    if effort is None:
        kwargs = given
    elif not isinstance(effort, str):
        raise bad_field("reasoning_effort", 'expected a string, like "low"')
    elif effort == "none":
        kwargs = {"enable_thinking": False} | given
    else:
        kwargs = {"reasoning_effort": effort} | given
    return _storable(kwargs)


def _storable(kwargs: dict[str, Any]) -> dict[str, Any]:
    """JSON has integers of any size, the queue's format has 64 bits."""
    try:
        msgspec.msgpack.encode(kwargs)
    except (OverflowError, RecursionError):
        raise bad_field("chat_template_kwargs", "has a number that is too large, or is nested too deeply") from None
    return kwargs
