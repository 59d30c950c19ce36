"""JSON schemas as grammars: whatever the grammar allows, `jsonschema` finds valid."""

import datetime as dt
import json
import random
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from velesio.backends.llama import gbnf
from velesio.backends.llama.automaton import DEAD, Automaton
from velesio.backends.llama.json_schema import to_gbnf
from velesio.errors import BadRequest

Schema = dict[str, Any]

BYTES = bytes(range(256))


def automaton(schema: Any) -> Automaton:
    return Automaton(gbnf.parse(to_gbnf(schema), lambda _text: None))


def accepts(schema: Any, value: Any) -> bool:
    """Whether the grammar allows a value, written as Python writes it by default."""
    made = automaton(schema)
    text = json.dumps(value, ensure_ascii=False).replace('": ', '": ')
    return made.is_complete(made.walk(made.start, text.encode()))


def said(schema: Any, seed: int, length: int = 400) -> str | None:
    """One random text that the grammar allows; bytes that end something are liked, so that it closes. None: it got
    too long."""
    made, chance = automaton(schema), random.Random(seed)
    state, text = made.start, bytearray()
    while len(text) < length * 4:
        if made.is_complete(state) and chance.random() < 0.5:
            return text.decode()
        ways = {byte: target for byte in BYTES if (target := made.walk(state, bytes((byte,)))) != DEAD}
        if not ways:
            assert made.is_complete(state), f"stuck after {bytes(text)!r}"
            return text.decode()
        closing = [byte for byte in b'"}],:' if byte in ways]
        is_long = len(text) > length or chance.random() < 0.4
        byte = chance.choice(closing) if closing and is_long else chance.choice(sorted(ways))
        text.append(byte)
        state = ways[byte]
    return None


def check(schema: Any, seed: int) -> None:
    text = said(schema, seed)
    if text is not None:
        value = json.loads(text)
        Draft202012Validator(schema, format_checker=FormatChecker(["date", "ipv4", "uuid", "email"])).validate(value)
        if isinstance(schema, dict) and schema.get("format") in {"time", "date-time"}:
            (dt.time if schema["format"] == "time" else dt.datetime).fromisoformat(value)


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Z][a-z]{2,9}$"},
        "role": {"enum": ["mage", "knight", 'a "thief"']},
        "grid": {
            "type": "array",
            "items": {"type": "array", "items": {"type": "integer", "minimum": -5, "maximum": 99}, "maxItems": 3},
            "minItems": 1,
            "maxItems": 2,
        },
        "home": {"$ref": "#/$defs/home"},
        "note": {"type": ["string", "null"], "maxLength": 9},
    },
    "required": ["name", "grid"],
    "$defs": {"home": {"type": "object", "properties": {"in": {"$ref": "#/$defs/home"}, "no": {"const": 7}}}},
}

SCHEMAS: list[Any] = [
    PERSON,
    True,
    {},
    {"type": "object"},
    {"type": "array"},
    {"type": "string", "minLength": 2, "maxLength": 4},
    {"type": "string", "pattern": "[0-9]{3}"},
    {"type": "string", "pattern": "^(a|bc)+[^x\\d]?$|^\\w\\s\\S\\D\\W$"},
    {"type": "string", "pattern": '^["\\\\/\\n\\t]+$', "maxLength": 6},
    {"type": "string", "pattern": "^.+@.+$", "minLength": 5, "maxLength": 8},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "time"},
    {"type": "string", "format": "date-time"},
    {"type": "string", "format": "uuid"},
    {"type": "string", "format": "ipv4"},
    {"type": "string", "format": "email"},
    {"type": "string", "format": "nobody-knows"},
    {"type": ["integer", "null", "boolean"]},
    {"enum": [1, "1", None, [1, {"a": "b"}], 1.5, "\n\t\u0001é☃"]},
    {"type": "string", "enum": ["a", 1, "ccc"], "maxLength": 2},
    {"const": {"a": [1, 2]}},
    {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
    {"prefixItems": [{"type": "integer"}], "items": {"type": "string"}, "minItems": 3, "maxItems": 4},
    {"prefixItems": [{"type": "integer"}], "minItems": 2, "maxItems": 2},
    {"type": "array", "items": True, "maxItems": 0},
    {"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "integer"}},
    {
        "type": "object",
        "properties": {"ab": {"type": "null"}, "abc": {"type": "null"}, "b": {"type": "null"}},
        "additionalProperties": {"type": "integer"},
    },
    {"type": "object", "additionalProperties": {"type": "boolean"}},
    {"type": "object", "required": ["x"], "additionalProperties": {"type": "integer"}},
    {"type": "object", "properties": {"a": False, "b": {"type": "null"}}, "required": ["b"]},
    {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "boolean"}}]},
    {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "string"}},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    {
        "oneOf": [
            {"type": "object", "properties": {"k": {"const": c}, "v": {"type": t}}, "required": ["k", "v"]}
            for c, t in (("x", "integer"), ("y", "string"))
        ]
    },
    {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "number", "minimum": 0}}},
            {"properties": {"a": {"maximum": 3}, "b": {"type": "null"}}, "required": ["a"]},
        ]
    },
    {
        "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}],
        "$defs": {"a": {"type": "integer", "minimum": 3}, "b": {"maximum": 12}},
    },
    {
        "allOf": [
            {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        ]
    }
    | {"title": "two at once"},
    {
        "$ref": "#/$defs/tree",
        "$defs": {
            "tree": {
                "type": "object",
                "required": ["v"],
                "properties": {
                    "v": {"type": "integer"},
                    "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2},
                },
            }
        },
    },
    {"type": "number"},
    {"type": "number", "minimum": 0, "maximum": 1},
    {"type": "number", "exclusiveMinimum": 0.25, "exclusiveMaximum": 0.26},
    {"type": "number", "minimum": -3.5, "exclusiveMaximum": 10},
    {"type": "integer", "exclusiveMinimum": -10, "maximum": 1234},
    {"type": "integer", "minimum": 98765},
    {"type": "integer", "maximum": -17},
    {"minLength": 3},
    {"properties": {"a": {"type": "integer"}}},
    {"type": "object", "properties": {'weird "name"\\': {"type": "null"}}, "required": ['weird "name"\\']},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: json.dumps(schema)[:50])
