"""The heap: memory that a model has freed goes back to the system.

glibc keeps what was freed for the thread that asked for it, in arenas of up to 64 MiB, and each model lives on a thread
of its own: after some models have come and gone, a process holds some hundred MiB that nobody uses.
"""

import ctypes
import functools
from collections.abc import Callable


def give_back() -> None:
    """Has the C library return whole pages of freed memory, which takes some milliseconds; nothing where it is not
    glibc. Other threads go on meanwhile."""
    if (trim := _trim()) is not None:
        trim(0)


@functools.cache
def _trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # macOS, musl, Windows
        return None
    return found
