"""The OpenAPI 3.1 document, made from the operations of every family."""

import functools
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio import __version__
from velesio.errors import VelesioError
from velesio.http.access.scopes import ANY, scope_of
from velesio.http.families import Family, family_of
from velesio.http.fields import Field
from velesio.http.operations import Operation
from velesio.http.reference import Page
from velesio.http.wire import encode

Schema = dict[str, Any]

PATH = "/openapi.json"

_SCHEMAS = "#/components/schemas/"
_PARAMETER = re.compile(r"\{(\w+)(?::[^}]*)?\}")
_SECURITY: Schema = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
    "basic": {"type": "http", "scheme": "basic", "description": "The key as password, with any user name."},
}


def document(pages: Iterable[Page]) -> Schema:
    """All of their operations as one document, with a tag for each page. Fields that a route refuses are left out:
    bodies may have any others beside."""
    listed = list(pages)
    schemas, components = _schemas_of([operation for page in listed for operation in page.operations])
    paths: dict[str, Schema] = {}
    for page in listed:
        for operation in page.operations:
            for path in operation.paths:
                place = paths.setdefault(public_path(path), {})
                place[operation.method.lower()] = _operation(operation, path, schemas) | {"tags": [page.name]}
    families = {family_of(path).name: family_of(path) for path in paths}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Velesio",
            "version": __version__,
            "summary": "Text and images behind one queue, in the APIs that clients already speak.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": page.name, "description": f"{page.title}.\n\n{page.intro.strip()}"} for page in listed],
        "paths": paths,
        "components": {
            "schemas": components | {_error_name(family): _error_of(family) for family in families.values()},
            "securitySchemes": _SECURITY,
        },
        "security": _needed(ANY),
    }


def public_path(path: str) -> str:
    """A route's path as the document has it: `{id:.+}` is `{id}`."""
    return _PARAMETER.sub(r"{\1}", path)


def _needed(scope: str) -> list[Schema]:
    """A key in one of the ways that there are, with a scope if one is asked for; where there are no keys, none."""
    roles = [scope] if scope else []
    return [{}, *({name: roles} for name in _SECURITY)]


def encoded(pages: Iterable[Page]) -> bytes:
    """The document as JSON."""
    return encode(document(pages))


def _schemas_of(operations: Sequence[Operation]) -> tuple[Mapping[int, Schema], Schema]:
    """The schema of each type that is named, by the id of what names it, and the structs that they refer to."""
    named: list[Any] = []
    for operation in operations:
        named += [field for field in operation.every_field.values() if field.fate != "refused"]
        named.append(operation)
    types = [each.type if isinstance(each, Field) else each.answers for each in named]
    schemas, components = msgspec.json.schema_components(types, ref_template=_SCHEMAS + "{name}")
    return {id(each): schema for each, schema in zip(named, schemas, strict=True)}, dict(components)


def _operation(operation: Operation, path: str, schemas: Mapping[int, Schema]) -> Schema:
    described: Schema = {
        "summary": operation.summary,
        "operationId": _operation_id(operation.method, path),
        "security": [] if operation.public else _needed(scope_of(path)),
        "responses": _responses(operation, path, schemas),
    }
    if operation.notes:
        described["description"] = operation.notes.strip()
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(path)
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "description": note, "schema": {"type": "string"}}
        for name, note in operation.query.items()
    ]
    if parameters:
        described["parameters"] = parameters
    if operation.every_field:
        described["requestBody"] = _body(operation, schemas)
    return described


def _operation_id(method: str, path: str) -> str:
    words = re.findall(r"\w+", public_path(path))
    return "_".join([method.lower(), *words])


