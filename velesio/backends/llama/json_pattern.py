"""Regular expressions of JSON schemas, as grammars over the JSON text of the strings that match them. Pure."""

import math
import re
from collections.abc import Iterable
from typing import NamedTuple

from velesio.backends.llama.gbnf import complement, merged

_MAX_PATTERN = 2000
_MAX_DEPTH = 20

_Ranges = tuple[tuple[int, int], ...]

_DIGITS: _Ranges = ((0x30, 0x39),)
_WORD: _Ranges = ((0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A))
_SPACES: _Ranges = ((0x09, 0x0D), (0x20, 0x20))
_LINE_ENDS: _Ranges = ((0x0A, 0x0A), (0x0D, 0x0D), (0x2028, 0x2029))
_ASCII: _Ranges = ((0x20, 0x7E),)
"""What the negated classes are cut to: regular expression engines disagree about the rest."""
_CLASSES = {"d": _DIGITS, "w": _WORD, "s": _SPACES}
_CONTROLS = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "0": 0}
_JSON_ESCAPES = {0x22: '"', 0x5C: "\\", 0x08: "b", 0x0C: "f", 0x0A: "n", 0x0D: "r", 0x09: "t"}
_RAW: _Ranges = ((0x20, 0x21), (0x23, 0x5B), (0x5D, 0xD7FF), (0xE000, 0x10FFFF))
"""What stands for itself in JSON."""
_QUANTIFIER = re.compile(r"([*+?]|\{(\d{1,6})(,(\d{1,6})?)?\})\??")
_TIMES: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class PatternError(ValueError):
    """A pattern that a grammar cannot follow; says why."""


class _Set(NamedTuple):
    ranges: _Ranges


class _Sequence(NamedTuple):
    nodes: tuple["_Node", ...]


class _Either(NamedTuple):
    nodes: tuple["_Node", ...]


class _Repeat(NamedTuple):
    node: "_Node"
    least: int
    most: int | None


_Node = _Set | _Sequence | _Either | _Repeat
_ANY = _Repeat(_Set(((0, 0x10FFFF),)), 0, None)


def string_of(pattern: str, least: int = 0, most: int | None = None) -> str:
    """A grammar's expression for the JSON strings, without quotes, that match `pattern` somewhere and have `least` to
    `most` characters.

    Raises:
        PatternError: for what a grammar cannot express.
    """
    if len(pattern) > _MAX_PATTERN:
        raise PatternError(f"it has more than {_MAX_PATTERN} characters")
    reader = _Reader(pattern)
    node = reader.read()
    if least or most is not None:
        node = _fitted(node, least, math.inf if most is None else most)
    return _written(node)


def chars_of(ranges: Iterable[tuple[int, int]]) -> str:
    """A grammar's expression for the JSON text of one character out of `ranges`."""
    ranges = merged(ranges)
    raw = common(ranges, _RAW)
    parts = [f"[{''.join(map(_bounds, raw))}]"] if raw else []
    escaped = [letter for code, letter in _JSON_ESCAPES.items() if common(ranges, ((code, code),))]
    if escaped:
        parts.append(f'"\\\\" [{"".join(_in_class(ord(letter)) for letter in escaped)}]')
    if not parts:
        controls = [code for low, high in common(ranges, ((0, 0x1F),)) for code in range(low, high + 1)]
        parts = [f'"\\\\u{code:04x}"' for code in controls]
    if not parts:
        raise PatternError("a class of it has no characters")
    return parts[0] if len(parts) == 1 else f"({' | '.join(parts)})"


