"""dramatiq: threads; lists that the worker polls through Lua with a growing pause, results by a blocking list pop.

32 threads, since it prefetches two jobs for each thread and 64 shall be in flight: half as many jobs/s again as with
its default of 8. Variant `polling`: the pause grows no longer than a millisecond (`dramatiq_worker_timeout`; it begins
at 5 otherwise); 8 threads, since idle ones then wake as often, too.
"""

import contextlib
import logging
import os
from collections.abc import Iterator

from benches import protocol

if protocol.variant():
    os.environ["dramatiq_worker_timeout"] = "1"  # noqa: SIM112 - its own name; read when dramatiq is imported

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

THREADS, IDLE_PAUSE = (8, 1) if protocol.variant() else (32, 1000)
ABOUT = protocol.Contestant(
    f"one worker process of {THREADS} threads; idle pause up to {IDLE_PAUSE} ms; results by the Redis "
    "backend, which blocks; log level WARNING",
    ("dramatiq", "redis", "hiredis"),
    (
        protocol.script("dramatiq"),
        "benches.rivals.dramatiq",
        "--processes",
        "1",
        "--threads",
        f"{THREADS}",
        "--skip-logging",
    ),
)
broker = RedisBroker(url=protocol.url())
broker.add_middleware(Results(backend=RedisBackend(url=protocol.url())))
dramatiq.set_broker(broker)
logging.getLogger().setLevel(logging.WARNING)


@dramatiq.actor(store_results=True)
def noop() -> None:
    """The job."""


@contextlib.contextmanager
def client() -> Iterator[protocol.BlockingCalls]:
    """The same broker object, on the side that sends."""

    def call() -> None:
        noop.send().get_result(block=True, timeout=round(protocol.STARTING * 1000))

    yield protocol.BlockingCalls(call, call)


if __name__ == "__main__":
    protocol.serve_blocking(ABOUT, client)
