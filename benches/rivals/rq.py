"""rq: a list by a blocking pop, results by a blocking stream read.

`SimpleWorker` does not fork for each job: six times as many jobs/s by its own notes, which advise it for jobs of
milliseconds; a fork for each is what an rq installation usually pays.
"""

import contextlib
from collections.abc import Iterator

from redis import Redis
from rq import Queue

from benches import protocol

ABOUT = protocol.Contestant(
    "one SimpleWorker; results awaited by latest_result(timeout), which blocks; quiet",
    ("rq", "redis", "hiredis"),
    (
        *(protocol.script("rq"), "worker", "--url", protocol.url(), "--worker-class", "rq.worker.SimpleWorker"),
        *("--quiet", "default"),
    ),
)


def noop() -> None:
    """The job."""


@contextlib.contextmanager
def client() -> Iterator[protocol.BlockingCalls]:
    """One queue, whose connections the threads share."""
    with Redis.from_url(protocol.url()) as connection:
        queue = Queue(connection=connection)

        def call() -> None:
            result = queue.enqueue("benches.rivals.rq.noop").latest_result(timeout=int(protocol.STARTING))
            if result is None or result.type is not result.Type.SUCCESSFUL:
                raise RuntimeError(f"the job ended with {result}")

        yield protocol.BlockingCalls(call, call)


if __name__ == "__main__":
    protocol.serve_blocking(ABOUT, client)
