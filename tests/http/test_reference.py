"""docs/api: pages that say what the code does."""

import re
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest
from aiohttp import web

from velesio.http import app, families
from velesio.http.fields import given, of, passed, refused
from velesio.http.operations import Group, Operation
from velesio.http.reference import Page, render, table, words
from velesio.http.reference_pages import PAGES, operations, write

FOLDER = Path(__file__).parents[2] / "docs" / "api"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_current(page: Page) -> None:
    """Run scripts/api-docs if it is not."""
    path = FOLDER / f"{page.name}.md"
    assert path.read_text(encoding="utf-8") == render(page), f"{path} is not current: run scripts/api-docs"


def test_every_operation_has_a_route() -> None:
    """And none is told twice."""
    routes = {
        (route.method, re.sub(r"\{(\w+):[^}]*\}", r"{\1}", route.path))
        for route in app.ROUTES
        if isinstance(route, web.RouteDef)
    }
    told = [(each.method, path) for each in operations() for path in each.paths]
    assert len(told) == len(set(told))
    assert set(told) <= routes


@pytest.mark.parametrize("operation", [each for each in operations() if each.answer], ids=lambda each: each.paths[0])
def test_examples_are_answers(operation: Operation) -> None:
    """Of the type that is promised."""
    assert operation.answer is not None
    answer = msgspec.json.decode(msgspec.json.encode(operation.answer()))
    msgspec.convert(answer, operation.answers)


@pytest.mark.parametrize("operation", list(operations()), ids=lambda each: f"{each.method} {each.paths[0]}")
def test_operations_make_schemas(operation: Operation) -> None:
    """Of each field, and of the answer; each failure has a shape."""
    for field in operation.every_field.values():
        msgspec.json.schema(field.type)
    msgspec.json.schema(operation.answers)
    for error in operation.errors:
        for path in operation.paths:
            assert families.family_of(path).body(error())


class Body(msgspec.Struct):
    size: int = 3
    way: Literal["up", "down"] = "up"
    names: list[str | int] = []


def test_a_table_tells_type_default_and_fate() -> None:
    """A bar in a note does not end its cell."""
    fields = {
        **of(Body, size="how | large", way="where", names="who"),
        "prompt": given(str | dict[str, Any], "what", required=True),
        "user": passed("nobody"),
        "audio": refused("sounds are", instead="write"),
    }
    assert (
        table(fields)
        == """| field | type | default | | note |
|---|---|---|---|---|
| `size` | integer | `3` | honoured | how \\| large |
| `way` | `"down"` or `"up"` | `"up"` | honoured | where |
| `names` | list of string or integer | `[]` | honoured | who |
| `prompt` | string or object | required | honoured | what |
| `user` | anything |  | no effect | nobody |
| `audio` |  |  | refused | sounds are not supported: 501 if it asks for that; write |"""
    )


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (bool, "true or false"),
        (int | None, "integer"),
        (list[int], "list of integers"),
        (list[dict[str, Any]], "list of objects"),
        (Body, "object"),
        (Any, "anything"),
        (list, "list"),
    ],
)
def test_types_in_words(kind: Any, said: str) -> None:
    """Of JSON, not of Python."""
    schema = msgspec.json.schema(kind)
    assert words(schema, schema.get("$defs", {})) == said


def test_shared_fields_stand_once() -> None:
    """Under their own heading, to which the operations point."""
    group = Group("Common", {"seed": given(int, "luck")})
    one, two = (
        Operation(method="POST", paths=(path,), summary="Does.", groups=(group,), fields={"a": passed("x")})
        for path in ("/one", "/two")
    )
    page = render(Page(name="p", title="P", intro="Words.", operations=(one, two)))
    assert page.count("| `seed` |") == 1
    assert page.count("And the fields of [Common](#common).") == 2
    assert list(one.every_field) == ["seed", "a"]


def test_pages_are_written_where_they_differ(tmp_path: Path) -> None:
    """Each page is a file; those that were current are left alone, and the others are named."""
    files = [tmp_path / f"{page.name}.md" for page in PAGES]
    assert write(tmp_path) == files
    assert write(tmp_path) == []
    files[1].write_text("stale", encoding="utf-8")
    assert write(tmp_path) == [files[1]]
    assert files[1].read_text(encoding="utf-8") == render(PAGES[1])