def _body(operation: Operation, schemas: Mapping[int, Schema]) -> Schema:
    taken = {name: field for name, field in operation.every_field.items() if field.fate != "refused"}
    schema: Schema = {
        "type": "object",
        "properties": {name: _property(field, schemas[id(field)]) for name, field in taken.items()},
    }
    if required := [name for name, field in taken.items() if field.required]:
        schema["required"] = required
    if operation.lists:
        schema = {"type": "array", "items": schema}
    content: Schema = {"schema": schema}
    if operation.example is not None:
        content["example"] = msgspec.to_builtins(operation.example)
    return {"required": "required" in schema or operation.lists, "content": {operation.body: content}}


def _property(field: Field, schema: Schema) -> Schema:
    described = dict(schema)
    if field.note:
        described["description"] = field.note
    if field.default is not msgspec.UNSET:
        described["default"] = msgspec.to_builtins(field.default)
    return described


def _responses(operation: Operation, path: str, schemas: Mapping[int, Schema]) -> Schema:
    schema, answer = schemas[id(operation)], operation.answer() if operation.answer is not None else None
    if answer is not None and operation.answers == dict[str, Any]:
        schema = schema_by_example(msgspec.to_builtins(answer), operation.nullable)
    content: Schema = {}
    if operation.answers is not None:
        content["application/json"] = {"schema": schema}
    if answer is not None:
        content["application/json"]["example"] = msgspec.to_builtins(answer)
    for kind in (operation.streams, *operation.files):
        if kind:
            content[kind] = {}  # OpenAPI 3.1 has no schema for the parts of a stream, nor for bytes
    responses: Schema = {
        str(status): {"description": "Nothing is left to say."}
        if status == 204
        else {"description": "The answer.", "content": content}
        for status in operation.statuses
    }
    for status, errors in sorted(_by_status(operation.errors).items()):
        reasons = " ".join(dict.fromkeys(_sentence(error) for error in errors))
        refusal = {"schema": {"$ref": _SCHEMAS + _error_name(family_of(path))}}
        responses[str(status)] = {"description": reasons, "content": {"application/json": refusal}}
    return responses


def _by_status(errors: Iterable[type[VelesioError]]) -> dict[int, list[type[VelesioError]]]:
    found: dict[int, list[type[VelesioError]]] = {}
    for error in errors:
        found.setdefault(error.status, []).append(error)
    return found


def _sentence(error: type[VelesioError]) -> str:
    text = (error.__doc__ or error.code).strip()
    return text if text.endswith(".") else f"{text}."


def _error_name(family: Family) -> str:
    return f"Error_{family.name}"


def _error_of(family: Family) -> Schema:
    schema = schema_by_example(family.body(VelesioError("why")))
    schema["properties"] |= {name: {} for name in family.loose}
    return {"description": f"A refusal in the shape of {family.name}."} | schema


def schema_by_example(value: Any, nullable: Container[str] = ()) -> Schema:
    """What a value like this one looks like: the types of its parts. Keys may be missing, and there may be others;
    null and empty lists say nothing. The values of the keys `nullable` may be null as well."""
    match value:
        case dict():
            parts = {
                name: _or_null(schema_by_example(item, nullable), may_be=name in nullable)
                for name, item in value.items()
            }
            return {"type": "object", "properties": parts}
        case list() | tuple():
            return {"type": "array", "items": schema_by_example(value[0], nullable)} if value else {"type": "array"}
        case bool():
            return {"type": "boolean"}
        case int() | float():
            return {"type": "integer" if isinstance(value, int) else "number"}
        case str():
            return {"type": "string"}
        case _:
            return {}


def _or_null(schema: Schema, *, may_be: bool) -> Schema:
    return schema | {"type": [schema["type"], "null"]} if may_be and "type" in schema else schema


def route(pages: Callable[[], Iterable[Page]]) -> web.RouteDef:
    """`GET /openapi.json`: the document, made when it is first asked for."""
    made = functools.cache(lambda: encoded(pages()))

    async def openapi(request: web.Request) -> web.Response:  # noqa: ARG001
        return web.Response(body=made(), content_type="application/json", charset="utf-8")

    return web.get(PATH, openapi)
