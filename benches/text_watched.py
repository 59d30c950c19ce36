"""`python -m velesio` whose metrics also tell how long its Python threads have computed, and how much of it was C.

The clock of each Python thread (event loop, engine, heartbeat) is read as the system counts it; the threads that
llama.cpp starts for its own work are none of them. What the engine's thread spends inside llama.cpp is counted at the
calls themselves: computing batches, and choosing tokens. The rest is Python, aiohttp, hiredis and their system calls:
everything between the engine and the socket. The two clock readings at each call are counted as Python.
"""

import functools
import importlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.core import Metric
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from velesio import cli

_COMPUTING = ("llama_decode", "llama_encode", "llama_synchronize")
_CHOOSING = ("llama_sampler_sample", "llama_sampler_apply", "llama_sampler_accept")


class Clock:
    """Nanoseconds of a thread's own time inside some functions."""

    def __init__(self) -> None:
        self.spent = 0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, counted."""

        @functools.wraps(function)
        def counted(*arguments: Any) -> Any:
            began = time.thread_time_ns()
            try:
                return function(*arguments)
            finally:
                self.spent += time.thread_time_ns() - began

        return counted


class Threads(Collector):
    """Seconds of the Python threads, outside of llama.cpp and inside."""

    def __init__(self, computing: Clock, choosing: Clock) -> None:
        self._computing = computing
        self._choosing = choosing

    def collect(self) -> Iterator[Metric]:
        """Read at the moment of the request."""
        computing, choosing = self._computing.spent / 1e9, self._choosing.spent / 1e9
        yield CounterMetricFamily("bench_python_seconds", "Python threads", value=_clocks() - computing - choosing)
        yield CounterMetricFamily("bench_computing_seconds", "Batches, the engine's thread", value=computing)
        yield CounterMetricFamily("bench_choosing_seconds", "Token samplers", value=choosing)


def _clocks() -> float:
    """Seconds that all Python threads together have computed."""
    threads = [thread.ident for thread in threading.enumerate() if thread.ident is not None]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in threads)


def watch() -> None:
    """Counts the calls of llama.cpp from here on."""
    backend = importlib.import_module("velesio.backends.llama.backend")  # the package has a function of that name
    backend._shorten_spinning()  # must come before llama.cpp is loaded, as in the server itself
    from llama_cpp import llama_cpp as c  # noqa: PLC0415

    computing, choosing = Clock(), Clock()
    for clock, names in ((computing, _COMPUTING), (choosing, _CHOOSING)):
        for name in names:
            setattr(c, name, clock.around(getattr(c, name)))
    REGISTRY.register(Threads(computing, choosing))


if __name__ == "__main__":
    watch()
    raise SystemExit(cli.main())
