"""arq: asyncio; a sorted set that the worker polls, results that the client polls.

Variant `polling`: both polls every millisecond (in flood, the client's every 50 ms: more polls make it slower).
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any, ClassVar

from arq import create_pool
from arq.connections import RedisSettings

from benches import protocol

WORKER_POLL, SERIAL_POLL, FLOOD_POLL = (0.001, 0.001, 0.05) if protocol.variant() else (0.5, 0.5, 0.5)
ABOUT = protocol.Contestant(
    f"one worker, max_jobs 64; worker polls every {WORKER_POLL} s, results every {SERIAL_POLL} s ({FLOOD_POLL} s in "
    "flood); no logging of jobs",
    ("arq", "redis", "hiredis"),
    (protocol.script("arq"), "benches.rivals.arq.WorkerSettings", "--custom-log-dict", "benches.rivals.arq.LOGGING"),
)
LOGGING = {"version": 1, "disable_existing_loggers": False, "root": {"level": "WARNING"}}


async def noop(_context: dict[str, Any]) -> None:
    """The job."""


class WorkerSettings:
    """What the `arq` command reads."""

    functions: ClassVar = [noop]
    redis_settings = RedisSettings.from_dsn(protocol.url())
    max_jobs = 64
    poll_delay = WORKER_POLL
    log_results = False


@contextlib.asynccontextmanager
async def client() -> AsyncIterator[protocol.Calls]:
    """One pool, as a web process would hold it."""
    pool = await create_pool(WorkerSettings.redis_settings)

    async def call(poll: float) -> None:
        job = await pool.enqueue_job("noop")
        await job.result(protocol.STARTING, poll_delay=poll)

    try:
        yield protocol.Calls(lambda: call(SERIAL_POLL), lambda: call(FLOOD_POLL))
    finally:
        await pool.aclose()


if __name__ == "__main__":
    protocol.serve(ABOUT, client)
