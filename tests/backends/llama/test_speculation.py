"""Guessing ahead: what is guessed, and whether it pays."""

from array import array
from typing import Any, cast

import pytest

from velesio.backends.llama.batching import Share
from velesio.backends.llama.sequence import Guesses
from velesio.backends.llama.speculation import Lookup, Speculation, Worth


class Answer:
    """As much of a sequence as guessing looks at."""

    def __init__(self, text: str, *, number: int = 1, room: int = 100, may_guess: bool = True) -> None:
        self.tokens = array("i", [ord(character) for character in text])
        self.number = number
        self.room = room
        self.may_guess = may_guess
        self.guesses = Guesses()

    def say(self, text: str) -> None:
        self.tokens.extend(ord(character) for character in text)


def drafted(lookup: Lookup, answer: Answer, most: int = 8) -> str:
    return "".join(map(chr, lookup.draft(cast("Any", [answer]), most)[0]))


def test_what_followed_before_is_guessed() -> None:
    """After the same three tokens; the latest place counts, and nothing is guessed where they are new."""
    lookup = Lookup()
    answer = Answer("the cat sat, the dog ran, the ")
    assert drafted(lookup, answer) == "dog ran,"
    answer.say("owl")
    assert drafted(lookup, answer) == ""
    answer.say(", the")
    assert drafted(lookup, answer, 5) == " owl,"


def test_a_cut_context_is_learned_anew() -> None:
    """After a shift the places are others."""
    lookup = Lookup()
    answer = Answer("abcdefgh abc")
    assert drafted(lookup, answer, 3) == "def"
    del answer.tokens[:9]
    assert drafted(lookup, answer, 3) == ""


def test_forgotten_sequences_leave_nothing() -> None:
    """A number that comes again begins anew."""
    lookup = Lookup()
    drafted(lookup, Answer("xyz and xyz"))
    lookup.forget(cast("Any", Answer("")))
    assert lookup._grams == {}


def measured(rates: dict[int, float], right: float, count: int = 1) -> Worth:
    """Passes that took so many seconds by tokens guessed, and guesses of which such a part was right."""
    worth = Worth()
    for size, seconds in rates.items():
        worth.measured(count, size, seconds)
        worth.measured(count, size, seconds)
    for number in range(count):
        for _ in range(30):
            worth.guessed(number, 10, round(10 * right))
    return worth


@pytest.mark.parametrize(
    ("rates", "right", "size"),
    [
        ({0: 1.0, 2: 1.1, 4: 1.2, 8: 1.4}, 0.9, 8),  # passes cost little more: guess a lot
        ({0: 1.0, 2: 1.1, 4: 1.2, 8: 3.0}, 0.9, 4),  # eight cost too much
        ({0: 1.0, 2: 3.0, 4: 5.0, 8: 9.0}, 0.9, 0),  # each token costs a pass
        ({0: 1.0, 2: 1.1, 4: 1.2, 8: 1.4}, 0.0, 0),  # never right
    ],
)
def test_guesses_are_made_where_they_pay(rates: dict[int, float], right: float, size: int) -> None:
    """By measured times and measured luck."""
    assert measured(rates, right).best([0], 1) == size


def test_nothing_is_guessed_before_a_plain_pass_was_timed() -> None:
    """There would be nothing to compare with; then each size gets its trials, small ones first."""
    worth = Worth()
    assert worth.best([0], 1) == 0
    worth.measured(1, 0, 1.0)
    for size in (2, 2, 4, 4, 8, 8):
        assert worth.best([0], 1) == size
        worth.measured(1, size, 1.2)


def test_what_can_never_pay_is_not_tried() -> None:
    """Where two right guesses would cost more than two passes, eight are not measured."""
    worth = Worth()
    worth.measured(8, 0, 1.0)
    for _ in range(2):
        assert worth.best(range(8), 8) == 2
        worth.measured(8, 2, 3.1)
    assert worth.best(range(8), 8) == 0


class Fixed:
    """Always the same guess."""

    def draft(self, sequences: Any, most: int) -> list[list[int]]:
        return [[7] * most for _ in sequences]

    def forget(self, sequence: Any) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Nothing is held."""


def test_guesses_keep_within_their_room() -> None:
    """Of the batch, of the context, of the answer; sequences that may not be guessed for get none."""
    speculation = Speculation(Fixed(), 8)
    speculation._worth.measured(3, 0, 1.0)
    answers = [Answer("a", room=3), Answer("b", number=2), Answer("c", number=3, may_guess=False)]
    shares = [Share(cast("Any", answer), 1) for answer in answers]
    speculation._worth.best = lambda numbers, count: 8  # type: ignore[method-assign]
    assert [len(share.draft) for share in speculation.guess(shares, 64)] == [2, 8, 0]
    assert [len(share.draft) for share in speculation.guess(shares, 9)] == [2, 3, 0]
    assert [len(share.draft) for share in speculation.guess(shares, 3)] == [0, 0, 0]
