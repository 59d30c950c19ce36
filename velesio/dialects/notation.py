"""Writes grammars in llama.cpp's notation. Pure."""

from collections.abc import Iterable
from typing import Protocol

from velesio.dialects.function import Function

BLANK = '(" " | "\\n"{1,2} [ \\t]{0,12})?'
"""Bounded, so that a model cannot go on with blanks forever."""

_ESCAPED = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED_IN_CLASS = {"\\": "\\\\", "]": "\\]", "[": "\\[", "-": "\\-", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


class Notation(Protocol):
    """A grammar while it is written."""

    def arguments(self, function: Function) -> str:
        """The rule for all arguments of a function: a JSON object."""

    def value(self, function: Function, parameter: str) -> str:
        """The rule for one argument: a JSON value."""

    def define(self, name: str, text: str) -> str:
        """Adds the rule `name`, unless it is there already; returns the name."""


def literal(text: str) -> str:
    """A text as it is."""
    return f'"{"".join(_ESCAPED.get(character, character) for character in text)}"'


def either(alternatives: Iterable[str]) -> str:
    """One of several."""
    return f"({' | '.join(alternatives)})"


def several(one: str, between: str, *, parallel: bool) -> str:
    """One, or where that is `parallel` as many as the model likes."""
    return f"{one} ({between} {one})*" if parallel else one


def member(key: str, value: str) -> str:
    """A key of a JSON object with the rule for its value."""
    quoted = literal(f'"{key}":')
    return f"{quoted} {BLANK} {value}"


def until(mark: str, notation: Notation) -> str:
    """The rule for any text that ends with the first `mark` in it."""
    # The rules are the states of a search: each stands for how much of the mark the text ends with.
    names = [f"until-{mark.encode().hex()}-{state}" for state in range(len(mark))]
    characters = "".join(dict.fromkeys(mark))
    others = "".join(_ESCAPED_IN_CLASS.get(character, character) for character in characters)
    for state, name in enumerate(names):
        ways = [f"[^{others}] {names[0]}"]
        for character in characters:
            reached = _overlap(mark, mark[:state] + character)
            ways.append(literal(character) + (f" {names[reached]}" if reached < len(mark) else ""))
        notation.define(name, " | ".join(ways))
    return names[0]


def _overlap(mark: str, text: str) -> int:
    """How much of the mark `text` ends with."""
    return next(length for length in range(len(mark), -1, -1) if text.endswith(mark[:length]))
