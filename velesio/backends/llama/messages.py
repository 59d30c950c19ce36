"""The messages of a conversation in the shapes that templates want. Pure; what is given stays as it is."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from velesio.errors import BadRequest

Message = dict[str, Any]

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"


def plain(messages: Sequence[Any]) -> list[Message]:
    """Messages whose content is text, whatever parts it came in.

    Raises:
        BadRequest: naming the message that is none.
    """
    return [_plain(message, f"messages[{number}]") for number, message in enumerate(messages)]


def _plain(message: Any, place: str) -> Message:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadRequest(f"{place}: give a role: system, user or assistant", param="messages")
    return {**message, "content": _text(message.get("content"), place)}


def _text(content: Any, place: str) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRequest(f"{place}.content: expected text or a list of parts", param="messages")
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text" or not isinstance(part.get("text"), str):
            kind = part.get("type") if isinstance(part, dict) else type(part).__name__
            raise BadRequest(
                f"{place}.content: this model takes only parts of type text, not {kind!r}", param="messages"
            )
        texts.append(part["text"])
    return "\n".join(texts)


def typed(messages: Sequence[Message]) -> list[Message]:
    """With content as lists of parts."""
    return [message | {"content": [{"type": "text", "text": message["content"]}]} for message in messages]


def without_system(messages: Sequence[Message]) -> list[Message]:
    """With what the system says at the begin of what the user says next."""
    found: list[Message] = []
    said: list[str] = []
    for message in messages:
        if message["role"] == "system":
            said.append(message["content"])
        elif said and message["role"] == "user":
            found.append(message | {"content": "\n\n".join([*said, message["content"]])})
            said = []
        else:
            found.append(message)
    return [*found, {"role": "user", "content": "\n\n".join(said)}] if said else found


def to_objects(messages: Sequence[Message]) -> list[Message]:
    """With the arguments of calls as objects, where they are some."""
    return _with_arguments(messages, _object)


def to_texts(messages: Sequence[Message]) -> list[Message]:
    """With the arguments of calls as JSON text."""
    return _with_arguments(messages, lambda given: given if isinstance(given, str) else _json(given))


def _object(given: Any) -> Any:
    if not isinstance(given, str):
        return given
    try:
        value = json.loads(given) if given.strip() else {}
    except (ValueError, RecursionError):
        return given
    return value if isinstance(value, dict) else given


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _with_arguments(messages: Sequence[Message], change: Callable[[Any], Any]) -> list[Message]:
    def changed(call: Mapping[str, Any]) -> dict[str, Any]:
        function = call["function"]
        return {**call, "function": {**function, "arguments": change(function.get("arguments", {}))}}

    return _with_calls(messages, changed)


def with_short_ids(messages: Sequence[Message], length: int) -> list[Message]:
    """With ids of calls of `length` letters and digits, as some templates insist on."""

    def short(given: Any) -> str:
        text = given if isinstance(given, str) else ""
        if len(text) == length and text.isalnum():
            return text
        digest = hashlib.blake2b(text.encode(errors="replace"), digest_size=length).digest()
        return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest)

    found = _with_calls(messages, lambda call: {**call, "id": short(call.get("id"))})
    return [
        message | {"tool_call_id": short(message["tool_call_id"])} if "tool_call_id" in message else message
        for message in found
    ]


def _with_calls(messages: Sequence[Message], change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> list[Message]:
    found = []
    for number, message in enumerate(messages):
        calls = message.get("tool_calls")
        if not calls:
            found.append(message)
            continue
        if not isinstance(calls, list) or not all(_is_call(call) for call in calls):
            raise BadRequest(f"messages[{number}].tool_calls: expected calls of functions", param="messages")
        found.append(message | {"tool_calls": [change(call) for call in calls]})
    return found


def _is_call(call: Any) -> bool:
    return isinstance(call, dict) and isinstance(call.get("function"), dict)
