"""Memory: how much of it the broker uses, and what it would do without."""

from msgspec import Struct

from velesio.queue.broker import Broker, facts


class Memory(Struct, frozen=True):
    """The broker's memory."""

    used: int = 0
    """Bytes."""
    limit: int = 0
    """Bytes; 0: none but the machine's."""
    keeps: bool = True
    """Whether it refuses writes when memory is short, rather than drop keys."""


async def read_memory(broker: Broker) -> Memory:
    """Asks the server.

    Raises:
        BrokerUnavailable
    """
    told = facts(await broker.command("INFO", "memory"))
    policy = told.get("maxmemory_policy", "noeviction")
    return Memory(int(told.get("used_memory", 0)), int(told.get("maxmemory", 0)), policy == "noeviction")
