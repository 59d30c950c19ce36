"""Pace: how many rows one call of a network should have. Learned for each shape, since it pays for small pictures and
not for large ones. Pure.

Seconds a row are remembered for sizes that are powers of two. Sizes are tried from the smallest on, as long as larger
ones are better, and now and then again; otherwise the smallest size is taken that is nearly as quick as the quickest,
so that rows are never put together where nothing is gained.
"""

from collections.abc import Hashable
from typing import NamedTuple

_SAMPLES = 2
"""Measured before a size is judged, after a first one that only warms up."""
_WORTH = 1.05
"""What a smaller size may take longer and still be taken."""
_SMOOTHING = 0.3
_AGAIN = 256
"""Calls after which the sizes that are not used are looked at again."""
_SHAPES = 256
"""Shapes that are remembered."""


class _Measured(NamedTuple):
    seconds: float
    """A row."""
    samples: int
    call: int
    """The shape's call at which it was measured last."""


class Pace:
    """What has been learned."""

    def __init__(self, limit: int) -> None:
        """`limit`: rows of a call at most."""
        self._limit = max(limit, 1)
        self._shapes: dict[Hashable, dict[int, _Measured]] = {}
        self._calls: dict[Hashable, int] = {}

    def rows(self, shape: Hashable, waiting: int, least: int) -> int:
        """How many rows the next call should have, if `waiting` could be taken and fewer than `least` cannot."""
        most = max(min(waiting, self._limit), least)
        known = self._shapes.get(shape, {})
        best, chosen = 0.0, 0
        for size in _sizes(least, most):
            measured = known.get(size)
            if measured is None or self._wants(measured, self._calls.get(shape, 0)):
                return min(size, most)
            if not chosen or measured.seconds * _WORTH < best:
                best, chosen = measured.seconds, size
            elif measured.seconds > best:
                break  # larger ones are no better
        return min(chosen, most)

    def observe(self, shape: Hashable, rows: int, seconds: float) -> None:
        """Learns from a call."""
        known = self._shapes.setdefault(shape, {})
        call = self._calls[shape] = self._calls.get(shape, 0) + 1
        size = _size(rows)
        before = known.get(size)
        each = seconds / rows
        if before is None:
            known[size] = _Measured(each, 0, call)
        elif before.samples == 0 or call - before.call > _AGAIN:  # what is old says nothing
            known[size] = _Measured(each, 1, call)
        else:
            smooth = before.seconds + (each - before.seconds) * _SMOOTHING
            known[size] = _Measured(
                min(smooth, each) if before.samples < _SAMPLES else smooth, before.samples + 1, call
            )
        while len(self._shapes) > _SHAPES:
            oldest = next(iter(self._shapes))
            del self._shapes[oldest], self._calls[oldest]

    def _wants(self, measured: _Measured, calls: int) -> bool:
        return measured.samples < _SAMPLES or calls - measured.call > _AGAIN


def _size(rows: int) -> int:
    """The power of two that stands for so many rows."""
    return 1 << max(rows - 1, 0).bit_length()


def _sizes(least: int, most: int) -> list[int]:
    """The powers of two from `least` to `most` rows."""
    sizes = [_size(least)]
    while sizes[-1] < most:
        sizes.append(sizes[-1] * 2)
    return sizes
