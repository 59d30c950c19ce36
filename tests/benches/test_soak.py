"""The soak: what counts as a leak."""

from pathlib import Path

import msgspec
import pytest

from benches.soak import _errors
from benches.soak_levels import Levels, families, growth, leaks, slope

IDLE = Levels(seconds=0, memory_mib=400, broker_mib=8, threads=6, files=20, cells=0.0)


def test_a_slope_is_that_of_the_nearest_line() -> None:
    """With the least squares; one point has none."""
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)
    assert slope([(0, 0), (1, 1), (2, 0)]) == pytest.approx(0)
    assert slope([(1, 5)]) == 0.0


def test_growth_begins_when_caches_are_full() -> None:
    """The first quarter does not count."""
    filling = [100.0, 200.0, 300.0, 300.0, 300.0, 300.0, 300.0, 300.0, 300.0]
    levels = [
        msgspec.structs.replace(IDLE, seconds=float(second), memory_mib=memory) for second, memory in enumerate(filling)
    ]
    assert growth(levels) == (0.0, 0.0)
    leaking = [msgspec.structs.replace(level, memory_mib=300 + second) for second, level in enumerate(levels)]
    rate, grown = growth(leaking)
    assert (rate, grown) == (pytest.approx(3600), pytest.approx(6))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"sequences": 1.0}, "1 sequences are held"),
        ({"inflight": 2.0}, "2 jobs in flight are held"),
        ({"cells": 7.0}, "7 cells are held"),
        ({"pending": 1}, "the queue counts 1 jobs"),
        ({"threads": 20}, "threads: 6 before, 20 after"),
        ({"files": 100}, "files: 20 before, 100 after"),
    ],
)
def test_what_is_held_by_nobody_is_a_leak(fields: dict[str, float], said: str) -> None:
    """Each is named."""
    (found,) = leaks(IDLE, msgspec.structs.replace(IDLE, **fields), 0.0, 64.0)
    assert said in found


def test_memory_may_grow_within_its_bound() -> None:
    """And no further."""
    assert leaks(IDLE, IDLE, 64.0, 64.0) == []
    assert leaks(IDLE, IDLE, 65.0, 64.0) == ["memory grew by 65.0 MiB, more than 64"]


def test_keys_are_counted_by_family() -> None:
    """Those without a time to live are counted apart too."""
    assert families([("v:j:1", 10), ("v:j:2", -1), ("x", 5)]) == {"j": 2, "j (no time to live)": 1, "x": 1}


def test_errors_in_the_log_are_told_once_each(tmp_path: Path) -> None:
    """A traceback that is no JSON too."""
    log = tmp_path / "server.log"
    log.write_text(
        '{"event": "fine", "level": "info"}\n{"event": "bad", "level": "error"}\n{"event": "bad", "level": "error"}\n'
        "Traceback (most recent call last):\n"
    )
    assert _errors(log) == ["2 errors in the log: bad", "1 errors in the log: Traceback (most recent call last):"]
