"""Ollama's messages as OpenAI's: pictures are parts, calls have ids, results refer to them."""

import json
from collections.abc import Mapping
from typing import Any

from velesio.http.media import decoded
from velesio.http.wire import bad_field


def openai_messages(messages: list[Any]) -> list[dict[str, Any]]:
    """Ollama's messages as OpenAI's: calls get ids where they have none, and their results refer to them.

    Raises:
        BadRequest: naming the message.
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
    read: dict[str, Any] = {"role": message.get("role"), "content": _content(message, path)}
    if message.get("role") == "tool":
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


def _content(message: Mapping[str, Any], path: str) -> str | list[dict[str, Any]]:
    content = message.get("content") or ""
    if not isinstance(content, str):
        raise bad_field(f"{path}.content", "expected a string")
    pictures = pictures_of(message.get("images"), f"{path}.images")
    return [*pictures, {"type": "text", "text": content}] if pictures else content


def pictures_of(images: Any, path: str) -> list[dict[str, Any]]:
    """Pictures in base64 as OpenAI's parts; they stand before the text.

    Raises:
        BadRequest: naming the picture.
    """
    if images is None:
        return []
    if not isinstance(images, list):
        raise bad_field(path, "expected a list of pictures in base64")
    return [_picture(image, f"{path}[{index}]") for index, image in enumerate(images)]


def _picture(image: Any, path: str) -> dict[str, Any]:
    if not isinstance(image, str):
        raise bad_field(path, "expected a picture in base64")
    data = image.rpartition(";base64,")[2]
    decoded(data, path)  # here, so that a refusal has the client's own path
    return {"type": "image_url", "image_url": {"url": f"data:;base64,{data}"}}


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
