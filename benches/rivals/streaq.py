"""streaq: asyncio through anyio and coredis; streams, results announced by pub/sub.

`result()` takes 0.1 s for leaving its pub/sub channel (coredis waits for an acknowledgement), whatever the queue does.
"""

import contextlib
import logging
from collections.abc import AsyncIterator

from streaq import Worker

from benches import protocol

ABOUT = protocol.Contestant(
    "one worker on uvloop, concurrency 64; 512 connections, since each awaited result holds one (the default of 64 "
    "deadlocks with 64 in flight); no logging of jobs",
    ("streaq", "coredis", "anyio", "hiredis", "uvloop"),
    (protocol.script("streaq"), "run", "benches.rivals.streaq:worker"),
)
worker = Worker(
    redis_url=protocol.url(),
    redis_kwargs={"max_connections": 512},
    concurrency=64,
    anyio_kwargs={"use_uvloop": True},
)
logging.getLogger("streaq").setLevel(logging.WARNING)


@worker.task(silent=True)
async def noop() -> None:
    """The job."""


@contextlib.asynccontextmanager
async def client() -> AsyncIterator[protocol.Calls]:
    """The same worker object, entered but not run."""

    async def call() -> None:
        task = await noop.enqueue()
        await task.result(int(protocol.STARTING))

    async with worker:
        yield protocol.Calls(call, call)


if __name__ == "__main__":
    protocol.serve(ABOUT, client)
