"""The prompt language: emphasis, editing, alternation, composition, BREAK, escapes and adapter tags.

    (x)  (x:1.25)  [x]         more, as much as the number says, less
    [a:b:0.5]  [b:8]  [a::8]   from a to b in the middle; b from step 8 on; a until then
    [a|b|c]                    another one at each step
    a AND b :0.7               two prompts whose wishes are added up
    BREAK                      what follows begins a chunk of its own
    \\(  \\)  \\[  \\]  \\\\         the character itself
    <lora:name:0.8>            an adapter, here at 0.8

Brackets that do not match are text. The parser is ours; nothing here knows a model.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from velesio.errors import BadRequest

MORE, LESS = 1.1, 1 / 1.1
BREAK = "BREAK"

_TAG = re.compile(r"<(lora|lyco|hypernet):([^<>]+)>")
_AND = re.compile(r"\bAND\b")
_NUMBER = re.compile(r"([-+]?)(\d{1,9}(?:\.\d{0,40})?|\.\d{1,40})")
"""One of more digits is text."""
_BREAK = re.compile(r"\bBREAK\b")
_OPEN = {"(": ")", "[": "]"}
MAX_DEPTH = 64
"""Brackets inside brackets; deeper ones are text."""
MAX_LENGTH = 20_000
"""Characters of a prompt: each 75 tokens of it are a pass through the text encoder, before anybody else's step."""
_HEAVIEST = 1e6
"""What weights multiply to at most."""


class Tag(NamedTuple):
    """An adapter that a prompt asks for."""

    name: str
    text: float = 1.0
    """Its weight in the text encoders."""
    unet: float = 1.0
    kind: str = "lora"
    rank: int = 0
    """The rank that is used of it; 0: all."""


class Part(NamedTuple):
    """Text of one weight, or a break."""

    text: str
    weight: float = 1.0


class Span(NamedTuple):
    """What a prompt is up to a step."""

    until: int
    """The first step, from 0, for which it no longer holds."""
    text: str


class Wish(NamedTuple):
    """One of the prompts that `AND` joins."""

    text: str
    weight: float = 1.0


def tags(text: str) -> tuple[str, tuple[Tag, ...]]:
    """The prompt without its adapter tags, and these."""
    found = [_tag(match[1], match[2].split(":")) for match in _TAG.finditer(text)]
    return _TAG.sub("", text), tuple(tag for tag in found if tag is not None)


def _tag(kind: str, fields: list[str]) -> Tag | None:
    """None for a tag whose numbers are none."""
    plain = [field for field in fields[1:] if "=" not in field]
    named = dict(field.split("=", 1) for field in fields[1:] if "=" in field)
    try:
        text = _finite(named.get("te", plain[0] if plain else 1.0))
        unet = _finite(named.get("unet", plain[1] if len(plain) > 1 else text))
        rank = int(named.get("dyn", plain[2] if len(plain) > 2 else 0))
    except ValueError:
        return None
    return Tag(fields[0].strip(), text, unet, "hypernet" if kind == "hypernet" else "lora", rank)


def _finite(number: str | float) -> float:
    if not math.isfinite(value := float(number)):
        raise ValueError("no number to multiply with")
    return value


def wishes(text: str) -> tuple[Wish, ...]:
    """The prompts that `AND` joins; one, if it joins none."""
    found = []
    for piece in _AND.split(text):
        head, colon, tail = piece.rpartition(":")
        number = _NUMBER.fullmatch(tail.strip()) if colon else None
        found.append(Wish(head.rstrip(), float(number[0])) if number else Wish(piece.rstrip()))
    return (Wish(text),) if len(found) == 1 else tuple(found)


def spans(text: str, steps: int, *, before: int = 0, old: bool = False) -> tuple[Span, ...]:
    """What the prompt is at each of `steps` steps, equal neighbours in one.

    `before`: steps of an earlier pass. A fraction of an edit then counts from 1 (1.5 is the middle of this pass), and
    a step's number from the begin of that earlier pass. `old`: as if there were none, and a number is a fraction if it
    is below 1.

    Raises:
        BadRequest: it is too long.
    """
    if len(text) > MAX_LENGTH:
        raise BadRequest(f"a prompt has {len(text)} characters; at most {MAX_LENGTH} are read", param="prompt")
    tree = _sequence(_Reader(text), "")
    found: list[Span] = []
    for step in range(max(steps, 1)):
        now = _said(tree, _Moment(step + 1, steps, 0 if old else before, old))
        if found and found[-1].text == now:
            found[-1] = Span(step + 1, now)
        else:
            found.append(Span(step + 1, now))
    return tuple(found)


def parts(text: str) -> tuple[Part, ...]:
    """A prompt without edits as texts of one weight each; a break is `Part(BREAK, -1)`."""
    weighed = _weighed(_sequence(_Reader(text), ""), 1.0)
    runs = [
        Part("".join(piece for piece, _ in pieces), weight)
        for weight, pieces in groupby(weighed, key=lambda pair: pair[1])
    ]
    found: list[Part] = []
    for run in runs:
        pieces = _BREAK.split(run.text)
        for number, between in enumerate(pieces):
            piece = between.lstrip() if number else between
            piece = piece.rstrip() if number < len(pieces) - 1 else piece
            found += [Part(BREAK, -1.0)] * (number > 0) + [Part(piece, run.weight)] * bool(piece)
    return tuple(found) or (Part(""),)


