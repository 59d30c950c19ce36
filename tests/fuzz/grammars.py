"""What answers are held to: grammars, JSON schemas, regular expressions."""

from typing import Any

from tests.fuzz.source import Source
from tests.fuzz.target import Target
from tests.fuzz.texts import _spread
from velesio.backends.llama import gbnf
from velesio.backends.llama.automaton import DEAD, Automaton
from velesio.backends.llama.json_pattern import PatternError, string_of
from velesio.backends.llama.json_schema import to_gbnf
from velesio.errors import BadRequest

_TEXT = b'{"a": [1, -2.5e3, "x\\u00e9", true, null, {}], "b": "2024-02-29"} root yes'
"""Walked through every automaton, from its begin and byte by byte."""


def _walk(source: str) -> None:
    automaton = Automaton(gbnf.parse(source, lambda text: 7 if text == "<think>" else None))
    state = automaton.start
    for byte in _TEXT:
        if (following := automaton.walk(state, bytes((byte,)))) != DEAD:
            state = following
        automaton.is_complete(state)


_GBNF = (
    *(
        "root",
        " ::= ",
        "\n",
        "a",
        "b",
        "rule-1",
        '"',
        '"x"',
        '"\\x41"',
        "\\",
        "[",
        "]",
        "^",
        "-",
        "[a-z]",
        "(",
        ")",
        "|",
        "*",
    ),
    *(
        "+",
        "?",
        "{",
        "}",
        "{2}",
        "{0,99999}",
        "{1,}",
        ",",
        ".",
        "#",
        " ",
        "<think>",
        "<[7]>",
        "!",
        "\\u",
        "\\U0010FFFF",
        "é",
        "\r\n",
    ),
)


def _read_gbnf(data: bytes) -> None:
    source = Source(data)
    head = "" if source.byte() % 4 == 0 else "root ::= "
    _walk(head + source.text(_GBNF))


_PATTERN = (
    *(
        "a",
        "b",
        ".",
        "^",
        "$",
        "|",
        "(",
        ")",
        "(?:",
        "(?=",
        "(?<n>",
        "[",
        "]",
        "[a-z]",
        "[^a]",
        "-",
        "*",
        "+",
        "?",
        "{",
        "}",
        "{2,5}",
    ),
    *(
        "{0,999999}",
        "{9}",
        ",",
        "\\d",
        "\\w",
        "\\s",
        "\\S",
        "\\W",
        "\\D",
        "\\b",
        "\\1",
        "\\",
        "\\u00e9",
        "\\x41",
        '"',
        "\\\\",
        "é",
    ),
)


def _read_pattern(data: bytes) -> None:
    source = Source(data)
    bounds = source.pick(((0, None), (0, 9), (3, None), (2, 2), (5, 400), (0, 0)))
    _walk(f"root ::= {string_of(source.text(_PATTERN), *bounds)}")


_NAMES = (
    *(
        "type",
        "properties",
        "required",
        "items",
        "prefixItems",
        "additionalProperties",
        "enum",
        "const",
        "anyOf",
        "oneOf",
    ),
    *(
        "allOf",
        "$ref",
        "$defs",
        "minLength",
        "maxLength",
        "pattern",
        "minItems",
        "maxItems",
        "minimum",
        "maximum",
        "format",
    ),
    *(
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "uniqueItems",
        "minProperties",
        "not",
        "if",
        "additionalItems",
        "a",
        "b",
    ),
)


def _leaf(source: Source) -> Any:
    kind = source.number(5)
    if kind == 0:
        return source.pick(
            ("object", "array", "string", "number", "integer", "boolean", "null", "uuid", "date", "email", "x")
        )
    if kind == 1:
        return source.pick(
            ("#", "#/$defs/a", "#/$defs/b", "#/properties/a", "#/$defs/a/items", "#/~1", "http://x", "#/allOf/0")
        )
    if kind == 2:
        return source.pick((0, 1, 2, 9, 100, 99999, -1, 0.5, -0.0, 1e300, -1e-7, 2**63, 10**18, 0.1, 1e15))
    if kind == 3:
        return source.text(_PATTERN, 8)
    return source.pick(
        (True, False, None, {}, [], "", "a", ["a"], ["string", "null"], {"$ref": "#"}, {"type": "string"})
    )


def _read_schema(data: bytes) -> None:
    schema = Source(data).json(_leaf, _NAMES, 6)
    _walk(to_gbnf(schema))


TARGETS = (
    Target("gbnf", _read_gbnf, (BadRequest,), _spread),
    Target("pattern", _read_pattern, (PatternError, BadRequest), _spread),
    Target("schema", _read_schema, (BadRequest,), _spread),
)
