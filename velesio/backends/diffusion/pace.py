"""Pace: how many rows one call of a network should have. Learned for each shape, since it pays for small pictures and
not for large ones. Pure.

Seconds a row are remembered for sizes that are powers of two: the least of the last few calls, since whatever else the
machine does only adds to them. Sizes are tried from the smallest on, as long as larger ones are better; then the
smallest size is taken that is nearly as quick as the quickest, so that rows are never put together where nothing is
gained. Its neighbours are tried again now and then, the less often the longer nothing changes.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

_SAMPLES = 2
"""Measured before a size is judged, after a first one that only warms up."""
_REMEMBERED = 6
"""Calls of a size of which the quickest counts."""
_WORTH = 1.05
"""What a smaller size may take longer and still be taken."""
_AGAIN, _SELDOM = 128, 4096
"""Calls after which a neighbour of the size in use is looked at again: at first, and at the utmost."""
_SHAPES = 256
"""Shapes that are remembered."""


@dataclass
class _Size:
    """What is known of a size."""

    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """A row, in the last calls but the very first."""
    warm: bool = False
    call: int = 0
    """The shape's call at which it was measured last."""
    again: int = _AGAIN
    """Calls until it is looked at again."""

    @property
    def known(self) -> bool:
        return len(self.seconds) >= _SAMPLES

    @property
    def least(self) -> float:
        return min(self.seconds)


@dataclass
class _Shape:
    """What is known of a shape."""

    sizes: dict[int, _Size] = field(default_factory=dict)
    calls: int = 0


class Pace:
    """What has been learned."""

    def __init__(self, limit: int) -> None:
        """`limit`: rows of a call at most."""
        self._limit = max(limit, 1)
        self._shapes: dict[Hashable, _Shape] = {}

    def rows(self, shape: Hashable, waiting: int, least: int) -> int:
        """How many rows the next call should have, if `waiting` could be taken and fewer than `least` cannot."""
        most = max(min(waiting, self._limit), least)
        known = self._shapes.get(shape, _Shape())
        sizes = _sizes(least, most)
        chosen = self._chosen(known, sizes)
        near = [size for size in (chosen * 2, chosen // 2) if size in sizes]
        stale = (size for size in near if _is_stale(known, size))
        return min(next(stale, chosen), most)

    def observe(self, shape: Hashable, rows: int, seconds: float) -> None:
        """Learns from a call."""
        known = self._shapes.setdefault(shape, _Shape())
        known.calls += 1
        size = known.sizes.setdefault(_size(rows), _Size())
        if not size.warm:
            size.warm = True
        else:
            if known.calls - size.call > size.again:  # what is old says nothing
                size.seconds.clear()
                size.again = min(size.again * 2, _SELDOM)
            size.seconds.append(seconds / rows)
        size.call = known.calls
        while len(self._shapes) > _SHAPES:
            del self._shapes[next(iter(self._shapes))]

    def _chosen(self, known: _Shape, sizes: list[int]) -> int:
        """The first size that is not known yet on the way to better ones, else the smallest that is good enough."""
        best, chosen = 0.0, 0
        for size in sizes:
            measured = known.sizes.get(size)
            if measured is None or not measured.known:
                return size
            if not chosen or measured.least * _WORTH < best:
                best, chosen = measured.least, size
            elif measured.least > best * _WORTH:
                break  # larger ones are no better
        return chosen


def _is_stale(known: _Shape, size: int) -> bool:
    """Whether a size that was judged is to be judged again."""
    measured = known.sizes.get(size)
    return measured is not None and known.calls - measured.call > measured.again


def _size(rows: int) -> int:
    """The power of two that stands for so many rows."""
    return 1 << max(rows - 1, 0).bit_length()


def _sizes(least: int, most: int) -> list[int]:
    """The powers of two from `least` to `most` rows."""
    sizes = [_size(least)]
    while sizes[-1] < most:
        sizes.append(sizes[-1] * 2)
    return sizes
