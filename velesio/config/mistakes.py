"""Mistakes in the configuration, told with the option's name and what would be right."""

import difflib
import re
from pathlib import Path
from typing import Any, get_args

import msgspec

from velesio.config.sections import Config, Section


def explain(message: str, path: Path | None) -> str:
    """msgspec's message, led by the option's name and, where a key is unknown, with those that would be right."""
    text, _, tail = message.partition(" - at `$")
    where = tail.rstrip("`").removeprefix(".")
    unknown = re.search(r"unknown field `([^`]*)`", text)
    if unknown is None:
        return f"{where or 'configuration'}: {text[0].lower()}{text[1:]}"
    name = unknown.group(1)
    known = [field.name for field in msgspec.structs.fields(_section(where))]
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    source = f" (in {path})" if path else ""
    return f"{where}{'.' if where else ''}{name}: there is no such option{source}; {hint}"


def _section(where: str) -> type[Section]:
    """The section at a place like `limits.key`, `limits.models[...]` or `keys[0].limits`."""
    section: type[Section] = Config
    for name, inside in re.findall(r"(\w+)(\[[^]]*\])?", where):
        kind: Any = {field.name: field.type for field in msgspec.structs.fields(section)}[name]
        if inside:
            kind = next(part for part in get_args(kind) if isinstance(part, type) and issubclass(part, Section))
        section = kind
    return section
