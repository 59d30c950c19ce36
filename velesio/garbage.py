"""Garbage: how often Python looks for objects that only refer to each other.

Almost all of what a request makes is freed at once, when nothing refers to it any more. The search for cycles finds
little, and takes as long as there are objects: with its default settings a fifteenth of a gateway's time under load,
and pauses of a tenth of a second in which every stream stands still.
"""

import gc

_YOUNG = 10_000
"""Containers made and not freed since the last search, after which the youngest are searched; Python's own: 700."""


def settle() -> None:
    """Never search again what there is by now (modules, routes), and the rest less often. For the start of a process:
    what is a cycle by now, or becomes one, is never freed."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 10, 10)
