"""States of models: what a worker tells of each that it serves, and what it can be told to do about it."""

from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Any, Literal

import msgspec

State = Literal["unloaded", "loading", "loaded", "sleeping", "failed"]
"""`sleeping`: unloaded because nobody asked for as long as its keep-alive; the next job loads it, as it does with
`unloaded`. `failed`: the last try to load it failed."""

_RANK: tuple[State, ...] = ("loaded", "loading", "failed", "sleeping", "unloaded")


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """One model at one worker. Times are unix seconds by the worker's clock."""

    state: State = "unloaded"
    since: float = 0.0
    progress: float = 0.0
    """Part of the loading that is done, 0 to 1."""
    expires_at: float | None = None
    """When it will be unloaded if no job comes; None: never, or it is not loaded."""
    reason: str = ""
    """Why it could not be loaded."""
    pinned: bool = False
    """Whether it stays loaded whatever else is wanted, until an operator says otherwise."""
    wish: int = 0
    """The number of the last wish that the worker has done what it could for."""


class Counts(msgspec.Struct, kw_only=True):
    """What one worker has computed with a model since the worker began."""

    prompt_tokens: int = 0
    """Of settled jobs, as are all but `steps` and `sequences`; without cached ones."""
    cached_tokens: int = 0
    prompt_seconds: float = 0.0
    generated_tokens: int = 0
    generated_seconds: float = 0.0
    longest: int = 0
    """Tokens of the longest sequence, prompt and answer together."""
    drafted: int = 0
    """Tokens guessed ahead."""
    accepted: int = 0
    """Those of them that were right."""
    drafts: int = 0
    """Times that tokens were guessed ahead."""
    accepted_at: tuple[int, ...] = ()
    """Drafts whose first, second … token was right."""
    steps: int = 0
    sequences: int = 0
    """Jobs that each step advanced, summed."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker shall do about a model. The latest wish for a model counts."""

    number: int
    """Microseconds of the broker's clock: the later of two wishes has the higher one."""
    model: str
    loaded: bool
    """Load it, or let its jobs end and unload it."""
    keep_alive: float | None = None
    """Seconds after its last job at which it is unloaded, 0: at once, negative: never; None: as before."""
    pinned: bool | None = None
    """Whether it shall stay loaded whatever else is wanted; None: as before."""


def total(counts: Iterable[Counts]) -> Counts:
    """What several workers have computed, or one with several models."""
    together = Counts()
    for each in counts:
        for name in Counts.__struct_fields__:
            both = getattr(together, name), getattr(each, name)
            setattr(together, name, _OTHERWISE.get(name, sum)(both))
    return together


def added(counts: Iterable[tuple[int, ...]]) -> tuple[int, ...]:
    """Sums place by place; what a shorter one lacks is 0."""
    return tuple(map(sum, zip_longest(*counts, fillvalue=0)))


_OTHERWISE: dict[str, Callable[[Iterable[Any]], Any]] = {"longest": max, "accepted_at": added}
"""How those counts come together whose sum would not be theirs."""


def overall(states: Iterable[ModelState]) -> ModelState:
    """One model at all of its workers: the state nearest to serving a job, and the latest time of unloading."""
    found = sorted(states, key=lambda each: (_RANK.index(each.state), -each.progress, each.since))
    if not found:
        return ModelState()
    first = found[0]
    ends = [each.expires_at for each in found if each.state == first.state]
    latest = None if None in ends else max(end for end in ends if end is not None)
    return msgspec.structs.replace(first, expires_at=latest)
