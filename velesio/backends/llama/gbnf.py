"""Reads llama.cpp's grammar notation. Pure: what comes out refers to nothing but itself and is safe to walk."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, NoReturn

from velesio.errors import BadRequest

MAX_SOURCE = 128 * 1024
"""Characters of a grammar."""
MAX_ITEMS = 50_000
"""Characters, references and repetitions of a grammar."""
MAX_DEPTH = 100
"""Parentheses within each other."""

_REFUSAL = "Failed to initialize samplers: failed to parse grammar"
"""In llama.cpp's words, which clients know."""
_LAST = 0x10FFFF
_NAME = re.compile(r"[A-Za-z0-9-]+")
_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_TIMES = re.compile(r"\{[ \t]*(\d{1,9})[ \t]*(?:(,)[ \t]*(\d{1,9})?[ \t]*)?\}")
_TOKEN_ID = re.compile(r"<\[(\d{1,9})\]>")
_TOKEN_TEXT = re.compile(r"<[^>\r\n]*>")
_HEX = {"x": 2, "u": 4, "U": 8}
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-"}
_REPEATS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


class Chars(NamedTuple):
    """One character out of sorted ranges, both ends included."""

    ranges: tuple[tuple[int, int], ...]


class Token(NamedTuple):
    """One certain token of the model, or any but that one."""

    token: int
    negated: bool = False


class Ref(NamedTuple):
    """Whatever a rule stands for."""

    rule: int


class Repeat(NamedTuple):
    """An item several times."""

    item: "Chars | Token | Ref"
    least: int
    most: int | None


Item = Chars | Token | Ref | Repeat
Rule = tuple[tuple[Item, ...], ...]
"""Alternatives, each a sequence."""


class Rules(NamedTuple):
    """A grammar: what is to be said is the rule `root`."""

    rules: tuple[Rule, ...]
    root: int


def parse(source: str, token_of: Callable[[str], int | None]) -> Rules:
    """A grammar from its text; `token_of` knows the id of a token that is named like `<think>`.

    Raises:
        BadRequest: with the line, for what cannot be read, refers to nothing, refers to itself before anything else,
            or is too large.
    """
    if len(source) > MAX_SOURCE:
        raise BadRequest(f"{_REFUSAL}: it has more than {MAX_SOURCE} characters", param="grammar")
    reader = _Reader(source, token_of)
    reader.read()
    rules = reader.result()
    _refuse_left_recursion(rules.rules, reader.names)
    return rules


