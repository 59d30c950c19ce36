"""Roster: a gateway's copy of all keys and tenants, pushed by the broker and never older than a second."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from velesio.errors import VelesioError
from velesio.queue.broker import Broker
from velesio.queue.credentials import KEYS, KeyRecord
from velesio.queue.entries import Table
from velesio.queue.listener import Listener
from velesio.queue.tasks import Loop, spawn, stop
from velesio.queue.tenants import TENANTS, Tenant

_FRESH = 0.5
"""Seconds between two looks for a change that nobody told of."""


class Roster:
    """Calls `on_change(keys, tenants)`, both by id, in the event loop after each change."""

    def __init__(
        self, broker: Broker, on_change: Callable[[Mapping[str, KeyRecord], Mapping[str, Tenant]], None]
    ) -> None:
        self._broker = broker
        self._key = f"{broker.keys.root}roster"
        self._on_change = on_change
        self._keys = Table(broker, KEYS, KeyRecord)
        self._tenants = Table(broker, TENANTS, Tenant)
        self._version: bytes | None = b""
        self._loop = Loop("roster", self._look, pause=_FRESH, retry=_FRESH)
        self._listener = Listener(broker, self._key, self._told)
        self._errands: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Read once and keep fresh.

        Raises:
            BrokerUnavailable
        """
        await self.refresh()
        await self._listener.start()
        self._loop.start()

    async def close(self) -> None:
        """Stop."""
        await self._listener.close()
        await self._loop.close()
        await stop(*self._errands)

    async def refresh(self) -> None:
        """Read now."""
        # The version first: a change between the two reads is found at the next look.
        version = await self._broker.command("GET", self._key)
        keys = await self._keys.all()
        tenants = await self._tenants.all()
        self._version = version
        self._on_change(keys, tenants)

    async def _look(self) -> None:
        if await self._broker.command("GET", self._key) != self._version:
            await self.refresh()

    def _told(self, message: bytes) -> None:
        if message == (self._version or b""):
            return
        task = spawn(self._quietly(), "roster change")
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _quietly(self) -> None:
        with contextlib.suppress(VelesioError):  # the next look finds it
            await self._look()
