"""celery: a list by BRPOP through kombu, results by pub/sub.

A prefetch of 64 is what its guide to optimizing says for short tasks; threads, because prefork has a process more and
was slower here, one job at a time and many.
"""

import contextlib
from collections.abc import Iterator

from celery import Celery

from benches import protocol

ABOUT = protocol.Contestant(
    "one worker process, pool of 2 threads, prefetch multiplier 64, no rate limits, no gossip, mingle or heartbeat "
    "between workers; log level WARNING",
    ("celery", "kombu", "redis", "hiredis"),
    (
        *(protocol.script("celery"), "-A", "benches.rivals.celery", "worker", "--pool", "threads"),
        *("--concurrency", "2", "--without-gossip", "--without-mingle", "--without-heartbeat"),
        *("--loglevel", "WARNING"),
    ),
)
app = Celery("benches", broker=protocol.url(), backend=protocol.url())
app.conf.update(
    broker_connection_retry_on_startup=True,
    broker_pool_limit=64,
    redis_max_connections=1000,
    worker_disable_rate_limits=True,
    worker_prefetch_multiplier=64,
)


@app.task(name="noop")
def noop() -> None:
    """The job."""


@contextlib.contextmanager
def client() -> Iterator[protocol.BlockingCalls]:
    """The same app, on the side that sends."""

    def call() -> None:
        noop.delay().get(timeout=protocol.STARTING)

    yield protocol.BlockingCalls(call, call)


if __name__ == "__main__":
    protocol.serve_blocking(ABOUT, client)
