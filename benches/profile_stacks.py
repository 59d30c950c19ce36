"""Stacks of py-spy in its raw form, counted: which functions compute by themselves, which wait for others. Pure."""

import re
from collections import Counter
from collections.abc import Iterable

import msgspec

_LINE = re.compile(r":\d+\)$")
_OWN = ("velesio/",)


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """Parts of all samples of a process, each from 0 to 1."""

    samples: int
    threads: dict[str, float]
    """By the thread's name without its number."""
    own: dict[str, float]
    """`thread: function (file)` that was running itself."""
    below: dict[str, float]
    """The same of Velesio's functions, with what they call."""


def read(lines: Iterable[str]) -> Profile:
    """From lines of frames between semicolons, the thread first, and a count."""
    threads: Counter[str] = Counter()
    own: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for line in lines:
        stack, _, number = line.rpartition(" ")
        thread, *frames = stack.split(";")
        if not frames:
            continue
        count, name = int(number), thread_name(thread)
        places = [_LINE.sub(")", frame) for frame in frames]
        threads[name] += count
        own[f"{name}: {places[-1]}"] += count
        for place in set(places):
            if any(part in place for part in _OWN):
                below[f"{name}: {place}"] += count
    total = sum(threads.values())
    return Profile(
        samples=total,
        **{
            field: {name: round(count / total, 4) for name, count in counted.most_common()}
            for field, counted in (("threads", threads), ("own", own), ("below", below))
        },
    )


def thread_name(frame: str) -> str:
    """`thread (0x1F): MainThread` without its number; nor has it that of a pool's thread."""
    return frame.rpartition(": ")[2].rstrip("0123456789").rstrip("_-") or frame


def shown(profile: Profile, most: int) -> str:
    """The largest shares, for people."""
    parts = [
        f"{profile.samples} samples: " + ", ".join(f"{name} {part:.0%}" for name, part in _first(profile.threads, 4))
    ]
    for title, shares in (("by itself", profile.own), ("with what it calls", profile.below)):
        parts.append(f"  {title}:")
        parts += [f"    {part:6.1%}  {name}" for name, part in _first(shares, most)]
    return "\n".join(parts)


def _first(shares: dict[str, float], most: int) -> list[tuple[str, float]]:
    return list(shares.items())[:most]