def test_what_a_grammar_allows_is_valid(schema: Any) -> None:
    """Random texts of each."""
    for seed in range(12):
        check(schema, seed)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (PERSON, {"name": "Anna", "grid": [[1, -5, 99], []]}),
        (PERSON, {"name": "Bo" + "b" * 7, "role": 'a "thief"', "grid": [[0]], "home": {"in": {"no": 7}}, "note": None}),
        ({}, {"a": [1, 2.5, None, True, "☃\n"]}),
        ({"type": "string", "minLength": 2, "maxLength": 2}, "é☃"),
        ({"type": "string", "pattern": "b"}, "abc"),
        ({"type": "string", "pattern": "^a+$", "maxLength": 3}, "aaa"),
        ({"type": "number", "minimum": 0, "maximum": 1}, 0.75),
        ({"type": "number"}, -1.5e10),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, None),
        ({"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": True}, {"a": None, "b": 1}),
        ({"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": True}, {"ab": [], "": 1}),
        ({"allOf": [{"required": ["a"]}, {"properties": {"a": {"type": "integer"}}}]}, {"a": 3}),
    ],
)
def test_valid_values_are_allowed(schema: Any, value: Any) -> None:
    """Not only nothing: values that are usual are within reach."""
    if isinstance(value, dict):
        value = {key: item for key, item in value.items() if key}
    assert accepts(schema, value)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (PERSON, {"name": "Anna"}),
        (PERSON, {"name": "Anna", "grid": [[100]]}),
        (PERSON, {"name": "anna", "grid": [[1]]}),
        ({"type": "string", "maxLength": 2}, "abc"),
        ({"type": "integer", "minimum": 10, "maximum": 99}, 9),
        ({"type": "array", "minItems": 1}, []),
        ({"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": True}, {"a": 1}),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, {"b": 1}),
        ({"enum": ["a"]}, "b"),
    ],
)
def test_invalid_values_are_not(schema: Any, value: Any) -> None:
    """What the schema forbids, the grammar does."""
    assert not accepts(schema, value)


NAMES = st.sampled_from(["a", "ab", "b", 'q"', "é"])
NUMBERS = st.one_of(st.integers(-1500, 1500), st.floats(-20, 20).map(lambda value: round(value, 2)))


def _bounded(kind: str) -> st.SearchStrategy[Schema]:
    pairs = st.tuples(NUMBERS, NUMBERS).map(sorted)
    keys = st.tuples(
        st.sampled_from(["minimum", "exclusiveMinimum", None]), st.sampled_from(["maximum", "exclusiveMaximum", None])
    )
    return st.tuples(pairs, keys).map(
        lambda drawn: {"type": kind} | {key: value for key, value in zip(drawn[1], drawn[0], strict=True) if key}
    )


LEAVES = st.one_of(
    st.sampled_from([{}, True, {"type": "null"}, {"type": "boolean"}, {"type": "string"}, {"enum": ["x", 1, None]}]),
    _bounded("integer"),
    _bounded("number"),
    st.tuples(st.integers(0, 3), st.integers(0, 4)).map(
        lambda drawn: {"type": "string", "minLength": drawn[0], "maxLength": drawn[0] + drawn[1]}
    ),
    st.sampled_from(["^a+$", "b|c$", "^[^a-z]{2}", "(ab?){1,2}", "^\\d{2}-\\d+$", "^(yes|no)$"]).map(
        lambda pattern: {"type": "string", "pattern": pattern}
    ),
)


def _objects(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Schema]:
    return st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(NAMES, inner, max_size=4)},
        optional={
            "required": st.lists(NAMES, unique=True, max_size=2),
            "additionalProperties": st.one_of(st.booleans(), inner),
        },
    )


def _arrays(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Schema]:
    return st.fixed_dictionaries(
        {"type": st.just("array")},
        optional={
            "items": inner,
            "prefixItems": st.lists(inner, min_size=1, max_size=2),
            "minItems": st.integers(0, 2),
            "maxItems": st.integers(2, 4),
        },
    )


