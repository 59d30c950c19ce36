"""What the soak watches of a server: memory, threads, files, keys, sequences and cells; and what counts as a leak."""

from collections.abc import Sequence

import msgspec

_THREADS = 4
_FILES = 32
"""Threads and open files that may have been added: pools grow to what was needed at once."""
_WARM = 0.25
"""Part of the time in which caches and pools may fill: the slope is that of the rest."""
_NO_TTL = "(no time to live)"


class Levels(msgspec.Struct, frozen=True, kw_only=True):
    """A server at one moment."""

    seconds: float
    """Since the load began."""
    memory_mib: float
    """Resident memory of Velesio's process."""
    broker_mib: float
    threads: int
    files: int
    keys: dict[str, int] = {}
    """In the broker, by the first part of their names; and those without a time to live."""
    sequences: float = 0.0
    inflight: float = 0.0
    cells: float | None = None
    """Cells that running sequences hold; None where the server does not tell."""
    pending: int = 0
    """Jobs that wait or run, as the queue tells."""
    jobs: dict[str, float] = {}
    """Settled so far, by outcome."""


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line with the least squares through (x, y); 0 for fewer than two places."""
    if len({x for x, _ in points}) < 2:
        return 0.0
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / sum((x - middle_x) ** 2 for x, _ in points)


def growth(samples: Sequence[Levels]) -> tuple[float, float]:
    """MiB an hour after the caches have filled, and MiB that this makes over the time that it was measured."""
    if not samples:
        return 0.0, 0.0
    begin = samples[-1].seconds * _WARM
    warm = [(level.seconds, level.memory_mib) for level in samples if level.seconds >= begin]
    rate = slope(warm)
    return rate * 3600, rate * (warm[-1][0] - warm[0][0])


def families(keys: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Counts of keys, each with its time to live in milliseconds (negative: none), by the part after the prefix."""
    found: dict[str, int] = {}
    for key, ttl in keys:
        name = key.split(":")[1] if ":" in key else key
        found[name] = found.get(name, 0) + 1
        if ttl == -1:
            found[f"{name} {_NO_TTL}"] = found.get(f"{name} {_NO_TTL}", 0) + 1
    return dict(sorted(found.items()))


def leaks(start: Levels, end: Levels, grown: float, bound: float) -> list[str]:
    """What is wrong with an idle server, measured against itself before the load; `grown` and `bound` in MiB."""
    found = []
    if grown > bound:
        found.append(f"memory grew by {grown:.1f} MiB, more than {bound:g}")
    for name, left in (("sequences", end.sequences), ("jobs in flight", end.inflight), ("cells", end.cells or 0.0)):
        if left:
            found.append(f"{left:g} {name} are held and nothing runs")
    if end.pending:
        found.append(f"the queue counts {end.pending} jobs, and nothing runs")
    if end.threads > start.threads + _THREADS:
        found.append(f"threads: {start.threads} before, {end.threads} after")
    if end.files > start.files + _FILES:
        found.append(f"open files: {start.files} before, {end.files} after")
    found += [f"{count} keys {name}" for name, count in end.keys.items() if name.endswith(_NO_TTL)]
    return found
