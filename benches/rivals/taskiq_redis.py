"""taskiq-redis: asyncio; a stream with a consumer group, results that the client polls.

Its README's broker, the only one of its three that acknowledges jobs after they are done, as Velesio and the others
here do. Variant `polling`: the client asks for its result every millisecond (in flood, every 20 ms).
"""

import contextlib
from collections.abc import AsyncIterator

from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from benches import protocol

SERIAL_CHECK, FLOOD_CHECK = (0.001, 0.02) if protocol.variant() else (0.2, 0.2)
ABOUT = protocol.Contestant(
    f"RedisStreamBroker; one worker on uvloop, max-async-tasks 100; results checked every {SERIAL_CHECK} s "
    f"({FLOOD_CHECK} s in flood); results expire after 1 h; log level WARNING",
    ("taskiq", "taskiq-redis", "redis", "hiredis", "uvloop"),
    (
        *(protocol.script("taskiq"), "worker", "benches.rivals.taskiq_redis:broker", "--workers", "1"),
        *("--max-async-tasks", "100", "--log-level", "WARNING"),
    ),
)
broker = RedisStreamBroker(protocol.url()).with_result_backend(
    RedisAsyncResultBackend(protocol.url(), result_ex_time=3600)
)


@broker.task(task_name="noop")
async def noop() -> None:
    """The job."""


@contextlib.asynccontextmanager
async def client() -> AsyncIterator[protocol.Calls]:
    """The same broker object, on the side that sends."""
    await broker.startup()

    async def call(check: float) -> None:
        task = await noop.kiq()
        result = await task.wait_result(check_interval=check, timeout=protocol.STARTING)
        result.raise_for_error()

    try:
        yield protocol.Calls(lambda: call(SERIAL_CHECK), lambda: call(FLOOD_CHECK))
    finally:
        await broker.shutdown()


if __name__ == "__main__":
    protocol.serve(ABOUT, client)
