"""A sequence: its limits, its shifts, and how far its prompt is."""

from typing import Any, cast

import pytest

from velesio.backends.base import Work
from velesio.backends.llama.sampler import Choice, Sampler
from velesio.backends.llama.sequence import Guesses, LineLimits, Prompt, Sequence
from velesio.jobs import Completion, InForce, Job, Timings


class Silent:
    """A sampler that is told what was chosen, and keeps it to itself."""

    seed = 1
    in_force = InForce()

    def replay(self, token: int) -> None:
        """Nothing follows from it."""


def sequence(prompt: int = 10, *, context: int = 20, shifts: bool = False, **fields: Any) -> Sequence:
    params = Completion(prompt="x", **fields)
    work = Work(Job.new("m", params), lambda _work, _event: None)
    tokens = Prompt(list(range(100, 100 + prompt)))
    return Sequence(work, params, tokens, cast("Sampler", Silent()), context=context, shifts=shifts)


def say(one: Sequence, count: int) -> None:
    """So many tokens of one letter, each computed before the next."""
    for number in range(count):
        one.computed = len(one.tokens)
        one.grow(Choice(number), b"a", is_end=False)


@pytest.mark.parametrize(
    ("fields", "predicted", "truncated"),
    [
        ({"max_tokens": 4}, 4, False),
        ({"max_tokens": 10}, 10, False),
        ({"max_tokens": 50}, 10, True),
        ({"max_tokens": -1}, 10, True),
    ],
)
def test_an_answer_ends_at_its_limit(fields: dict[str, Any], predicted: int, truncated: bool) -> None:
    """Its own, or the context's, which is said."""
    one = sequence(**fields)
    while one.ending is None:
        say(one, 1)
    assert (one.predicted, one.ending, one.result().truncated) == (predicted, "limit", truncated)


@pytest.mark.parametrize(
    ("fields", "kept", "gone"),
    [
        ({}, 0, 10),  # half of all
        ({"n_keep": 4}, 4, 8),
        ({"n_keep": -1}, 10, 5),  # all of the prompt
        ({"n_keep": 50}, 10, 5),
        ({"n_keep": 4, "n_discard": 3}, 4, 3),
        ({"n_discard": 100}, 0, 19),  # one token is left to go on from
    ],
)
def test_a_shift_gives_up_the_oldest_tokens(fields: dict[str, Any], kept: int, gone: int) -> None:
    """After those that are kept; the others move up, and what was computed of them still is."""
    one = sequence(shifts=True, **fields)
    assert not one.is_full
    say(one, 10)
    assert one.is_full
    before = list(one.tokens)
    assert one.shift() == (kept, gone)
    assert list(one.tokens) == before[:kept] + before[kept + gone :]
    assert one.left == 1
    assert one.result().truncated


def test_a_prompt_longer_than_half_of_the_context_is_not_kept_whole() -> None:
    """Else there would be no room for the answer."""
    one = sequence(16, shifts=True, n_keep=-1)
    say(one, 4)
    assert one.shift()[0] == 10


def test_guesses_have_room_as_far_as_they_can_be_computed() -> None:
    """Neither beyond the answer's limit nor beyond the context."""
    assert sequence(max_tokens=3).room == 3
    assert sequence(shifts=True).room == 10


@pytest.mark.parametrize(
    ("pieces", "passed"),
    [
        (["def f():\n    one\n", "two"], True),
        (["    one\n", "   ", " two"], False),
        (["    one\n", "   ", "two"], True),
        (["    one\n\n\n", "    two"], False),
        (["one"], False),  # the first line may begin anywhere
        (["    one\n", "\ttwo"], True),
    ],
)
def test_an_answer_ends_where_a_line_is_indented_by_less(pieces: list[str], passed: bool) -> None:
    """Blank lines do not count, and a line may come in pieces."""
    limits = LineLimits(4, 0)
    assert [limits.passed(piece) for piece in pieces][-1] is passed


def test_time_runs_out_at_the_end_of_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never in the middle of one."""
    now = [100.0]
    monkeypatch.setattr("velesio.backends.llama.sequence.time.monotonic", lambda: now[0])
    limits = LineLimits(0, 5.0)
    assert not limits.passed("a line\n")
    now[0] += 6
    assert not limits.passed("and more")
    assert limits.passed(" of it\n")


def test_guesses_are_counted_by_their_place() -> None:
    """The first of a draft was right as often as any were; times are left as they are."""
    guesses = Guesses()
    assert guesses.told(Timings(1.0, 2.0)) == Timings(1.0, 2.0)
    for tokens, right in ((4, 1), (4, 0), (2, 2)):
        guesses.add(tokens, right)
    assert guesses.told(Timings(1.0)) == Timings(1.0, drafted=10, accepted=3, drafts=3, accepted_at=(2, 1))
