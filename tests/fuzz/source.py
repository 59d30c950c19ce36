"""Source: bytes read as decisions, so that whoever varies the bytes varies texts and values of a known kind."""

from collections.abc import Callable, Sequence
from typing import Any

_LONGEST = 30_000
"""Characters of a text: what takes a time that grows faster than the text is then seen to."""


class Source:
    """Decides by its bytes, one after the other; at their end everything is the first choice, short and empty."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        """Whether all bytes have been read."""
        return self._at >= len(self._data)

    def byte(self) -> int:
        """The next byte, 0 behind the last."""
        self._at += 1
        return self._data[self._at - 1] if self._at <= len(self._data) else 0

    def number(self, most: int) -> int:
        """0 to `most`."""
        value, bound = self.byte(), 256
        while bound <= most:
            value, bound = value << 8 | self.byte(), bound << 8
        return value % (most + 1)

    def pick(self, choices: Sequence[Any]) -> Any:
        """One of these."""
        return choices[self.number(len(choices) - 1)]

    def rest(self) -> bytes:
        """The bytes that nobody has read."""
        left, self._at = self._data[self._at :], len(self._data)
        return left

    def text(self, words: Sequence[str], most: int = 40) -> str:
        """Words one after the other; now and then some of them many times over."""
        pieces: list[str] = []
        for _ in range(self.number(most)):
            if self.is_empty:
                break
            pieces.append(self.pick(words))
            if self.byte() > 252:
                unit = "".join(pieces[-1 - self.number(3) :])
                pieces.append(unit * min(1 << self.number(15), _LONGEST // max(1, len(unit))))
        return "".join(pieces)[:_LONGEST]

    def json(self, leaf: Callable[["Source"], Any], names: Sequence[str], depth: int = 5) -> Any:
        """A JSON value whose leaves are `leaf`'s and whose names are some of `names`."""
        kind = self.number(9) if depth and not self.is_empty else 9
        if kind < 5:
            return {self.pick(names): self.json(leaf, names, depth - 1) for _ in range(self.number(5))}
        if kind < 7:
            return [self.json(leaf, names, depth - 1) for _ in range(self.number(4))]
        return leaf(self)
