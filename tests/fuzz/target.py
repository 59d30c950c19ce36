"""Target: a reader of foreign bytes, what it may refuse them with, and how long it may take."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

SECONDS = float(os.environ.get("FUZZ_SECONDS", "2"))
"""Processor time that one input may take. Instrumented code is several times slower: scripts/fuzz gives it more."""


class TooSlowError(Exception):
    """An input took more processor time than any may."""


class Target(NamedTuple):
    """What is fuzzed."""

    name: str
    run: Callable[[bytes], object]
    """Reads the bytes; asserts what must hold of the answer."""
    refusals: tuple[type[Exception], ...] = ()
    """What it raises for bytes that it does not take; anything else is a find."""
    seeds: Callable[[], Iterable[bytes]] = tuple
    """Bytes that it takes, to begin with."""

    def __call__(self, data: bytes) -> None:
        """One run.

        Raises:
            Exception: a find.
        """
        with _bounded(SECONDS):
            try:
                self.run(data)
            except self.refusals as refusal:
                if not str(refusal).strip():
                    raise AssertionError(f"{type(refusal).__name__} says nothing") from refusal


@contextmanager
def _bounded(seconds: float) -> Iterator[None]:
    """Processor time, so that a busy machine finds nothing that is not there."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TooSlowError(f"more than {seconds:g} s")

    before = signal.signal(signal.SIGVTALRM, stop)
    began = time.process_time()
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    if time.process_time() - began > seconds:  # what no signal could end, since it was one call
        raise TooSlowError(f"more than {seconds:g} s")
