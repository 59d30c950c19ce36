"""Garbage: what is there at the start is never searched again, and cycles that come later still end."""

import gc
import subprocess
import sys
import weakref

from velesio import garbage

SCRIPT = """
import gc
from velesio import garbage
kept = [[] for _ in range(200_000)]
garbage.settle()
gc.collect()
print(len(gc.get_objects()), gc.get_freeze_count() > 200_000, gc.get_threshold()[0])
"""


def test_what_is_there_is_searched_no_more() -> None:
    """A whole search looks at what has come since the start alone."""
    answer = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=60)
    objects, frozen, threshold = answer.stdout.split()
    assert (frozen, threshold) == ("True", "10000")
    assert int(objects) < 10_000


def test_cycles_still_end() -> None:
    """Whoever makes them by the thousand does not fill the memory."""

    class Ring:
        def __init__(self) -> None:
            self.self = self

    thresholds = gc.get_threshold()
    garbage.settle()
    try:
        first = weakref.ref(Ring())
        for _ in range(11_000):
            Ring()
        assert first() is None
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