class _Reader:
    """A recursive descent over one source."""

    def __init__(self, source: str, token_of: Callable[[str], int | None]) -> None:
        self._source = source
        self._at = 0
        self._token_of = token_of
        self._ids: dict[str, int] = {}
        self._rules: dict[int, Rule] = {}
        self._depth = 0
        self._items = 0

    @property
    def names(self) -> dict[int, str]:
        """The names of the rules that have one."""
        return {number: name for name, number in self._ids.items()}

    def read(self) -> None:
        self._skip(lines=True)
        while self._at < len(self._source):
            self._rule()
            self._skip(lines=True)

    def result(self) -> Rules:
        if "root" not in self._ids:
            self._fail("there is no rule called root")
        for name, number in self._ids.items():
            if number not in self._rules:
                self._fail(f"the rule {name!r} is not defined")
        return Rules(tuple(self._rules[number] for number in range(len(self._rules))), self._ids["root"])

    def _rule(self) -> None:
        number = self._id(self._name())
        self._skip()
        if not self._source.startswith("::=", self._at):
            self._fail("expecting ::=")
        self._at += 3
        self._skip(lines=True)
        self._rules[number] = self._alternatives(nested=False)
        if self._at < len(self._source) and self._source[self._at] not in "\r\n":
            self._fail("expecting a new line or the end")

    def _alternatives(self, *, nested: bool) -> Rule:
        found = [self._sequence(nested=nested)]
        while self._peek() == "|":
            self._at += 1
            self._skip(lines=True)
            found.append(self._sequence(nested=nested))
        return tuple(found)

    def _sequence(self, *, nested: bool) -> tuple[Item, ...]:
        items: list[Item] = []
        last: list[Item] | None = None  # what a repetition would repeat
        while character := self._peek():
            if character in '"[.<!(' or _NAME.match(character):
                last = self._item(character)
                items += last
            elif character in "*+?{":
                if last is None:
                    self._fail("nothing stands before the repetition")
                times = self._times(character)
                if last:
                    del items[len(items) - len(last) :]
                    items.append(self._repeated(last, times))
                    last = items[-1:]
            else:
                break
            self._items += max(1, len(last))
            if self._items > MAX_ITEMS:
                self._fail(f"it has more than {MAX_ITEMS} items")
            self._skip(lines=nested)
        return tuple(items)

    def _item(self, character: str) -> list[Item]:
        if character == '"':
            return self._literal()
        if character == "[":
            return [self._class()]
        if character == ".":
            self._at += 1
            return [Chars(((0, _LAST),))]
        if character in "<!":
            return [self._token(negated=character == "!")]
        if character == "(":
            return [self._group()]
        return [Ref(self._id(self._name()))]

    def _literal(self) -> list[Item]:
        self._at += 1
        found: list[Item] = []
        while self._peek() != '"':
            code = self._character()
            found.append(Chars(((code, code),)))
        self._at += 1
        return found

    def _class(self) -> Chars:
        self._at += 1
        negated = self._peek() == "^"
        self._at += negated
        ranges: list[tuple[int, int]] = []
        while self._peek() != "]":
            low = high = self._character()
            if self._peek() == "-" and self._source[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                high = self._character()
            ranges.append((low, high))
        self._at += 1
        return Chars(complement(ranges) if negated else merged(ranges))

    def _token(self, *, negated: bool) -> Token:
        self._at += negated
        if match := _TOKEN_ID.match(self._source, self._at):
            self._at = match.end()
            return Token(int(match[1]), negated)
        match = _TOKEN_TEXT.match(self._source, self._at)
        if match is None:
            self._fail("expecting a token like <think> or <[7]>")
        token = self._token_of(match[0])
        if token is None:
            self._fail(f"{match[0]} is not one token of this model")
        self._at = match.end()
        return Token(token, negated)

    def _group(self) -> Ref:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            self._fail(f"more than {MAX_DEPTH} parentheses within each other")
        self._at += 1
        self._skip(lines=True)
        alternatives = self._alternatives(nested=True)
        if self._peek() != ")":
            self._fail("expecting )")
        self._at += 1
        self._depth -= 1
        return self._unnamed(alternatives)

    def _times(self, character: str) -> tuple[int, int | None]:
        if character != "{":
            self._at += 1
            return _REPEATS[character]
        match = _TIMES.match(self._source, self._at)
        if match is None:
            self._fail("expecting {times}, {least,} or {least,most}")
        self._at = match.end()
        least = int(match[1])
        most = (int(match[3]) if match[3] else None) if match[2] else least
        if most is not None and most < least:
            self._fail(f"{match[0]} repeats at least more often than at most")
        return least, most

    def _repeated(self, items: list[Item], times: tuple[int, int | None]) -> Item:
        first = items[0]
        if len(items) > 1 or isinstance(first, Repeat):
            first = self._unnamed((tuple(items),))
        return Repeat(first, *times)

    def _unnamed(self, alternatives: Rule) -> Ref:
        number = self._id(f"({len(self._ids)}")
        self._rules[number] = alternatives
        return Ref(number)

    def _id(self, name: str) -> int:
        return self._ids.setdefault(name, len(self._ids))

    def _name(self) -> str:
        match = _NAME.match(self._source, self._at)
        if match is None:
            self._fail("expecting a name")
        self._at = match.end()
        return match[0]

    def _character(self) -> int:
        character = self._peek()
        if not character:
            self._fail("it ends inside of a text")
        self._at += 1
        if character != "\\":
            return ord(character)
        kind = self._peek()
        self._at += 1
        if kind in _ESCAPES:
            return ord(_ESCAPES[kind])
        digits = self._source[self._at : self._at + _HEX.get(kind, 0)]
        if kind not in _HEX or not re.fullmatch(rf"[0-9a-fA-F]{{{_HEX[kind]}}}", digits):
            self._fail(f"unknown escape \\{kind}{digits}")
        self._at += len(digits)
        if int(digits, 16) > _LAST:
            self._fail(f"there is no character \\{kind}{digits}")
        return int(digits, 16)

    def _peek(self) -> str:
        return self._source[self._at : self._at + 1]

    def _skip(self, *, lines: bool = False) -> None:
        match = (_SPACE_AND_LINES if lines else _SPACE).match(self._source, self._at)
        self._at = match.end() if match else self._at

    def _fail(self, why: str) -> NoReturn:
        line = self._source.count("\n", 0, self._at) + 1
        raise BadRequest(f"{_REFUSAL}: line {line}: {why}", param="grammar")


def merged(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Sorted ranges that do not touch; what ends before it begins is left out."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(pair for pair in ranges if pair[0] <= pair[1]):
        if found and low <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(high, found[-1][1]))
        else:
            found.append((low, high))
    return tuple(found)


def complement(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Every character that is not in `ranges`."""
    found, begin = [], 0
    for low, high in merged(ranges):
        if begin < low:
            found.append((begin, low - 1))
        begin = high + 1
    if begin <= _LAST:
        found.append((begin, _LAST))
    return tuple(found)


def nullable(rules: Sequence[Rule]) -> list[bool]:
    """Whether each rule may stand for nothing at all."""
    users: list[list[int]] = [[] for _ in rules]
    for number, rule in enumerate(rules):
        for sequence in rule:
            for item in sequence:
                if (inner := _ref_in(item)) is not None:
                    users[inner].append(number)
    empty = [False] * len(rules)
    todo = list(range(len(rules)))
    while todo:
        number = todo.pop()
        if not empty[number] and any(all(may_be_empty(item, empty) for item in sequence) for sequence in rules[number]):
            empty[number] = True
            todo += users[number]
    return empty


def may_be_empty(item: Item, empty: Sequence[bool]) -> bool:
    """Whether an item may stand for nothing, given which rules may."""
    if isinstance(item, Repeat):
        return item.least == 0 or item.most == 0 or may_be_empty(item.item, empty)
    return isinstance(item, Ref) and empty[item.rule]


def _ref_in(item: Item) -> int | None:
    item = item.item if isinstance(item, Repeat) else item
    return item.rule if isinstance(item, Ref) else None


def _refuse_left_recursion(rules: Sequence[Rule], names: dict[int, str]) -> None:
    """Raises BadRequest for a rule that may begin with itself: expanding it would never end."""
    firsts = _first_rules(rules)
    state = [0] * len(rules)  # 0 new, 1 being expanded, 2 done
    for start in range(len(rules)):
        stack = [(start, iter(firsts[start]))] if not state[start] else []
        state[start] = state[start] or 1
        while stack:
            number, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[number] = 2
                stack.pop()
            elif state[following] == 1:
                name = names[following].partition("(")[0] or "a group in parentheses"
                raise BadRequest(f"{_REFUSAL}: left recursion: {name} may begin with itself", param="grammar")
            elif not state[following]:
                state[following] = 1
                stack.append((following, iter(firsts[following])))


def _first_rules(rules: Sequence[Rule]) -> list[list[int]]:
    """The rules that each rule may begin with."""
    empty = nullable(rules)
    firsts: list[list[int]] = []
    for rule in rules:
        found: list[int] = []
        for sequence in rule:
            for item in sequence:
                if (inner := _ref_in(item)) is not None and not (isinstance(item, Repeat) and item.most == 0):
                    found.append(inner)
                if not may_be_empty(item, empty):
                    break
        firsts.append(found)
    return firsts
