"""Listener: one channel of the broker, subscribed for as long as the process lives.

Messages are hints that save time; whoever listens also has a slower way to learn the same, since messages sent while
the connection is down are lost.
"""

import asyncio
import random
from collections.abc import Callable

import redis
import structlog

from velesio.queue.broker import Broker
from velesio.queue.line import OUTAGES
from velesio.queue.tasks import spawn, stop

log = structlog.get_logger(__name__)


class Listener:
    """Calls `on_message` in the event loop for each message, and with b"" after each (re)connection."""

    def __init__(self, broker: Broker, channel: str, on_message: Callable[[bytes], None]) -> None:
        self._broker = broker
        self._channel = channel
        self._on_message = on_message
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._ready: asyncio.Event | None = None

    async def start(self) -> None:
        """Subscribe; returns when the server has confirmed it, or after two seconds without one."""
        self._ready = asyncio.Event()
        self._task = spawn(self._run(), f"listen to {self._channel}")
        waiter = spawn(self._ready.wait(), "first subscription")
        await asyncio.wait({waiter, self._task}, timeout=2, return_when=asyncio.FIRST_COMPLETED)
        await stop(waiter)

    async def close(self) -> None:
        """Unsubscribe."""
        self._stopping = True
        await stop(self._task)

    async def _run(self) -> None:
        while not self._stopping:
            client = self._broker.address.channels()
            try:
                async with client.pubsub() as channel:
                    await channel.subscribe(self._channel)
                    while not self._stopping:
                        self._hear(await channel.get_message(timeout=None))
            except OUTAGES:
                await asyncio.sleep(random.uniform(0.1, 0.5))  # noqa: S311 - spreads reconnections
            except Exception:  # a defect in hearing one message must not silence all later ones
                log.exception("a message could not be heard", channel=self._channel)
                await asyncio.sleep(random.uniform(0.1, 0.5))  # noqa: S311
            finally:
                await client.aclose()

    def _hear(self, message: dict[str, object] | None) -> None:
        if message is None:
            # Told to wait for ever, the client answers None only for a connection that the kernel has given up: it
            # takes the ETIMEDOUT for a timeout of its own, and would answer so again and again without waiting.
            raise redis.exceptions.ConnectionError("the connection of a subscription is dead")
        if message["type"] == "subscribe":
            if self._ready:
                self._ready.set()
            self._on_message(b"")
        elif message["type"] == "message":
            payload = message["data"]
            self._on_message(payload if isinstance(payload, bytes) else b"")
