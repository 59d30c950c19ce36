"""Entries: tables at the broker of which every gateway has a copy (keys, tenants), changed one entry at a time.

A change, its line in the audit log and the call to all copies are one script.
"""

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from velesio.errors import Conflict, Unreadable
from velesio.queue import wire
from velesio.queue.audit import Entry, tell
from velesio.queue.broker import Broker

_MOST = 10_000
"""Entries of one table."""
_TRIES = 20

T = TypeVar("T", bound=msgspec.Struct)


class Table(Generic[T]):
    """One table: a struct by name."""

    def __init__(self, broker: Broker, name: str, kind: type[T]) -> None:
        self._broker = broker
        self._name = name
        self._key = f"{broker.keys.root}{name}"
        self._decode: Callable[[bytes], T] = wire.reader(kind)

    async def all(self) -> dict[str, T]:
        """Every entry. What a newer release has written and this one cannot read is left out.

        Raises:
            BrokerUnavailable
        """
        return self.read(await self._broker.command("HGETALL", self._key))

    def read(self, found: dict[bytes, bytes]) -> dict[str, T]:
        """The entries, as the broker has them."""
        entries = {}
        for name, body in found.items():
            try:
                entries[name.decode()] = self._decode(body)
            except (Unreadable, UnicodeError):
                continue
        return entries

    async def find(self, name: str) -> T | None:
        """One entry.

        Raises:
            Unreadable, BrokerUnavailable
        """
        body = await self._broker.command("HGET", self._key, name)
        return None if body is None else self._decode(body)

    async def alter(
        self, name: str, change: Callable[[T | None], T | None], *, actor: str, action: str, told: Callable[[T], Any]
    ) -> T | None:
        """Put what `change` makes of an entry in its place (None: there is none), and note the difference in what is
        `told` of it. `change` is called again if somebody else changes the entry meanwhile, and may raise.

        Raises:
            Conflict: the table is full, or changes all the time.
            Unreadable: a newer release has written what is there; it stays.
            BrokerUnavailable: it may have been changed.
        """
        for _ in range(_TRIES):
            before: bytes = await self._broker.command("HGET", self._key, name) or b""
            old = self._decode(before) if before else None
            new = change(old)
            entry = Entry(
                at=time.time(), actor=actor, action=action, target=name, difference=difference(old, new, told)
            )
            after = msgspec.msgpack.encode(new) if new is not None else b""
            line = msgspec.msgpack.encode(entry)
            answer = await self._broker.run("alter", self._name, name, before, after, _MOST, line, retry=False)
            if answer == b"OK":
                tell(entry)
                return new
            if answer == b"FULL":
                raise Conflict(f"there are {_MOST} {self._name} already; remove some first")
        raise Conflict(f"{name} is being changed by somebody else all the time; try again")


def difference(old: T | None, new: T | None, told: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    """What changed: of each field that differs, what it was and what it is."""
    before, after = (told(each) if each is not None else {} for each in (old, new))
    return {
        name: [before.get(name), after.get(name)] for name in (before | after) if before.get(name) != after.get(name)
    }
