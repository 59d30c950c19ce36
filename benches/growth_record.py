"""The record of the growth bench: what was measured along each axis, and how it goes on where it was broken off."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from benches import report


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What one place of an axis came to."""

    figures: dict[str, float]
    memory_mib: dict[str, float] = {}
    """That each process held afterwards, shared pages divided among their users; of several alike, the mean."""
    broker_mib: float | None = None
    """Valkey's `used_memory`."""


class Point(Measured, frozen=True, kw_only=True):
    """The same, with where it stands on its axis and when it was measured."""

    at: int
    date: str
    busy: float
    """Cores that other programs used just before."""
    seconds: float
    """That the measurement took."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """All points of an axis."""

    axis: str
    label: str
    setting: str
    """How what was measured was set up."""
    points: list[Point] = []


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was measured."""

    bench: str
    circumstances: report.Circumstances
    """Of the last sitting."""
    versions: dict[str, str]
    lines: dict[str, Line]
    """By the names of their axes."""


class Axis(msgspec.Struct, frozen=True, kw_only=True):
    """What grows, and how its cost is measured."""

    name: str
    label: str
    setting: str
    places: tuple[int, ...]
    """From small to large."""
    quick: tuple[int, ...]
    """Those of a short run."""
    open: Callable[[Path], AbstractContextManager[Callable[[int], Measured]]]
    """Starts what is measured, in a folder that does not exist yet; each call is one place, in ascending order."""

    def line(self) -> Line:
        """Without a point yet."""
        return Line(axis=self.name, label=self.label, setting=self.setting)


def read(path: Path) -> Growth | None:
    """What an earlier sitting has left in a file; None: nothing yet."""
    return msgspec.json.decode(path.read_bytes(), type=Growth) if path.exists() else None


def missing(line: Line, places: tuple[int, ...]) -> list[int]:
    """The places that have no point yet."""
    known = {point.at for point in line.points}
    return [place for place in places if place not in known]


def with_point(growth: Growth, axis: Axis, point: Point) -> Growth:
    """The record with one point more, in place of an earlier one at the same place."""
    line = growth.lines.get(axis.name, axis.line())
    others = [other for other in line.points if other.at != point.at]
    points = sorted([*others, point], key=lambda each: each.at)
    renewed = msgspec.structs.replace(axis.line(), points=points)
    return msgspec.structs.replace(growth, lines={**growth.lines, axis.name: renewed})
