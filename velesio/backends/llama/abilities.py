"""What a chat template can do with a conversation, found by trying.

Templates do not say what they know; they leave out what they do not, or refuse it. So each ability is tried with a
word that nothing else would write.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from velesio.errors import BadRequest

Render = Callable[[list[dict[str, Any]], list[dict[str, Any]] | None], str]
"""Renders messages and tools; raises BadRequest."""

_WORD = "velesio7"
_USER = {"role": "user", "content": "Hi"}
_TOOL = {
    "type": "function",
    "function": {
        "name": _WORD,
        "description": "Looks.",
        "parameters": {
            "type": "object",
            "properties": {"x": {"type": "string", "description": "What."}},
            "required": ["x"],
        },
    },
}
_OBJECT: dict[str, Any] = {"x": "y7"}
_TEXT = '{"x": "y7"}'


class Abilities(msgspec.Struct, frozen=True):
    """What a template does."""

    system: bool
    """Whether it has a place for the system's message."""
    typed: bool
    """Whether content has to be a list of parts."""
    tools: bool
    """Whether it describes functions."""
    calls: bool
    """Whether it writes what the assistant called."""
    results: bool
    """Whether it writes what functions returned."""
    objects: bool
    """Whether it wants the arguments of calls as objects, not as text."""
    parallel: bool
    """Whether one message may have several calls."""


def find(render: Render) -> Abilities:
    """Tries a template."""
    typed = not _writes(render, [{"role": "user", "content": _WORD}]) and _writes(
        render, [{"role": "user", "content": [{"type": "text", "text": _WORD}]}]
    )

    def content(text: str) -> Any:
        return [{"type": "text", "text": text}] if typed else text

    user = {"role": "user", "content": content("Hi")}
    objects = _writes(render, [user, _calling(_OBJECT)], "y7", never="'x'")
    calls = objects or _writes(render, [user, _calling(_TEXT)], "y7", never='\\"x')
    arguments = _OBJECT if objects else _TEXT
    result = {"role": "tool", "tool_call_id": "call00001", "name": _WORD, "content": content("z7")}
    return Abilities(
        system=_writes(render, [{"role": "system", "content": content(_WORD)}, user]),
        typed=typed,
        tools=_writes(render, [user], tools=[_TOOL]),
        calls=calls,
        results=calls and _writes(render, [user, _calling(arguments), result], "z7"),
        objects=objects,
        parallel=calls and _writes(render, [user, _calling(arguments, 2)], "y7", "y7"),
    )


def _calling(arguments: Any, count: int = 1) -> dict[str, Any]:
    calls = [
        {"id": f"call0000{number}", "type": "function", "function": {"name": _WORD, "arguments": arguments}}
        for number in range(1, count + 1)
    ]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def _writes(
    render: Render,
    messages: list[dict[str, Any]],
    *words: str,
    tools: list[dict[str, Any]] | None = None,
    never: str = "",
) -> bool:
    """Whether the words are in what is rendered, each as often as it is named, and `never` is not: it shows that
    something was written as it should not be."""
    wanted = words or (_WORD,)
    try:
        text = render(messages, tools)
    except BadRequest:
        return False
    return all(text.count(word) >= wanted.count(word) for word in wanted) and not (never and never in text)
