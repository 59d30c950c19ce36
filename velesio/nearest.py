"""Nearest: which known names a wrong one may have meant, and how it is quoted, however long it is."""

import difflib
from collections.abc import Iterable

_LONGEST = 200
"""Letters of a name that is compared: the time that it takes grows with the square of its length, and names come from
clients. A name of four million letters would stop the process for seconds."""


def nearest(name: str, known: Iterable[str], most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Up to so many of the known names that are like it, the likeliest first."""
    return difflib.get_close_matches(name, known, most, cutoff) if len(name) <= _LONGEST else []


def quoted(name: str) -> str:
    """A name in quotes, for a message; of a long one its beginning."""
    return repr(name) if len(name) <= _LONGEST else f"{name[:_LONGEST]!r}… ({len(name)} letters)"
