"""Keywords of JSON schemas: what kind of value each must have, before anybody computes with it. Pure."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from velesio.errors import BadRequest


def refused(place: str, why: str) -> BadRequest:
    """The refusal of a schema for what stands at `place`."""
    return BadRequest(f"json_schema: {place}: {why}", param="json_schema")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict | bool)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


_Kind = tuple[Callable[[Any], bool], str]
_NUMBER: _Kind = (_is_number, "a number")
_BOUND: _Kind = (lambda value: isinstance(value, bool) or _is_number(value), "a number")
"""Old schemas say true for bounds that are excluded."""
_SCHEMA: _Kind = (_is_schema, "a schema: an object, true or false")
_LIST: _Kind = (lambda value: isinstance(value, list), "a list")
_TEXT: _Kind = (lambda value: isinstance(value, str), "a text")

_KINDS: Mapping[str, _Kind] = {
    "type": (lambda value: isinstance(value, str) or _are_names(value), "a type's name, or a list of them"),
    "properties": (lambda value: isinstance(value, dict), "an object"),
    "required": (_are_names, "a list of names"),
    "additionalProperties": _SCHEMA,
    "items": (lambda value: _is_schema(value) or isinstance(value, list), "a schema"),
    "additionalItems": _SCHEMA,
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
    "$ref": _TEXT,
    "pattern": _TEXT,
    "format": _TEXT,
    **dict.fromkeys(("enum", "prefixItems", "anyOf", "oneOf", "allOf"), _LIST),
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"), _NUMBER),
    **dict.fromkeys(("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"), _BOUND),
}


def checked(schema: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A schema whose keywords have values of their kinds; null stands for a keyword that is not there.

    Raises:
        BadRequest: naming the keyword.
    """
    found = {key: value for key, value in schema.items() if value is not None or key not in _KINDS}
    for key, value in found.items():
        fits, wanted = _KINDS.get(key, (None, ""))
        if fits is not None and not fits(value):
            raise refused(f"{place}.{key}", f"expected {wanted}")
    return found