def common(one: Iterable[tuple[int, int]], other: Iterable[tuple[int, int]]) -> _Ranges:
    """The characters that are in both."""
    return complement((*complement(one), *complement(other)))


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern = pattern
        self._at = 0
        self._depth = 0

    def read(self) -> _Node:
        """Alternatives; where one is not anchored, anything may surround it."""
        found = []
        while True:
            at_begin = self._take("^")
            node = self._sequence()
            at_end = self._take("$")
            if at_begin and at_end:
                found.append(node)
            else:
                parts = (*(() if at_begin else (_ANY,)), node, *(() if at_end else (_ANY,)))
                found.append(_Sequence(parts))
            if not self._take("|"):
                break
        if self._at < len(self._pattern):
            raise PatternError(f"{self._pattern[self._at :]!r} is not supported there")
        return found[0] if len(found) == 1 else _Either(tuple(found))

    def _alternatives(self) -> _Node:
        found = [self._sequence()]
        while self._take("|"):
            found.append(self._sequence())
        return found[0] if len(found) == 1 else _Either(tuple(found))

    def _sequence(self) -> _Node:
        nodes: list[_Node] = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)$":
            node = self._atom()
            if match := _QUANTIFIER.match(self._pattern, self._at):
                self._at = match.end()
                node = _Repeat(node, *_times(match))
            nodes.append(node)
        return nodes[0] if len(nodes) == 1 else _Sequence(tuple(nodes))

    def _atom(self) -> _Node:
        character = self._pattern[self._at]
        self._at += 1
        if character == "(":
            return self._group()
        if character == "[":
            return _Set(self._class())
        if character == ".":
            return _Set(complement(_LINE_ENDS))
        if character == "\\":
            return _Set(self._escape())
        if character in "*+?^" or (character == "{" and _QUANTIFIER.match(self._pattern, self._at - 1)):
            raise PatternError(f"{character!r} is not supported there")
        return _Set(((ord(character), ord(character)),))

    def _group(self) -> _Node:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise PatternError(f"more than {_MAX_DEPTH} parentheses within each other")
        if self._take("?"):
            name = re.compile(r":|P?<\w+>").match(self._pattern, self._at)
            if name is None:
                raise PatternError("looking ahead or behind is not supported")
            self._at = name.end()
        node = self._alternatives()
        if not self._take(")"):
            raise PatternError("a parenthesis is not closed, or '$' stands inside of one")
        self._depth -= 1
        return node

    def _class(self) -> _Ranges:
        negated = self._take("^")
        ranges: list[tuple[int, int]] = []
        is_ascii = False
        while not self._take("]"):
            part, many = self._class_part()
            is_ascii = is_ascii or many
            if not many and self._pattern[self._at : self._at + 1] == "-" and self._pattern[self._at + 1 :][:1] != "]":
                self._at += 1
                end, many = self._class_part()
                if many or end[0][0] < part[0][0]:
                    raise PatternError("a class of it has a range without an end")
                part = ((part[0][0], end[0][0]),)
            ranges += part
        if not negated:
            return merged(ranges)
        return common(complement(ranges), _ASCII) if is_ascii else complement(ranges)

    def _class_part(self) -> tuple[_Ranges, bool]:
        """A character, or a class within the class and True."""
        if self._at >= len(self._pattern):
            raise PatternError("a class is not closed")
        character = self._pattern[self._at]
        self._at += 1
        if character != "\\":
            return ((ord(character), ord(character)),), False
        if self._take("b"):
            return ((8, 8),), False
        kind = self._pattern[self._at : self._at + 1]
        return self._escape(), kind.lower() in _CLASSES

    def _escape(self) -> _Ranges:
        kind = self._pattern[self._at : self._at + 1]
        self._at += 1
        if kind in _CLASSES:
            return _CLASSES[kind]
        if kind.lower() in _CLASSES:
            return common(complement(_CLASSES[kind.lower()]), _ASCII)
        if kind in _CONTROLS:
            return ((_CONTROLS[kind], _CONTROLS[kind]),)
        if match := re.compile(r"x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})").match(self._pattern, self._at - 1):
            self._at = match.end()
            code = int(match[1] or match[2], 16)
            return ((code, code),)
        if not kind or kind.isalnum():
            raise PatternError(f"\\{kind} is not supported")
        return ((ord(kind), ord(kind)),)

    def _take(self, character: str) -> bool:
        if self._pattern[self._at : self._at + 1] != character:
            return False
        self._at += 1
        return True


def _times(match: re.Match[str]) -> tuple[int, int | None]:
    if match[2] is None:
        return _TIMES[match[1]]
    least = int(match[2])
    most = least if match[3] is None else int(match[4]) if match[4] else None
    if most is not None and most < least:
        raise PatternError(f"{match[0]} repeats at least more often than at most")
    return least, most


