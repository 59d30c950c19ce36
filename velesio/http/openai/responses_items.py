"""Items of a responses request as the messages of a chat."""

from collections.abc import Mapping
from typing import Any

from velesio.errors import Unsupported
from velesio.http.media import Media
from velesio.http.text.conversation import Conversation, content_of
from velesio.http.wire import bad_field

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_EXPECTED = 'is required: a string, or a list of items like {"role": "user", "content": "Hello"}'


def conversation_of(raw: Mapping[str, Any]) -> Conversation:
    """`instructions` and `input` as one conversation.

    Raises:
        BadRequest: naming the field, `input[1].content`.
        Unsupported: an item that belongs to OpenAI's servers, a kind of content that no model here reads.
    """
    told = raw.get("instructions", "")
    if not isinstance(told, str):
        raise bad_field("instructions", "expected a string")
    items = raw.get("input")
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if not isinstance(items, list) or not items:
        raise bad_field("input", _EXPECTED)
    conversation = _Conversation()
    if told:
        conversation.messages.append({"role": "system", "content": told})
    for index, item in enumerate(items):
        conversation.add(item, f"input[{index}]")
    return Conversation(conversation.messages, conversation.media.files)


class _Conversation:
    """Messages as they come together: reasoning, text and calls that follow each other are one answer."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.media = Media()

    def add(self, item: Any, path: str) -> None:
        """One item more."""
        kind = item.get("type", "message") if isinstance(item, dict) else None
        if kind == "message":
            self._say(item, path)
        elif kind == "reasoning":
            self._think(item, path)
        elif kind == "function_call":
            self._call(item, path)
        elif kind == "function_call_output":
            self._tell(item, path)
        elif kind == "item_reference":
            raise bad_field(path, "no earlier items are kept here; send the items themselves")
        elif isinstance(kind, str):
            raise Unsupported(f"Field '{path}.type': {kind!r} is nothing that models here know of", param=path)
        else:
            raise bad_field(path, 'expected an object like {"role": "user", "content": "Hello"}')

    def _say(self, item: Mapping[str, Any], path: str) -> None:
        role = item.get("role")
        if not isinstance(role, str) or role not in _ROLES:
            raise bad_field(f"{path}.role", f"expected one of {', '.join(_ROLES)}")
        content = content_of(item.get("content"), f"{path}.content", self.media)
        if role == "assistant" and not self._answer["content"] and "tool_calls" not in self._answer:
            self._answer["content"] = content
        else:
            self.messages.append({"role": _ROLES[role], "content": content})

    def _think(self, item: Mapping[str, Any], path: str) -> None:
        parts = item.get("content") or item.get("summary") or []
        if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
            raise bad_field(f"{path}.content", "expected a list of parts of type reasoning_text")
        text = "\n".join(part["text"] for part in parts if isinstance(part.get("text"), str))
        if text:
            self.messages.append({"role": "assistant", "content": "", "reasoning_content": text})

    def _call(self, item: Mapping[str, Any], path: str) -> None:
        function = {"name": _text(item, "name", path), "arguments": _text(item, "arguments", path)}
        call = {"id": _text(item, "call_id", path), "type": "function", "function": function}
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.messages.append({"role": "assistant", "content": ""})
        self.messages[-1].setdefault("tool_calls", []).append(call)

    def _tell(self, item: Mapping[str, Any], path: str) -> None:
        content = content_of(item.get("output"), f"{path}.output", self.media)
        self.messages.append({"role": "tool", "tool_call_id": _text(item, "call_id", path), "content": content})

    @property
    def _answer(self) -> dict[str, Any]:
        """The answer that has begun, to which text can belong; a full one if none has."""
        last = self.messages[-1] if self.messages else {}
        return last if last.get("role") == "assistant" and "reasoning_content" in last else {"content": "x"}


def _text(item: Mapping[str, Any], name: str, path: str) -> str:
    value = item.get(name)
    if not isinstance(value, str):
        raise bad_field(f"{path}.{name}", "expected a string")
    return value
