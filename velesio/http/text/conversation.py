"""Messages of a chat, as OpenAI's clients write them."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from velesio.errors import Unsupported
from velesio.http.media import Media, decoded, file_of
from velesio.http.wire import bad_field

_ROLES = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "developer": "system",
    "tool": "tool",
    "function": "tool",
}
"""Role → the role that models' templates know."""

_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Type of a part → where its text is."""


class Conversation(NamedTuple):
    """What `jobs.Chat` has of it."""

    messages: list[dict[str, Any]]
    """Contents are text, or where pictures or sounds are among them, parts of type `text` and `media`."""
    media: tuple[bytes, ...] = ()


def conversation_of(raw: Mapping[str, Any]) -> Conversation:
    """The conversation of a body.

    Raises:
        BadRequest: naming the field, `messages[1].content`.
        Unsupported: a kind of content that no model here reads.
    """
    if "messages" not in raw:
        raise bad_field("messages", 'is required: a list like [{"role": "user", "content": "Hello"}]')
    messages = raw["messages"]
    if not isinstance(messages, list) or not messages:
        raise bad_field("messages", "expected a non-empty list of messages")
    media = Media()
    read = [_message(message, f"messages[{index}]", media) for index, message in enumerate(messages)]
    return Conversation(read, media.files)


def _message(message: Any, path: str, media: Media) -> dict[str, Any]:
    if not isinstance(message, dict):
        raise bad_field(path, "expected an object with role and content")
    role = message.get("role")
    if not isinstance(role, str):
        raise bad_field(f"{path}.role", f"expected one of {', '.join(_ROLES)}")
    if role not in _ROLES:
        raise bad_field(f"{path}.role", f"{role!r} is none of {', '.join(_ROLES)}")
    calls = _calls(message, path) if role == "assistant" else []
    content = message.get("content")
    read = {
        "role": _ROLES[role],
        "content": "" if content is None and calls else content_of(content, f"{path}.content", media),
    }
    for name in ("name", "tool_call_id", "reasoning_content"):
        if isinstance(message.get(name), str) and message[name]:
            read[name] = message[name]
    return {**read, "tool_calls": calls} if calls else read


def content_of(content: Any, path: str, media: Media) -> str | list[dict[str, Any]]:
    """The content of one message: text, or parts if there are pictures or sounds among them, which go to `media`.

    Raises:
        BadRequest: naming the part.
        Unsupported: a kind of content that no model here reads.
    """
    if isinstance(content, str):
        return content
    if content is None:
        raise bad_field(path, "is required: a string, or a list of parts")
    if not isinstance(content, list):
        raise bad_field(path, 'expected a string, or a list of parts like {"type": "text", "text": "Hello"}')
    parts = [_part(part, f"{path}[{index}]", media) for index, part in enumerate(content)]
    if any(part["type"] == "media" for part in parts):
        return parts
    return "\n".join(part["text"] for part in parts)


def _part(part: Any, path: str, media: Media) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        raise bad_field(path, 'expected an object with a type, like {"type": "text", "text": "Hello"}')
    if kind in _TEXTS:
        text = part.get(_TEXTS[kind])
        if not isinstance(text, str):
            raise bad_field(f"{path}.text", "expected a string")
        return {"type": "text", "text": text}
    if kind in {"image_url", "input_image"}:
        return media.add(_picture(part.get("image_url"), f"{path}.image_url"), path)
    if kind in {"input_audio", "input_video"}:
        return media.add(_recording(part.get(kind), f"{path}.{kind}"), path)
    if kind in {"file", "input_file"}:
        raise Unsupported(f"Field '{path}.type': no model here reads files; send their text", param=path)
    raise bad_field(f"{path}.type", f"{kind!r} is not a known type of content; send text")


def _picture(value: Any, path: str) -> bytes:
    """The address stands in an object, or by itself."""
    return file_of(value.get("url"), f"{path}.url") if isinstance(value, dict) else file_of(value, path)


def _recording(value: Any, path: str) -> bytes:
    if not isinstance(value, dict):
        raise bad_field(path, 'expected an object with data in base64, like {"data": "UklGR…", "format": "wav"}')
    if "data" in value:
        return decoded(value["data"], f"{path}.data")
    return file_of(value.get("url"), f"{path}.url")


def _calls(message: Mapping[str, Any], path: str) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    if calls is None and message.get("function_call") is not None:
        calls = [{"function": message["function_call"]}]
    if calls is None:
        return []
    if not isinstance(calls, list):
        raise bad_field(f"{path}.tool_calls", "expected a list of calls")
    return [_call(call, f"{path}.tool_calls[{index}]") for index, call in enumerate(calls)]


def _call(call: Any, path: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise bad_field(path, 'expected {"id": "…", "type": "function", "function": {"name": "…", "arguments": "{…}"}}')
    arguments = function.get("arguments", "{}")
    if isinstance(arguments, dict):
        arguments = json.dumps(arguments, ensure_ascii=False)
    if not isinstance(arguments, str):
        raise bad_field(f"{path}.function.arguments", "expected a string that holds a JSON object")
    known = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**known, "type": "function", "function": {"name": function["name"], "arguments": arguments}}