def _width(node: _Node) -> tuple[float, float]:
    """The fewest and the most characters of a node."""
    if isinstance(node, _Set):
        return 1, 1
    if isinstance(node, _Sequence):
        widths = [_width(part) for part in node.nodes]
        return sum(least for least, _ in widths), sum(most for _, most in widths)
    if isinstance(node, _Either):
        widths = [_width(part) for part in node.nodes]
        return min(least for least, _ in widths), max(most for _, most in widths)
    least, most = _width(node.node)
    times = math.inf if node.most is None else node.most
    return least * node.least, most * times if most and times else 0


def _fitted(node: _Node, low: float, high: float) -> _Node:
    """The part of what `node` matches that has `low` to `high` characters, or at least some of it.

    Raises:
        PatternError: none was found.
    """
    least, most = _width(node)
    if low <= least and most <= high:
        return node
    if least > high or most < low:
        raise PatternError("no string that matches it has the length that is asked for")
    if isinstance(node, _Sequence):
        return _fitted_sequence(node, low, high)
    if isinstance(node, _Either):
        return _Either(tuple(_fitted_or_nothing(node, low, high)))
    if isinstance(node, _Repeat):
        return _fitted_repeat(node, low, high)
    return node


def _fitted_or_nothing(node: _Either, low: float, high: float) -> list[_Node]:
    found = []
    for part in node.nodes:
        least, most = _width(part)
        if least <= high and most >= low:
            found.append(_fitted(part, low, high))
    if not found:
        raise PatternError("no string that matches it has the length that is asked for")
    return found


def _fitted_sequence(node: _Sequence, low: float, high: float) -> _Node:
    """What is missing is given to the parts in turn, and then as much of the rest as each can take."""
    widths = [_width(part) for part in node.nodes]
    fewest = sum(least for least, _ in widths)
    missing, spare = max(0, low - fewest), high - fewest
    needed = []
    for part, (least, most) in zip(node.nodes, widths, strict=True):
        step = _step(part)
        limit = spare if spare == math.inf else spare // step * step
        more = min(math.ceil(min(missing, most - least) / step) * step, limit)
        needed.append(more)
        missing, spare = max(0, missing - more), spare - more
    if missing:
        raise PatternError("its repetitions cannot be held to the length that is asked for")
    parts = []
    for part, (least, most), more in zip(node.nodes, widths, needed, strict=True):
        extra = min(spare, most - least - more)
        parts.append(_fitted(part, least + more, least + more + extra))
        spare = spare if spare == math.inf else spare - extra
    return _Sequence(tuple(parts))


def _step(node: _Node) -> float:
    """By how much the length of a node can grow."""
    if not isinstance(node, _Repeat):
        return 1
    least, most = _width(node.node)
    return least if least == most and least else 1


def _fitted_repeat(node: _Repeat, low: float, high: float) -> _Node:
    least, most = _width(node.node)
    if not least or most == math.inf:
        if most and least != most and node.least <= 1:  # once is enough, if that is long enough
            return _fitted(node.node, low, high)
        raise PatternError("its repetitions cannot be held to the length that is asked for")
    fewest = max(node.least, math.ceil(low / least))
    times = math.inf if node.most is None else node.most
    largest = min(times, high // most)
    if fewest > largest:
        raise PatternError("its repetitions cannot be held to the length that is asked for")
    return _Repeat(node.node, fewest, None if largest == math.inf else int(largest))


def _written(node: _Node) -> str:
    if isinstance(node, _Set):
        return chars_of(node.ranges)
    if isinstance(node, _Sequence):
        return f"({' '.join(map(_written, node.nodes))})" if node.nodes else '""'
    if isinstance(node, _Either):
        return f"({' | '.join(map(_written, node.nodes))})"
    most = "" if node.most is None else node.most
    return f"({_written(node.node)}){{{node.least},{most}}}"


def _bounds(pair: tuple[int, int]) -> str:
    low, high = pair
    return _in_class(low) if low == high else f"{_in_class(low)}-{_in_class(high)}"


def _in_class(code: int) -> str:
    character = chr(code)
    if character.isascii() and character.isalnum():
        return character
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
