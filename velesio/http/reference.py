"""The pages of docs/api: what each family's routes read and answer, made from the code by scripts/api-docs."""

import json
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, Self

import msgspec

from velesio.http.fields import Field, Fields
from velesio.http.operations import Group, Operation

_MADE = "<!-- Made by scripts/api-docs from the code; change it there. -->"
_SHOWN = 60
"""Characters of a default that are shown."""
_NAMES = {"integer": "integer", "number": "number", "string": "string", "boolean": "true or false", "null": "null"}

Part = ModuleType | tuple[ModuleType, str]
"""A module, whose `ROUTES` its `API` describes, or with the name of another such tuple: some stand on several pages."""


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One family."""

    name: str
    """Of the file, without its ending."""
    title: str
    intro: str
    """Markdown."""
    operations: tuple[Operation, ...]
    modules: tuple[ModuleType, ...] = ()
    """Those that have the routes."""

    @classmethod
    def of(cls, *, name: str, title: str, intro: str, parts: Sequence[Part]) -> Self:
        """The page with the operations of its parts, in their order."""
        pairs = [(part, "API") if isinstance(part, ModuleType) else part for part in parts]
        operations = [operation for module, table in pairs for operation in getattr(module, table)]
        modules = tuple(module for module, _ in pairs)
        return cls(name=name, title=title, intro=intro, operations=tuple(operations), modules=modules)


def render(page: Page) -> str:
    """A page as Markdown."""
    parts = [f"# {page.title}", _MADE, page.intro.strip()]
    for operation in page.operations:
        parts += _operation(operation)
    for group in _groups(page.operations):
        parts += [f"## {group.name}", *([group.note] if group.note else []), table(group.fields)]
    return "\n\n".join(parts) + "\n"


def _groups(operations: Iterable[Operation]) -> list[Group]:
    found: dict[str, Group] = {}
    for operation in operations:
        for group in operation.groups:
            found.setdefault(group.name, group)
    return list(found.values())


def _operation(operation: Operation) -> Iterator[str]:
    yield f"## {operation.method} " + ", ".join(f"`{path}`" for path in operation.paths)
    yield operation.summary
    if operation.notes:
        yield operation.notes.strip()
    if operation.query:
        rows = [f"| `{name}` | {note} |" for name, note in operation.query.items()]
        yield "\n".join(["| in the address | |", "|---|---|", *rows])
    if operation.fields:
        yield table(operation.fields)
    if operation.groups:
        names = (f"[{group.name}](#{_anchor(group.name)})" for group in operation.groups)
        yield f"{'And the' if operation.fields else 'The'} fields of {' and '.join(names)}."
    if operation.example is not None:
        yield "For example:"
        yield _json(operation.example)
    if operation.answer is not None:
        yield "An answer:"
        yield _json(operation.answer())


def _anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def _json(value: Any) -> str:
    document = json.loads(msgspec.json.encode(value))
    return "```json\n" + json.dumps(document, indent=2, ensure_ascii=False) + "\n```"


def table(fields: Fields) -> str:
    """Fields as a table, as they were given."""
    rows = [
        f"| `{name}` | {_cell(_type(field))} | {_cell(_default(field))} | {field.fate} | {_cell(_note(field))} |"
        for name, field in fields.items()
    ]
    return "\n".join(["| field | type | default | | note |", "|---|---|---|---|---|", *rows])


def _note(field: Field) -> str:
    if field.fate != "refused":
        return field.note
    return f"{field.note} not supported: {400 if field.final else 501} if it asks for that; {field.instead}"


def _default(field: Field) -> str:
    if field.required:
        return "required"
    if field.default is msgspec.UNSET:
        return ""
    shown = msgspec.json.encode(field.default).decode()
    return f"`{shown}`" if len(shown) <= _SHOWN else "…"


def _type(field: Field) -> str:
    if field.fate == "refused":
        return ""
    schema = msgspec.json.schema(field.type)
    return words(schema, schema.get("$defs", {}))


def words(schema: dict[str, Any], defs: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if reference := schema.get("$ref"):
        return words(defs[reference.rpartition("/")[2]], {})
    if choices := schema.get("anyOf"):
        return " or ".join(dict.fromkeys(_kinds(choices, defs)))
    if values := schema.get("enum"):
        return " or ".join(f"`{json.dumps(value)}`" for value in values)
    kind = schema.get("type", "")
    if kind == "array":
        return f"list of {_many(words(schema.get('items', {}), defs))}" if schema.get("items") else "list"
    return "object" if kind == "object" else _NAMES.get(kind, "anything")


def _kinds(choices: Sequence[dict[str, Any]], defs: dict[str, Any]) -> list[str]:
    """Null is the same as a field that is left out."""
    return [words(choice, defs) for choice in choices if choice.get("type") != "null"]


def _many(word: str) -> str:
    return word if word in {"true or false", "anything"} or " " in word else f"{word}s"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "\\n")
