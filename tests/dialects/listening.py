"""What is heard of an answer, put together again."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from velesio.dialects import Said, Speech
from velesio.jobs import Dialect

SEED = "job"


def tool(name: str, properties: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties or {}} | more
    return {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": parameters}}


WEATHER = tool("get_weather", {"city": {"type": "string"}, "days": {"type": "integer"}, "units": {"enum": ["C", "F"]}})
NOW = tool("now")
PYTHON = tool("python", {"code": {"type": "string"}}, required=["code"])
TOOLS = (WEATHER, NOW, PYTHON)


def joined(said: Iterable[Said]) -> list[tuple[str, ...]]:
    """(kind, text) and (call, name, arguments), pieces that belong together as one."""
    found: list[list[str]] = []
    last: tuple[str, int] | None = None
    for each in said:
        assert each.text or (each.kind == "call" and each.name), "an empty piece"
        if (each.kind, each.call) != last:
            last = each.kind, each.call
            if each.kind == "call":
                assert each.id
                assert each.name
            found.append([each.kind, each.name, ""] if each.kind == "call" else [each.kind, ""])
        else:
            assert not each.name, "the name comes with the first piece alone"
        found[-1][-1] += each.text
    return [tuple(each) for each in found]


def heard(
    name: str, pieces: str | Sequence[str], *, tools: Sequence[dict[str, Any]] = TOOLS, prefix: str = "", **more: Any
) -> list[tuple[str, ...]]:
    """What an answer in a dialect says."""
    return joined(said(name, pieces, tools=tools, prefix=prefix, **more))


def said(
    name: str, pieces: str | Sequence[str], *, tools: Sequence[dict[str, Any]] = TOOLS, prefix: str = "", **more: Any
) -> list[Said]:
    speech = Speech(Dialect(name, prefix), tools, seed=SEED, **more)
    found: list[Said] = []
    for piece in [pieces] if isinstance(pieces, str) else pieces:
        found += speech.feed(piece)
    return [*found, *speech.end()]


def call(name: str, **arguments: Any) -> tuple[str, str, str]:
    return ("call", name, json.dumps(arguments, ensure_ascii=False))


def content(text: str) -> tuple[str, str]:
    return ("content", text)


def reasoning(text: str) -> tuple[str, str]:
    return ("reasoning", text)
