"""What the soak watches of its servers, and which of it counts as a leak. Pure: no clock, no process."""

from collections.abc import Callable, Sequence

import msgspec

from velesio.queue.keys import PERMANENT

_WARM = 0.25
"""Part of the time in which caches and pools may fill: slopes are those of the rest."""
_NO_TTL = "(no time to live)"
BOUNDED = {"ser": 400, "ss": 101, "rl": 20_000, "idem": 20_000}
"""Families of keys that fill for an hour or longer, and how many of them there may be: a series has 366 spans of ten
seconds, a key has a hundred sessions and their list, limits live as long as what they count."""
GROWING = frozenset({"ser", "ss", "keys", "audit", "mine", "use", "rl", "n", "end", "dead"})
"""Families whose bytes grow towards a bound of their own that an hour does not reach: 61 minutes of series, a hundred
sessions of a key, 10,000 keys, audited changes and background jobs, rows of accounts. They are taken off the broker's
memory before it is judged."""
_KEYS_BAND = 0.5
"""Part of its middle by which a family of keys may grow: what lives a minute counts the last minute's load."""
_KEYS_FEW = 20


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What one process holds."""

    memory_mib: float
    """Resident."""
    threads: int
    files: int
    """Open file descriptors, sockets among them."""
    sockets: int
    deleted: int = 0
    """Open files that have no name any more."""


class Levels(msgspec.Struct, frozen=True, kw_only=True):
    """The servers at one moment."""

    seconds: float
    """Since the load began."""
    resting: bool
    """Whether nothing was asked and the same models were loaded as at the beginning."""
    server: Held
    """Velesio's process of `--role all`."""
    broker: Held
    worker: Held | None
    """The worker that is killed and started again; None: it does not run."""
    used_mib: float
    """Memory that the broker says it uses."""
    cores: float
    """That all of them used since the last time."""
    temp_files: int
    temp_mib: float
    data_files: int
    """Files in the data directory."""
    sequences: float
    cells: float
    """That running sequences hold."""
    inflight: float
    """Jobs that the server's own worker holds."""
    pending: int
    """Jobs that wait or run, as the queue tells."""
    requests: int
    """Of the load, ended so far."""
    kills: int
    """Of the worker, so far."""
    keys: dict[str, int] = {}
    """In the broker, by the first part of their names; and those without a time to live."""
    key_kib: dict[str, float] = {}
    """What those take, by the same names."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether one level is flat."""

    name: str
    start: float
    end: float
    per_hour: float
    """By the line of the least squares, over the time after caches have filled."""
    grown: float
    """What that makes of the time that it was measured over."""
    allowed: float
    flat: bool


def lasting_mib(level: Levels) -> float:
    """Memory that the broker uses, without the families that grow towards a bound of their own."""
    return level.used_mib - sum(level.key_kib.get(name, 0.0) for name in GROWING) / 1024


_LEVELS: tuple[tuple[str, Callable[[Levels], float], float], ...] = (
    ("server: memory, MiB", lambda level: level.server.memory_mib, 64.0),
    ("server: threads", lambda level: level.server.threads, 2.0),
    ("server: file descriptors", lambda level: level.server.files, 4.0),
    ("server: sockets", lambda level: level.server.sockets, 4.0),
    ("server: deleted files held open", lambda level: level.server.deleted, 1.0),
    ("broker: memory, MiB", lambda level: level.broker.memory_mib, 32.0),
    ("broker: used without what is bounded, MiB", lasting_mib, 4.0),
    ("broker: threads", lambda level: level.broker.threads, 1.0),
    ("broker: file descriptors", lambda level: level.broker.files, 4.0),
    ("temporary files", lambda level: level.temp_files, 1.0),
    ("files of the data directory", lambda level: level.data_files, 4.0),
)
"""Name, what it is, and by how much it may grow."""


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of the line with the least squares through (x, y); 0 for fewer than two places."""
    if len({x for x, _ in points}) < 2:
        return 0.0
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / sum((x - middle_x) ** 2 for x, _ in points)


def growth(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Of (seconds, level): growth an hour after caches have filled, and what it makes over the time after that."""
    if not points:
        return 0.0, 0.0
    warm = [point for point in points if point[0] >= points[-1][0] * _WARM]
    rate = slope(warm)
    return rate * 3600, rate * (warm[-1][0] - warm[0][0])


def verdicts(rests: Sequence[Levels]) -> list[Verdict]:
    """On each level and each family of keys, from what was seen at rest, in the order of time; at least one."""
    found = [_verdict(name, [(level.seconds, read(level)) for level in rests], may) for name, read, may in _LEVELS]
    families = sorted({name for level in rests for name in level.keys if not name.endswith(_NO_TTL)})
    return found + [_of_keys(family, rests) for family in families]


def _verdict(name: str, points: Sequence[tuple[float, float]], allowed: float) -> Verdict:
    rate, grown = growth(points)
    return Verdict(
        name=name,
        start=round(points[0][1], 2),
        end=round(points[-1][1], 2),
        per_hour=round(rate, 2),
        grown=round(grown, 2),
        allowed=round(allowed, 2),
        flat=grown <= allowed,
    )


def _of_keys(family: str, rests: Sequence[Levels]) -> Verdict:
    points = [(level.seconds, float(level.keys.get(family, 0))) for level in rests]
    counts = sorted(count for _, count in points)
    found = _verdict(f"keys: {family}", points, max(_KEYS_FEW, counts[len(counts) // 2] * _KEYS_BAND))
    if family in BOUNDED:
        return msgspec.structs.replace(found, allowed=BOUNDED[family], flat=counts[-1] <= BOUNDED[family])
    return found


def families(keys: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Counts of keys, each with its time to live in milliseconds (negative: none), by the part after the prefix."""
    found: dict[str, int] = {}
    for key, ttl in keys:
        name = family_of(key)
        found[name] = found.get(name, 0) + 1
        if ttl == -1:
            found[f"{name} {_NO_TTL}"] = found.get(f"{name} {_NO_TTL}", 0) + 1
    return dict(sorted(found.items()))


def family_of(key: str) -> str:
    """The part of a key's name after the prefix."""
    return key.split(":")[1] if ":" in key else key


def leaks(rests: Sequence[Levels]) -> list[str]:
    """What must not be there at rest, each kind once: jobs, sequences and cells that nobody holds, lasting keys."""
    found: dict[str, str] = {}
    for level in rests:
        held = {
            "sequences": level.sequences,
            "jobs in flight": level.inflight,
            "cells": level.cells,
            "jobs of the queue": level.pending,
        }
        lasting = {
            f"keys {name}": count
            for name, count in level.keys.items()
            if name.endswith(_NO_TTL) and name.removesuffix(f" {_NO_TTL}") not in PERMANENT
        }
        for name, left in {**held, **lasting}.items():
            if left:
                found[name] = f"after {level.seconds:.0f} s: {left:g} {name}, and nothing runs"
    return list(found.values())


def wrong(rests: Sequence[Levels]) -> list[str]:
    """Everything that is not flat, and everything that was left."""
    grown = [
        f"{verdict.name}: {verdict.start:g} at first, {verdict.end:g} at last, "
        f"grown by {verdict.grown:g}, {verdict.allowed:g} allowed"
        for verdict in verdicts(rests)
        if not verdict.flat
    ]
    return [*grown, *leaks(rests)]
