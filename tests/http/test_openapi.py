"""The OpenAPI document: valid, complete, and true to what the routes read and answer."""

import json
from typing import Any

import jsonschema
import openapi_spec_validator
import pytest
from aiohttp import web

from tests.http.conftest import Site
from velesio.http import app, openapi
from velesio.http.operations import Operation
from velesio.http.pages import site as pages
from velesio.http.reference_pages import PAGES, operations

NOT_DESCRIBED = {
    *(page.path for page in pages.PAGES if page.path not in {"/", "/models", "/usage"}),
    *(pages.JOB.path, pages.SIGN_IN.path, "/sign-out"),
    *(f"{prefix}/{{version}}/{{name}}" for prefix in ("/static", "/docs", "/redoc")),
}
"""Pages for browsers alone, and the files that they load."""


def described() -> dict[str, Any]:
    """As clients get it."""
    document: dict[str, Any] = json.loads(openapi.encoded(PAGES))
    return document


def test_it_is_openapi_3_1() -> None:
    """A validator of the specification finds no fault with it."""
    document = described()
    assert document["openapi"].startswith("3.1")
    openapi_spec_validator.validate(document)


def test_every_route_is_described() -> None:
    """No route is forgotten, and none is described that there is not."""
    routes = {
        (route.method, openapi.public_path(route.path))
        for route in app.ROUTES
        if isinstance(route, web.RouteDef)
        and openapi.public_path(route.path) not in NOT_DESCRIBED
        and route.method != "HEAD"
    }
    paths = described()["paths"]
    assert {(method.upper(), path) for path, methods in paths.items() for method in methods} == routes


@pytest.mark.parametrize("operation", list(operations()), ids=lambda each: f"{each.method} {each.paths[0]}")
def test_examples_fit_their_schemas(operation: Operation) -> None:
    """The example of a body and of an answer are valid against what the document says of them."""
    document = described()
    place = document["paths"][openapi.public_path(operation.paths[0])][operation.method.lower()]
    contents = [
        content["application/json"]
        for status in map(str, operation.statuses)
        if "application/json" in (content := place["responses"][status].get("content", {}))
    ]
    if "requestBody" in place:
        contents += place["requestBody"]["content"].values()
    for content in contents:
        if "example" in content:
            schema = content["schema"] | {"components": document["components"]}
            jsonschema.validate(content["example"], schema, jsonschema.Draft202012Validator)


def test_operation_ids_are_unique() -> None:
    """Generators of clients name functions after them."""
    ids = [each["operationId"] for methods in described()["paths"].values() for each in methods.values()]
    assert len(ids) == len(set(ids))


def test_refused_fields_are_not_offered() -> None:
    """What a route turns down does not stand in its schema; what it honours does, with its note."""
    for operation in operations():
        place = described()["paths"][openapi.public_path(operation.paths[0])][operation.method.lower()]
        if "requestBody" not in place:
            continue
        (content,) = place["requestBody"]["content"].values()
        schema = content["schema"]["items"] if operation.lists else content["schema"]
        assert schema["properties"].keys() == {
            name for name, field in operation.every_field.items() if field.fate != "refused"
        }


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1, {"type": "integer"}),
        (1.0, {"type": "number"}),
        (True, {"type": "boolean"}),
        ("a", {"type": "string"}),
        (None, {}),
        ([], {"type": "array"}),
        ([1, 2], {"type": "array", "items": {"type": "integer"}}),
        ({"a": {"b": None}}, {"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {}}}}}),
    ],
)
def test_schemas_by_example(value: Any, schema: dict[str, Any]) -> None:
    """Types come from the example, nothing is required, null says nothing."""
    assert openapi.schema_by_example(value) == schema


def test_values_that_may_be_null() -> None:
    """Named keys may be null at any depth."""
    schema = openapi.schema_by_example({"a": 1, "b": {"a": [2]}}, ("a",))
    assert schema["properties"]["a"] == {"type": ["integer", "null"]}
    assert schema["properties"]["b"]["properties"]["a"]["type"] == ["array", "null"]


async def test_it_is_served(site: Site) -> None:
    """Anybody may read it."""
    answer = await site.get("/openapi.json")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.json() == described()