TREES: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        _objects(inner),
        _arrays(inner),
        st.lists(inner, min_size=1, max_size=2).map(lambda parts: {"anyOf": parts}),
        st.lists(_objects(inner), min_size=1, max_size=2).map(lambda parts: {"allOf": parts}),
    ),
    max_leaves=6,
)


@given(TREES, st.integers(0, 1000))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_schema_is_followed_or_refused(schema: Any, seed: int) -> None:
    """Random schemas: a grammar for it gives valid texts, else the refusal says why."""
    try:
        check(schema, seed)
    except BadRequest as error:
        assert error.param == "json_schema"  # noqa: PT017  # it need not be refused


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (False, "nothing is valid"),
        ({"properties": {"a": False}, "required": ["a"]}, "required but may not be there"),
        ({"type": "any"}, "no type 'any'"),
        ({"properties": {"a": {"not": {}}}}, r"schema.properties.a.not.*leave it out"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems.*leave it out"),
        ({"type": "integer", "multipleOf": 3}, "multipleOf"),
        ({"type": "object", "patternProperties": {"x": {}}}, "patternProperties"),
        ({"$ref": "https://example.org/s.json"}, "is not looked up"),
        ({"$ref": "#/$defs/none"}, "nothing at"),
        ({"allOf": [{"$ref": "#/allOf/0"}]}, "refers to itself"),
        ({"type": "string", "pattern": "(?=a)b"}, "looking ahead"),
        ({"type": "string", "pattern": "(a)\\1"}, r"\\1 is not supported"),
        ({"type": "string", "pattern": "a{1000}", "maxLength": 5}, "length"),
        ({"type": "string", "pattern": "(" * 5000}, "characters"),
        ({"type": "string", "pattern": "(" * 30 + ")" * 30}, "parentheses"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "maxLength is less"),
        ({"type": "string", "maxLength": "x"}, "maxLength"),
        ({"enum": []}, "list of values"),
        ({"type": "integer", "minimum": 5, "maximum": 4}, "no number"),
        ({"type": "integer", "minimum": 1e300}, "less than 10"),
        ({"allOf": [{"type": "string"}, {"type": "null"}]}, "two different"),
        ({"minProperties": 3, "type": "object"}, "minProperties"),
        ({"anyOf": []}, "list of schemas"),
        ({"anyOf": [False]}, "nothing is valid"),
        (7, "a schema is an object"),
    ],
)
def test_what_a_grammar_cannot_follow_is_refused(schema: Any, reason: str) -> None:
    """With the place and the reason; a reference to an address is never fetched."""
    with pytest.raises(BadRequest, match=reason) as caught:
        automaton(schema)
    assert caught.value.param == "json_schema"


def _deep(depth: int) -> Schema:
    schema: Schema = {"type": "integer"}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def _wide(depth: int) -> Schema:
    """Doubles with each level, if references were copied out."""
    defs: Schema = {"d0": {"type": "integer"}}
    for level in range(depth):
        ref = {"$ref": f"#/$defs/d{level}"}
        defs[f"d{level + 1}"] = {"type": "object", "properties": {"a": ref, "b": ref}, "required": ["a", "b"]}
    return {"$ref": f"#/$defs/d{depth}", "$defs": defs}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "(((a{1000}){1000}){1000})"},
        {"type": "string", "pattern": "((a*)*)*$"},
        {"type": "string", "pattern": "^(((a|b)*c?)*(a|b|c)+)*$"},
        {"type": "string", "minLength": 10**9},
        {"type": "array", "items": _deep(20), "minItems": 10**6},
        _deep(500),
        _wide(50),
        {"allOf": [_wide(50), _wide(50)]},
        {"allOf": [{"anyOf": [{"minimum": n}, {"maximum": n}]} for n in range(40)]},
        {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(2000)}},
        {"type": "object", "properties": {f"p{n}" * 9: {} for n in range(900)}, "additionalProperties": True},
        {"enum": [f"{n}" for n in range(30_000)]},
        {"allOf": [{"enum": [f"{n}" for n in range(9000)]}, {"enum": [f"{n}" for n in range(8990, 20_000)]}]},
        {"type": "object", "properties": {f"p{n}": {} for n in range(500)}},
        {"const": _deep(700)},
        {"enum": ["x" * 1000] * 10 + [str(n) * 100 for n in range(1000)]},
        {"anyOf": [{"type": "array", "items": {"anyOf": [{"const": n}, {"const": [n]}]}} for n in range(300)]},
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)
def test_a_hostile_schema_is_quick(schema: Any) -> None:
    """It is made into a grammar and walked, or refused, in a second; nothing is repeated by writing it out."""
    began = time.monotonic()
    try:
        made = automaton(schema)
        made.walk(made.start, b'{"p1" : "x"')
        made.walk(made.start, b'"' + b"a" * 100)
        made.walk(made.start, b"[1, 2, [3")
    except BadRequest:
        pass
    assert time.monotonic() - began < 5
