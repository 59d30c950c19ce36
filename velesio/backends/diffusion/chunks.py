"""Chunks: a prompt of any length as rows of as many tokens as a text encoder reads at once.

Pure. A row has a begin mark, 75 tokens (for models of the usual 77 positions) and end marks.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from velesio.backends.diffusion.prompt import BREAK, Part


class Vectors(NamedTuple):
    """Vectors of a textual inversion that stand in place of tokens."""

    place: int
    """The first token of the chunk that they replace, the begin mark counted."""
    name: str


class Chunk(NamedTuple):
    """One row."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    vectors: tuple[Vectors, ...] = ()
    end: int = 0
    """Where its first end mark is."""


class Inversion(NamedTuple):
    """A textual inversion as a prompt is searched for it."""

    name: str
    tokens: tuple[int, ...]
    """Of its name."""
    length: int
    """Vectors."""


class Marks(NamedTuple):
    """Tokens with a meaning of their own."""

    begin: int
    end: int
    comma: int
    pad: int
    room: int = 75
    """Tokens between begin and end."""


class _Row:
    """A chunk while it is filled."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.weights: list[float] = []
        self.vectors: list[Vectors] = []


def chunked(
    parts: Sequence[Part],
    encode: Callable[[str], Sequence[int]],
    marks: Marks,
    inversions: Mapping[int, Sequence[Inversion]],
    *,
    backtrack: int = 20,
) -> list[Chunk]:
    """The rows of a prompt; at least one.

    `inversions` by the first token of their names, longest first. Where a row ends at most `backtrack` tokens after a
    comma, what follows the comma moves on to the next one; vectors of an inversion are never parted.
    """
    filling = _Filling(marks, backtrack)
    for part in parts:
        if part.text == BREAK and part.weight == -1:
            filling.turn()
            continue
        tokens = list(encode(part.text))
        place = 0
        while place < len(tokens):
            found = _inversion(tokens, place, inversions)
            if found is None:
                filling.add(tokens[place], part.weight)
                place += 1
            else:
                filling.add_vectors(found, part.weight)
                place += len(found.tokens)
    return filling.finished()


def _inversion(tokens: Sequence[int], place: int, known: Mapping[int, Sequence[Inversion]]) -> Inversion | None:
    for each in known.get(tokens[place], ()):
        if tuple(tokens[place : place + len(each.tokens)]) == each.tokens:
            return each
    return None


class _Filling:
    def __init__(self, marks: Marks, backtrack: int) -> None:
        self._marks = marks
        self._backtrack = backtrack
        self._done: list[Chunk] = []
        self._row = _Row()
        self._comma = -1

    def add(self, token: int, weight: float) -> None:
        row = self._row
        if token == self._marks.comma:
            self._comma = len(row.tokens)
        elif self._breaks_at_comma():
            cut = self._comma + 1
            moved = list(zip(row.tokens[cut:], row.weights[cut:], strict=True))
            kept = [each for each in row.vectors if each.place - 1 >= cut]
            row.tokens, row.weights = row.tokens[:cut], row.weights[:cut]
            row.vectors = [each for each in row.vectors if each.place - 1 < cut]
            self.turn()
            for each, own in moved:
                self._row.tokens.append(each)
                self._row.weights.append(own)
            self._row.vectors = [Vectors(each.place - cut, each.name) for each in kept]
        if len(self._row.tokens) == self._marks.room:
            self.turn()
        self._row.tokens.append(token)
        self._row.weights.append(weight)

    def add_vectors(self, found: Inversion, weight: float) -> None:
        length = min(found.length, self._marks.room)
        if len(self._row.tokens) + length > self._marks.room:
            self.turn()
        self._row.vectors.append(Vectors(len(self._row.tokens) + 1, found.name))
        self._row.tokens += [0] * length
        self._row.weights += [weight] * length

    def turn(self) -> None:
        """Ends the row."""
        self._done.append(_closed(self._row, self._marks))
        self._row = _Row()
        self._comma = -1

    def finished(self) -> list[Chunk]:
        if self._row.tokens or not self._done:
            self.turn()
        return self._done

    def _breaks_at_comma(self) -> bool:
        count = len(self._row.tokens)
        full = self._backtrack and count == self._marks.room and self._comma != -1
        return bool(full and count - self._comma <= self._backtrack and self._comma + 1 < count)


def _closed(row: _Row, marks: Marks) -> Chunk:
    spare = marks.room - len(row.tokens)
    tokens = [marks.begin, *row.tokens, marks.end, *[marks.pad] * spare]
    weights = [1.0, *row.weights, 1.0, *[1.0] * spare]
    return Chunk(tuple(tokens), tuple(weights), tuple(row.vectors), len(row.tokens) + 1)


def empty(marks: Marks) -> Chunk:
    """The row of an empty prompt."""
    return _closed(_Row(), marks)
