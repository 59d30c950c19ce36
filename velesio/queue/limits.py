"""Limits: on what terms a job is queued, and what the broker says of them.

What is used counts for a while after it was charged (a minute, a day, 30 days), in parts of 2 s, an hour or a day; the
script that queues a request's first job charges all of its limits or none. A job's estimate is settled by what it has
used, in the script that ends it. See `lua/limits.lua`.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from velesio.config import Limits
from velesio.errors import TooMany

LETTERS: Mapping[str, str] = {
    "requests": "r",
    "tokens": "t",
    "concurrent": "c",
    "images": "i",
    "gpu_seconds": "g",
    "month_tokens": "T",
    "month_images": "I",
    "month_gpu_seconds": "G",
}
"""What the scripts call each limit. Theirs of engines' time are in milliseconds."""
WINDOWS: Mapping[str, int] = {
    "requests": 60,
    "tokens": 60,
    "images": 86400,
    "gpu_seconds": 86400,
    "month_tokens": 30 * 86400,
    "month_images": 30 * 86400,
    "month_gpu_seconds": 30 * 86400,
}
"""Seconds for which each counts."""
_NAMES = {letter: name for name, letter in LETTERS.items()}
_PLACES = {name: place for place, name in enumerate(LETTERS)}
_SPOKEN = {
    "requests": "{} requests a minute",
    "tokens": "{} tokens a minute",
    "concurrent": "{} requests at a time",
    "images": "{} pictures a day",
    "gpu_seconds": "{} seconds of engines' time a day",
    "month_tokens": "{} tokens in 30 days",
    "month_images": "{} pictures in 30 days",
    "month_gpu_seconds": "{} seconds of engines' time in 30 days",
}


class Subject(msgspec.Struct, frozen=True):
    """Whose limits they are."""

    kind: Literal["key", "tenant", "model"]
    name: str
    limits: Limits

    def packed(self) -> tuple[str, Mapping[str, int]]:
        """As the scripts have it: a name, and the limits that are in force by letter."""
        return f"{self.kind[0]}:{self.name}", _in_force(self.limits)


@functools.lru_cache(maxsize=1024)
def _in_force(limits: Limits) -> Mapping[str, int]:
    return {
        LETTERS[name]: _scaled(name, value)
        for name in LETTERS
        if (value := getattr(limits, name))  # 0 is no limit
    }


class Spent(msgspec.Struct, frozen=True):
    """What a job uses."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Part of `prompt_tokens`."""
    images: int = 0
    gpu_ms: int = 0
    """Of an engine's time, its share where jobs are computed together."""

    def line(self) -> str:
        """As `finish` has it."""
        return " ".join(str(max(0, amount)) for amount in msgspec.structs.astuple(self))


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """On what terms one job of a request is queued."""

    key: str = ""
    """Whose request it is, in the accounts."""
    weight: float | None = None
    """The tenant's share; None: as configured."""
    tenant_cap: int | None = None
    """Jobs that the tenant may have waiting; None: as configured."""
    subjects: tuple[Subject, ...] = ()
    own: Mapping[str, int] = {}
    """What this job is taken to use, by letter."""
    whole: Mapping[str, int] = {}
    """What its request is taken to use."""
    index: int = 0
    """Of the job in its request; the first one is charged for all."""
    jobs: int = 1
    slot: str = ""
    """The request, as one of those that run at a time."""
    admitted: bool = False
    """Whether the first job's admission stands for this one, too."""

    def packed(self) -> bytes:
        """What the scripts read; empty: no limit is in force."""
        subjects = [packed for subject in self.subjects if (packed := subject.packed())[1]]
        if not subjects or (self.index and not self.admitted):
            return b""
        asked = {"a": self.whole} if self.index == 0 else {}
        return msgspec.msgpack.encode({"s": subjects, "e": self.own, "n": self.jobs, "id": self.slot} | asked)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What one limit says."""

    subject: str
    """key, tenant or model."""
    model: str = ""
    """Which model, of the several that one request may draw with."""
    limit: str
    """A field of `Limits`."""
    allowed: float
    left: float
    reset: float
    """Seconds until it is whole again if nothing more is used."""
    wait: float = 0.0
    """Seconds until what was refused would be allowed."""


class RateLimited(TooMany):
    """A limit is used up; try again later."""

    def __init__(self, lines: Sequence[Line] = ()) -> None:
        self.lines = tuple(lines)
        """Every limit that was looked at."""
        worst = max(lines, key=lambda line: line.wait) if lines else None
        if worst is None:
            super().__init__()
            return
        what = _SPOKEN[worst.limit].format(f"{worst.allowed:g}")
        whose = f"the model {worst.model!r}" if worst.model else f"this {worst.subject}"
        super().__init__(
            f"{whose} may use {what}; try again in {max(1, -int(-worst.wait // 1))} s",
            retry_after=worst.wait,
            details={"limit": {"of": worst.subject, "name": worst.limit, "allowed": worst.allowed}},
        )


def read_lines(subjects: Sequence[Subject], found: Sequence[Sequence[Any]]) -> list[Line]:
    """What the scripts answered."""
    kept = [subject for subject in subjects if subject.packed()[1]]
    lines = [_line(kept[index - 1], letter.decode(), numbers) for index, letter, *numbers in found]
    return sorted(lines, key=lambda line: (_PLACES[line.limit], line.subject))


def _line(subject: Subject, letter: str, numbers: Sequence[int]) -> Line:
    limit, left, reset, wait = numbers
    name = _NAMES[letter]
    unit = 1000 if name.endswith("gpu_seconds") else 1
    return Line(
        subject=subject.kind,
        model=subject.name if subject.kind == "model" else "",
        limit=name,
        allowed=limit / unit,
        left=left / unit,
        reset=reset / 1000,
        wait=wait / 1000,
    )


def _scaled(name: str, value: float) -> int:
    """At least one unit: a fraction must not become no limit at all."""
    return max(1, round(value * 1000 if name.endswith("gpu_seconds") else value))