class _Text(NamedTuple):
    """Characters as they stand; an escape keeps its backslash."""

    text: str


class _Group(NamedTuple):
    """A pair of brackets: what lies between them, cut at the `:` and `|` of its own level."""

    opening: str
    pieces: "tuple[_Tree, ...]"
    marks: tuple[str, ...]
    """The characters at which it was cut."""


_Tree = tuple[_Text | _Group, ...]


class _Moment(NamedTuple):
    step: int
    """From 1."""
    steps: int
    before: int
    old: bool


class _Reader:
    """A text and how far it has been read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.place = 0
        self.depth = 0
        self.closing = _closings(text)

    @property
    def next(self) -> str:
        """The next character, with the one that it escapes; empty at the end."""
        here = self.text[self.place : self.place + 2]
        return here if here[:1] == "\\" and here[1:] and here[1] in "()[]\\:|" else here[:1]


def _closings(text: str) -> dict[int, int]:
    """Where the brackets that match begin and end. One that is inside another pair and open when this ends is text."""
    found: dict[int, int] = {}
    opened: list[int] = []
    waiting = Counter[str]()
    """Of those in `opened`, how many each closing bracket would close."""
    place = 0
    while place < len(text):
        character = text[place]
        if character == "\\":
            place += 1
        elif character in _OPEN:
            opened.append(place)
            waiting[_OPEN[character]] += 1
        elif waiting[character]:
            closed = ""
            while closed != character:
                partner = opened.pop()
                closed = _OPEN[text[partner]]
                waiting[closed] -= 1
            found[partner] = place
        place += 1
    return found


def _sequence(reader: _Reader, marks: str, end: int | None = None) -> _Tree:
    """What is read up to `end`, or to one of `marks`."""
    found: list[_Text | _Group] = []
    end = len(reader.text) if end is None else end
    while reader.place < end and (character := reader.next) not in (tuple(marks) if marks else ()):
        closing = reader.closing.get(reader.place) if character in _OPEN else None
        if closing is None or reader.depth >= MAX_DEPTH:
            found.append(_Text(character))
            reader.place += len(character)
        else:
            found.append(_group(reader, character, closing))
    return tuple(found)


def _group(reader: _Reader, opening: str, closing: int) -> _Group:
    reader.place += 1
    reader.depth += 1
    cuts = ":|" if opening == "[" else ""
    pieces, marks = [_sequence(reader, cuts, closing)], []
    while reader.place < closing:
        marks.append(reader.text[reader.place])
        reader.place += 1
        pieces.append(_sequence(reader, cuts, closing))
    reader.place = closing + 1
    reader.depth -= 1
    return _Group(opening, tuple(pieces), tuple(marks))


def _said(tree: _Tree, moment: _Moment) -> str:
    """The prompt at a moment: edits and alternations decided, everything else as it stands."""
    return "".join(node.text if isinstance(node, _Text) else _decided(node, moment) for node in tree)


def _decided(group: _Group, moment: _Moment) -> str:
    if group.opening == "[" and group.marks:
        if set(group.marks) == {"|"}:
            return _said(group.pieces[(moment.step - 1) % len(group.pieces)], moment)
        if set(group.marks) == {":"} and len(group.pieces) in {2, 3}:
            number = _NUMBER.fullmatch(_said(group.pieces[-1], moment).strip())
            if number and not number[1]:
                before = group.pieces[0] if len(group.pieces) == 3 else ()
                return _said(before if moment.step <= _turn(number[2], moment) else group.pieces[-2], moment)
    inside = "".join(mark + _said(piece, moment) for mark, piece in zip(("", *group.marks), group.pieces, strict=True))
    return f"{group.opening}{inside}{_OPEN[group.opening]}"


def _turn(number: str, moment: _Moment) -> int:
    """The last step before an edit."""
    if moment.old:
        return int(float(number) * moment.steps) if float(number) < 1 else int(float(number))
    if "." in number:
        return int((float(number) - (moment.before > 0)) * moment.steps)
    return int(number) - moment.before


def _weighed(tree: _Tree, weight: float) -> Iterator[tuple[str, float]]:
    """Texts with their weights, escapes resolved."""
    for node in tree:
        if isinstance(node, _Text):
            yield node.text[-1:], weight
        elif node.opening == "(":
            inside, own = _emphasis(node.pieces[0])
            yield from _weighed(inside, max(-_HEAVIEST, min(weight * own, _HEAVIEST)))
        else:
            for number, piece in enumerate(node.pieces):
                if number:
                    yield node.marks[number - 1], weight * LESS
                yield from _weighed(piece, weight * LESS)


def _emphasis(tree: _Tree) -> tuple[_Tree, float]:
    """What round brackets hold, and the weight that stands at its end."""
    place = len(tree)
    while place and isinstance(last := tree[place - 1], _Text) and len(last.text) == 1:
        place -= 1
    head, colon, tail = _text(tree[place:]).rpartition(":")
    number = _NUMBER.fullmatch(tail.strip()) if colon else None
    if number is None:
        return tree, MORE
    return tree[: place + len(head)], float(number[0])


def _text(nodes: Sequence[_Text | _Group]) -> str:
    return "".join(node.text for node in nodes if isinstance(node, _Text))
