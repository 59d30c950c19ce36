"""Events: the parts of a job's answer, the last of which is final."""

from typing import Any

import msgspec

from velesio.jobs.results import Dialect, Result, TokenProbs


class Started(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """The engine admitted the job and found it valid; nothing is computed yet."""

    prompt_tokens: int = 0
    dialect: Dialect = Dialect()
    cached_tokens: int = 0
    """Of the prompt, those that lie in the cache now; the result tells how many were not computed in the end."""


class Delta(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Text that follows what was sent before, and the tokens whose text this is (stop strings and incomplete
    characters are held back, so a token may come with a later delta)."""

    text: str
    tokens: tuple[int, ...] = ()
    predicted: int = 0
    """Tokens generated so far, this delta's included."""
    probs: tuple[TokenProbs, ...] = ()
    """One for each of `tokens`, if they were asked for."""


class Progress(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """How far a job is: tokens of its prompt, or steps of its pictures."""

    done: int
    total: int
    cached: int = 0
    """Part of `done` that was not computed again."""
    ms: float = 0.0
    """Milliseconds since the worker began with it."""


class Preview(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """How a picture looks in the making; a small file that the next one replaces."""

    picture: bytes
    index: int = 0
    """Of the picture in the job."""
    done: int = 0
    """Steps."""
    total: int = 0


class Completed(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Final: the job is done."""

    result: Result


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Final: the job failed with a code of `velesio.errors`."""

    code: str
    message: str
    retry: bool = False
    """Whether another attempt could succeed (a crash of the engine, not a bad request)."""
    details: dict[str, Any] = {}
    traceback: str = ""
    """For the dead letters; never sent to clients."""


class Cancelled(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Final: somebody cancelled the job."""

    reason: str = ""


Final = Completed | Failed | Cancelled
Event = Started | Delta | Progress | Preview | Completed | Failed | Cancelled
_FINAL = (Completed, Failed, Cancelled)
"""Compared by type, since they have no subclasses: it is asked several times for each token."""


def is_final(event: Event) -> bool:
    """Whether nothing follows `event`."""
    return type(event) in _FINAL
