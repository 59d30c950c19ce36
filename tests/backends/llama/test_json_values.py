"""JSON values and what several schemas say together, as tables."""

from typing import Any

import pytest

from velesio.backends.llama.json_values import NothingValidError, is_valid, merged, same
from velesio.errors import BadRequest


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        ("1", 1, False),
        (None, None, True),
        ([1, [2]], [1.0, [2]], True),
        ([1, 2], [2, 1], False),
        ({"a": 1, "b": [True]}, {"b": [True], "a": 1.0}, True),
        ({"a": 1}, {"a": True}, False),
        ({}, [], False),
    ],
)
def test_values_are_the_same_as_json_has_it(one: Any, other: Any, expected: bool) -> None:
    """Numbers by their value, truth apart from them."""
    assert same(one, other) is expected


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        (1, {"type": "integer"}, True),
        (1.0, {"type": "integer"}, True),
        (True, {"type": "integer"}, False),
        (1.5, {"type": ["integer", "string"]}, False),
        ("ab", {"minLength": 3}, False),
        (5, {"exclusiveMaximum": 5}, False),
        (5, {"maximum": 5, "enum": [5, 6]}, True),
        ([1], {"const": [1.0]}, True),
        ({}, {"type": "object", "minLength": 9}, True),
    ],
)
def test_constants_are_checked(value: Any, schema: dict[str, Any], expected: bool) -> None:
    """Against types, enumerations, lengths and bounds."""
    assert is_valid(value, schema) is expected


@pytest.mark.parametrize("schema", [{"pattern": "(a+)+$"}, {"multipleOf": 2}])
def test_constants_beside_what_cannot_be_checked_are_refused(schema: dict[str, Any]) -> None:
    """A pattern is never run: one that backtracks would hold up everybody."""
    with pytest.raises(BadRequest, match="leave it out"):
        is_valid("a" if "pattern" in schema else 2, schema)


@pytest.mark.parametrize(
    ("schemas", "expected"),
    [
        ([], {}),
        ([True, {"type": "null"}, True], {"type": "null"}),
        ([{"type": "null"}, False], False),
        ([{"minimum": 1, "maximum": 9}, {"minimum": 3, "maximum": 11}], {"minimum": 3, "maximum": 9}),
        ([{"type": ["integer", "null"]}, {"type": ["number", "string"]}], {"type": ["integer"]}),
        ([{"enum": [1, 2, "x"]}, {"enum": ["x", 2.0]}], {"enum": [2, "x"]}),
        ([{"required": ["a"]}, {"required": ["b", "a"]}], {"required": ["a", "b"]}),
        (
            [{"properties": {"a": {"minimum": 1}}}, {"properties": {"a": {"maximum": 2}, "b": {}}}],
            {"properties": {"a": {"allOf": [{"minimum": 1}, {"maximum": 2}]}, "b": {}}},
        ),
        (
            [{"properties": {"a": {}}, "additionalProperties": False}, {"properties": {"b": {}}}],
            {"properties": {"a": {}, "b": False}, "additionalProperties": False},
        ),
        ([{"anyOf": [1]}, {"anyOf": [2]}], {"anyOf": [1], "allOf": [{"anyOf": [2]}]}),
        ([{"title": "x"}, {"title": "y"}], {"title": "x"}),
    ],
)
def test_schemas_are_brought_together(schemas: list[Any], expected: Any) -> None:
    """Tighter bounds, common types and values, all required names, properties that others leave no place for."""
    assert merged(schemas, "here") == expected


def test_types_that_contradict_each_other_leave_nothing() -> None:
    """So that another alternative may be taken."""
    with pytest.raises(NothingValidError):
        merged([{"type": "string"}, {"type": "null"}], "here")


def test_two_patterns_are_refused() -> None:
    """A grammar follows one."""
    with pytest.raises(BadRequest, match=r"here\.pattern: two different"):
        merged([{"pattern": "a"}, {"pattern": "b"}], "here")
