"""How many rows a call should have is learned, and never more than pay."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from velesio.backends.diffusion.pace import Pace


def settled(seconds: Callable[[int], float], *, limit: int = 64, waiting: int = 16, calls: int = 40) -> int:
    """What the pace settles on where a call of n rows takes `seconds(n)`."""
    pace = Pace(limit)
    for _ in range(calls):
        rows = pace.rows("shape", waiting, 2)
        pace.observe("shape", rows, seconds(rows))
    return pace.rows("shape", waiting, 2)


def test_what_pays_is_grouped() -> None:
    """Where a call costs nearly the same whatever its rows, all that wait go together."""
    assert settled(lambda rows: 1 + rows / 100) == 16


def test_what_does_not_pay_is_not() -> None:
    """Where a call costs in proportion to its rows, the smallest calls are made: the oldest ends first."""
    assert settled(float) == 2
    assert settled(lambda rows: rows**1.5) == 2


def test_the_best_size_lies_between() -> None:
    """Where large calls are slow again, the middle is found."""
    assert settled(lambda rows: 1 + rows / 8 + (rows > 8) * rows) == 8


def test_limits_hold() -> None:
    """Never more rows than the limit or than wait, never fewer than one call has."""
    assert settled(lambda rows: 1.0, limit=4) == 4
    assert settled(lambda rows: 1.0, waiting=3) == 3
    assert Pace(4).rows("shape", 2, 9) == 9


def test_the_first_call_of_a_size_is_not_believed() -> None:
    """It warms up: a slow first call does not speak against a size."""
    pace, called = Pace(64), set()
    for _ in range(40):
        rows = pace.rows("shape", 16, 2)
        pace.observe("shape", rows, 1.0 if rows in called else 100.0)
        called.add(rows)
    assert pace.rows("shape", 16, 2) == 16


def test_what_was_learned_is_looked_at_again() -> None:
    """A device whose speed changes is learned anew."""
    pace = Pace(64)
    for _ in range(40):
        rows = pace.rows("shape", 16, 2)
        pace.observe("shape", rows, float(rows))
    sizes = set()
    for _ in range(1200):
        rows = pace.rows("shape", 16, 2)
        sizes.add(rows)
        pace.observe("shape", rows, 1.0)
    assert 16 in sizes
    assert pace.rows("shape", 16, 2) == 16


@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 8), st.floats(1e-6, 100)), max_size=40))
def test_any_times_leave_it_sane(calls: list[tuple[int, int, float]]) -> None:
    """At least one call's rows, at most what waits or the limit."""
    pace = Pace(16)
    for waiting, least, seconds in calls:
        rows = pace.rows("shape", waiting, least)
        assert least <= rows <= max(min(waiting, 16), least)
        pace.observe("shape", rows, seconds)
