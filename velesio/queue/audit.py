"""Audit: what operators have changed, by whom, in a bounded log at the broker and as lines of this process's log."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from velesio.errors import Unreadable
from velesio.queue import wire
from velesio.queue.broker import Broker

log = structlog.get_logger("velesio.audit")


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One change. It never holds a secret."""

    at: float = 0.0
    """Unix seconds."""
    actor: str
    """A key's name, or who ran the command."""
    action: str
    """`key.create` …"""
    target: str
    difference: dict[str, Any] = {}
    """What it was and is, or what was given."""


_entry: Callable[[bytes], Entry] = wire.reader(Entry)


class Audit:
    """The log of one installation."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._key = f"{broker.keys.root}audit"

    async def record(self, actor: str, action: str, target: str, difference: dict[str, Any] | None = None) -> None:
        """Enter a change that was made elsewhere.

        Raises:
            BrokerUnavailable
        """
        entry = Entry(at=time.time(), actor=actor, action=action, target=target, difference=difference or {})
        length = self._broker.settings.audit_length
        body = msgspec.msgpack.encode(entry)
        await self._broker.command("XADD", self._key, "MAXLEN", "~", length, "*", "b", body, retry=False)
        tell(entry)

    async def recent(self, limit: int = 100) -> list[Entry]:
        """The last changes, the latest first.

        Raises:
            BrokerUnavailable
        """
        found = await self._broker.command("XREVRANGE", self._key, "+", "-", "COUNT", limit)
        return [read_entry(fields[1]) for _, fields in found]


def read_entry(body: bytes) -> Entry:
    """An entry of the log; one that a newer release wrote is not left out, but says that it cannot be read."""
    try:
        return _entry(body)
    except Unreadable:
        return Entry(actor="", action="unreadable", target="")


def tell(entry: Entry) -> None:
    """Write the line."""
    log.info("changed", actor=entry.actor, action=entry.action, target=entry.target, difference=dict(entry.difference))
