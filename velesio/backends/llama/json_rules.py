"""Rules of a grammar for JSON texts: those that all schemas share, and those of one, each written once. Pure."""

import json
from typing import Any

from velesio.backends.llama.json_keywords import refused

MAX_RULES = 5000
MAX_SIZE = 100_000
"""Characters of the grammar."""

_SPACE = '| " " | "\\n"{1,2} [ \\t]{0,20}'
"""Bounded, so that a model cannot go on with blanks forever."""
_CHAR = '[^"\\\\\\x00-\\x1F\\x7F] | "\\\\" (["\\\\/bfnrt] | "u" ([0-9a-cA-CefEF] hex{3} | [dD] [0-7] hex{2}))'
"""A character; halves of surrogate pairs are left out, since two of them would be one character."""

_BUILT_IN: dict[str, str] = {
    "space": _SPACE,
    "hex": "[0-9a-fA-F]",
    "char": _CHAR,
    "string": '"\\"" char* "\\""',
    "integer": '"-"? ("0" | [1-9] [0-9]{0,15})',
    "number": '"-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,16})? ([eE] [-+]? [0-9]{1,2})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "object": '"{" space (string ":" space value ("," space string ":" space value)*)? space "}"',
    "array": '"[" space (value ("," space value)*)? space "]"',
    "value": "object | array | string | number | boolean | null",
}
_USES = {
    "char": ("hex",),
    "string": ("char",),
    "object": ("space", "string", "value"),
    "array": ("space", "value"),
    "value": ("object", "array", "string", "number", "boolean", "null"),
}

_DATE = (
    '[0-9]{4} "-" (("0" [1-9] | "1" [0-2]) "-" ("0" [1-9] | "1" [0-9] | "2" [0-8])'
    ' | ("01" | "0" [3-9] | "1" [0-2]) "-" ("29" | "30") | ("0" [13578] | "1" [02]) "-31")'
)
_YEAR_ZERO = '("0" "0" "0" [1-9] | "0" "0" [1-9] [0-9] | "0" [1-9] [0-9]{2} | [1-9] [0-9]{3})'
_TIME = (
    '([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9] ":" [0-5] [0-9] ("." [0-9]{1,6})?'
    ' ("Z" | [+-] ([01] [0-9] | "2" [0-3]) ":" [0-5] [0-9])'
)
_OCTET = '("25" [0-5] | "2" [0-4] [0-9] | "1" [0-9]{2} | [1-9]? [0-9])'
FORMATS = {
    "date": _DATE.replace("[0-9]{4}", _YEAR_ZERO, 1),
    "time": _TIME,
    "date-time": f'{_DATE.replace("[0-9]{4}", _YEAR_ZERO, 1)} "T" {_TIME}',
    "uuid": 'hex{8} "-" hex{4} "-" [1-5] hex{3} "-" [89abAB] hex{3} "-" hex{12}',
    "ipv4": ' "." '.join([_OCTET] * 4),
    "email": '[a-zA-Z0-9] [a-zA-Z0-9._+-]{0,62} "@" ([a-zA-Z0-9] [a-zA-Z0-9-]{0,30} "."){1,3} [a-zA-Z]{2,10}',
}
"""Formats that are held to; others are taken as remarks, as JSON Schema does by default."""


class Rules:
    """The rules of one grammar. Their names begin with `prefix`, but for those that mean the same in every grammar."""

    def __init__(self, prefix: str) -> None:
        self.texts: dict[str, str] = {}
        """By name."""
        self._prefix = prefix
        self._names: dict[str, str] = {}
        """By text, so that what is said twice is written once."""
        self._size = 0

    def built_in(self, name: str) -> str:
        """The name of a rule that all grammars share, which then is among these, with all that it uses."""
        if name not in self.texts:
            self.texts[name] = _BUILT_IN[name]
            for used in _USES.get(name, ()):
                self.built_in(used)
        return name

    def add(self, text: str) -> str:
        """The name of the rule with this text.

        Raises:
            BadRequest: the grammar would be too large.
        """
        known = self._names.get(text)
        if known is not None:
            return known
        self._size += len(text)
        if len(self._names) >= MAX_RULES or self._size > MAX_SIZE:
            raise refused("schema", "it is too large for a grammar")
        name = self._names[text] = self.put(f"r{len(self._names)}", text)
        return name

    def put(self, name: str, text: str) -> str:
        """Gives a rule this text, whatever it was before; answers its whole name."""
        whole = f"{self._prefix}{name}"
        self.texts[whole] = text
        return whole


def literal(text: str) -> str:
    """A text as a grammar writes it."""
    escaped = "".join(_ESCAPES.get(character, character) for character in text)
    return f'"{escaped}"'


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def constant(value: Any) -> str:
    """A value as a grammar writes its JSON, which says the same to every reader."""
    return literal(json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
