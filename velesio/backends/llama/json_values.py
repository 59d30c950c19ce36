"""What JSON schemas say about values, and what several of them say together. Pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from velesio.backends.llama.json_keywords import checked, refused

ASSERTIONS = frozenset(
    [
        "type",
        "const",
        "enum",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "prefixItems",
        "additionalItems",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minProperties",
        "maxProperties",
        "allOf",
        "anyOf",
        "oneOf",
        "$ref",
        "not",
        "if",
    ]
)
"""Keywords that change what is valid."""

_MAX_MERGED = 200
"""Schemas that `allOf` and the like may bring together at one place."""
_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


class NothingValidError(Exception):
    """A schema that no value is valid against; others may stand beside it."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(place, why)
        self.place = place
        self.why = why


def types_of(schema: Mapping[str, Any]) -> list[str]:
    """The types that a schema names."""
    types = schema.get("type", [])
    return [types] if isinstance(types, str) else list(types)


def is_valid(value: Any, schema: Mapping[str, Any]) -> bool:
    """Whether a constant is valid against what `schema` says about types, enumerations, lengths and bounds."""
    types = types_of(schema)
    if types and not any(_is_of(value, name) for name in types):
        return False
    if "const" in schema and not same(value, schema["const"]):
        return False
    if isinstance(schema.get("enum"), list) and _key(value) not in map(_key, schema["enum"]):
        return False
    if isinstance(value, str):
        return _is_text_valid(value, schema)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _is_number_valid(value, schema)
    return True


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    return bool(_key(one) == _key(other))


def _key(value: Any) -> Any:
    """Something to look equal values up by."""
    if isinstance(value, list):
        return tuple(map(_key, value))
    if isinstance(value, dict):
        return frozenset((name, _key(item)) for name, item in value.items())
    return (isinstance(value, bool), value)


def merged(schemas: Sequence[Any], place: str) -> Any:
    """One schema for what is valid against all of these.

    Raises:
        BadRequest: if they cannot be brought together.
        NothingValidError: if they contradict each other.
    """
    if any(schema is False for schema in schemas):
        return False
    whole: dict[str, Any] = {}
    for schema in schemas:
        if schema is not True:
            if not isinstance(schema, dict):
                raise refused(place, "a schema is an object, true or false")
            whole = _merged_pair(whole, checked(schema, place), place)
    return whole


def _merged_pair(one: dict[str, Any], other: dict[str, Any], place: str) -> dict[str, Any]:
    whole = dict(one)
    for key, value in other.items():
        if key not in whole or same(whole[key], value):
            whole[key] = value
        elif key in _LEAST:
            whole[key] = max(whole[key], value)
        elif key in _MOST:
            whole[key] = min(whole[key], value)
        elif key in _MERGERS:
            whole[key] = _MERGERS[key](whole[key], value, place)
        elif key in {"anyOf", "oneOf", "$ref", "const"}:
            whole["allOf"] = [*whole.get("allOf", []), {key: value}]
            _check_size(whole["allOf"], place)
        elif key in ASSERTIONS:
            raise refused(f"{place}.{key}", "two different ones are asked for at once")
    return _closed(whole, one, other)


def _closed(whole: dict[str, Any], one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Properties that one schema declares are not there where the other one has no place for them."""
    for schema, rival in ((one, other), (other, one)):
        extra = schema.get("additionalProperties", True)
        if extra is True:
            continue
        for name in (rival.get("properties") or {}).keys() - (schema.get("properties") or {}).keys():
            whole["properties"] = {**whole["properties"], name: _both(whole["properties"][name], extra)}
    return whole


def _both(one: Any, other: Any) -> Any:
    if one is False or other is False:
        return False
    if one is True or one in ({}, other):
        return other
    return one if other is True or not other else {"allOf": [one, other]}


def _types(one: Any, other: Any, place: str) -> list[str]:
    ones, others = types_of({"type": one}), types_of({"type": other})
    found = [name for name in ones if name in others or (name == "integer" and "number" in others)]
    found += [name for name in others if name == "integer" and "number" in ones and name not in found]
    if not found:
        raise NothingValidError(f"{place}.type", "two different ones are asked for at once")
    return found


def _enums(one: Any, other: Any, _place: str) -> list[Any]:
    rivals = set(map(_key, other))
    return [value for value in one if _key(value) in rivals]


def _properties(one: Any, other: Any, _place: str) -> dict[str, Any]:
    return {**one, **{name: _both(one[name], value) if name in one else value for name, value in other.items()}}


def _all_of(one: Any, other: Any, place: str) -> list[Any]:
    _check_size([*one, *other], place)
    return [*one, *other]


def _check_size(schemas: Sequence[Any], place: str) -> None:
    if len(schemas) > _MAX_MERGED:
        raise refused(place, f"more than {_MAX_MERGED} schemas at once")


_MERGERS: dict[str, Callable[[Any, Any, str], Any]] = {
    "type": _types,
    "enum": _enums,
    "properties": _properties,
    "required": lambda one, other, _place: list(dict.fromkeys([*one, *other])),
    "items": lambda one, other, _place: _both(one, other),
    "additionalProperties": lambda one, other, _place: _both(one, other),
    "uniqueItems": lambda one, other, _place: one or other,
    "allOf": _all_of,
}


def _is_of(value: Any, name: str) -> bool:
    if name == "integer":
        return _is_of(value, "number") and float(value).is_integer()
    if name == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    kinds: dict[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    return isinstance(value, kinds[name])


def _is_text_valid(value: str, schema: Mapping[str, Any]) -> bool:
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        # Not with the expression itself: one that backtracks would hold up everybody.
        raise refused("pattern", "beside enum or const it is of no use; leave it out")
    return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", math.inf))


def _is_number_valid(value: float, schema: Mapping[str, Any]) -> bool:
    if schema.get("multipleOf", 1) != 1:
        raise refused("multipleOf", "beside enum or const it is of no use; leave it out")
    return bool(
        schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
        and schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf)
    )
