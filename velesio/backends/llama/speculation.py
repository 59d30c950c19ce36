"""Speculative decoding: tokens are guessed ahead and kept as far as the model would have chosen them itself.

Guesses are computed in one pass with the token before them. That costs less than as many passes, but more than one, so
guessing pays only while enough of the guesses are right. `Worth` measures both and decides.
"""

from array import array
from collections.abc import Iterable
from collections.abc import Sequence as Items
from typing import Protocol

from velesio.backends.llama.batching import Share
from velesio.backends.llama.sequence import Sequence

_GRAM = 3
"""Tokens that must have come in this order before, for what followed them to be a guess."""
_SIZES = (2, 4, 8)
"""Numbers of tokens that are guessed at a time, tried in this order."""
_TRIALS = 2
"""Times that a size is measured before it is judged."""
_AGAIN = 4096
"""Decisions after which a size that did not pay is measured once more."""
_HOPE = 0.6
"""Part of a sequence's guesses that is taken to be right before the first."""


class Drafter(Protocol):
    """Guesses what comes next."""

    def draft(self, sequences: Items[Sequence], most: int) -> list[list[int]]:
        """At most `most` tokens after the last of each sequence; none where nothing suggests itself."""

    def forget(self, sequence: Sequence) -> None:
        """The sequence has ended."""

    def close(self) -> None:
        """Frees what it holds."""


class Lookup:
    """Guesses that what followed the last tokens before, in the prompt or the answer, follows them again."""

    def __init__(self) -> None:
        self._grams: dict[int, _Grams] = {}

    def draft(self, sequences: Items[Sequence], most: int) -> list[list[int]]:
        """What followed the last place where the same three tokens came."""
        return [self._of(sequence).after(sequence.tokens, most) for sequence in sequences]

    def forget(self, sequence: Sequence) -> None:
        """Drops its index."""
        self._grams.pop(sequence.number, None)

    def close(self) -> None:
        """Nothing is held."""

    def _of(self, sequence: Sequence) -> "_Grams":
        return self._grams.setdefault(sequence.number, _Grams())


class _Grams:
    """Where each run of three tokens was followed last."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, ...], int] = {}
        self._seen = _GRAM

    def after(self, tokens: "array[int]", most: int) -> list[int]:
        if len(tokens) < self._seen:  # a shift has cut the context
            self._places.clear()
            self._seen = _GRAM
        for place in range(self._seen, len(tokens)):
            self._places[tuple(tokens[place - _GRAM : place])] = place
        self._seen = max(_GRAM, len(tokens))
        found = self._places.get(tuple(tokens[-_GRAM:]), 0) if len(tokens) >= _GRAM else 0
        return list(tokens[found : found + most]) if found else []


class Worth:
    """How many tokens to guess at a time, from what passes cost and how often guesses were right."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[int, int], float] = {}
        """By (sequences, tokens guessed for each)."""
        self._trials: dict[tuple[int, int], int] = {}
        self._asked = 0
        self._right: dict[int, float] = {}
        """By the sequence's number."""

    def best(self, numbers: Items[int], count: int) -> int:
        """How many tokens to guess for each of the sequences with these numbers, `count` with those that are not
        guessed for; 0: none."""
        self._asked += 1
        plain = self._seconds.get((count, 0))
        if plain is None:
            return 0
        hopeful = max((self._right.get(number, _HOPE) for number in numbers), default=0.0) > 0.3
        if hopeful:
            for size in _SIZES:
                if self._trials.get((count, size), 0) < _TRIALS:
                    return size
                if size + 1 <= self._seconds[count, size] / plain:
                    break  # not even if all were right, so larger ones, which cost most to try, do not pay either
        if self._asked % _AGAIN == 0:
            for size in _SIZES:
                self._trials.pop((count, size), None)
        others = count - len(numbers)
        rates = {0: count / plain} | {
            size: (others + sum(self._expected(number, size) for number in numbers)) / self._seconds[count, size]
            for size in _SIZES
            if (count, size) in self._seconds
        }
        return max(rates, key=lambda size: rates[size])

    def measured(self, count: int, size: int, seconds: float) -> None:
        """A pass over `count` sequences with `size` guesses for each took so long, the guessing included."""
        key = (count, size)
        before = self._seconds.get(key)
        self._seconds[key] = seconds if before is None else before + (seconds - before) / 4
        self._trials[key] = self._trials.get(key, 0) + 1

    def guessed(self, number: int, tokens: int, right: int) -> None:
        """Of `tokens` guesses for a sequence so many were right."""
        before = self._right.get(number, _HOPE)
        self._right[number] = before + (right / tokens - before) / 4

    def forget(self, number: int) -> None:
        """The sequence has ended."""
        self._right.pop(number, None)

    def _expected(self, number: int, size: int) -> float:
        """Tokens that a pass gives a sequence: each guess counts only if those before it were right."""
        right = min(0.99, self._right.get(number, _HOPE))
        return (1 - right ** (size + 1)) / (1 - right)


class Speculation:
    """Puts guesses into the shares of a step, and learns from what became of them."""

    def __init__(self, drafter: Drafter, most: int) -> None:
        """`most` tokens are guessed at a time at most."""
        self._drafter = drafter
        self._most = most
        self._worth = Worth()

    def guess(self, ready: list[Share], room: int) -> list[Share]:
        """The shares with guesses where these may pay; `room` tokens have place in the batch."""
        sequences = [share.sequence for share in ready if share.sequence.may_guess]
        if not sequences:
            return ready
        size = min(self._most, self._worth.best([sequence.number for sequence in sequences], len(ready)))
        size = min(size, (room - len(ready)) // len(sequences))
        if size <= 0:
            return ready
        drafts = dict(zip((id(item) for item in sequences), self._drafter.draft(sequences, size), strict=True))
        return [
            share._replace(draft=tuple(drafts.get(id(share.sequence), ())[: max(0, share.sequence.room - 1)]))
            for share in ready
        ]

    def measure(self, shares: Items[Share], seconds: float) -> None:
        """A step that computed nothing but next tokens took so long."""
        size = max((len(share.draft) for share in shares), default=0)
        known = next((each for each in _SIZES if size <= each), size) if size else 0
        self._worth.measured(len(shares), known, seconds)

    def learn(self, sequence: Sequence, guessed: int, right: int) -> None:
        """Of `guessed` tokens the model chose `right` itself."""
        sequence.guesses.add(guessed, right)
        self._worth.guessed(sequence.number, guessed, right)

    def forget(self, sequences: Iterable[Sequence]) -> None:
        """They have ended."""
        for sequence in sequences:
            self._drafter.forget(sequence)
            self._worth.forget(sequence.number)

    def close(self) -> None:
        """Frees the drafter."""
        self._drafter.close()
