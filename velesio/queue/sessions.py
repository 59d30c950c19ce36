"""Sessions: conversations that are kept for their clients, turn by turn, each key's own."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from velesio.config import SessionSection
from velesio.queue import wire
from velesio.queue.broker import Broker


class Turn(msgspec.Struct, frozen=True):
    """What was said to the model, and what it said."""

    messages: list[dict[str, Any]]
    """As `jobs.Chat` has them; `media` in them counts from this turn's first file."""
    media: tuple[bytes, ...] = ()


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a list tells of one."""

    name: str
    used: float
    """Unix seconds."""
    turns: int
    bytes: int


read_turn: Callable[[bytes], Turn] = wire.reader(Turn)
"""A turn from what is kept of it."""


def packed(turn: Turn) -> bytes:
    """A turn as it is kept."""
    return msgspec.msgpack.encode(turn)


class Sessions:
    """The sessions of one owner, who cannot reach those of others."""

    def __init__(self, broker: Broker, owner: str, section: SessionSection) -> None:
        self._broker = broker
        self._owner = hashlib.sha256(owner.encode()).hexdigest()[:32]
        self._section = section

    async def turns(self, name: str) -> list[Turn]:
        """All that is kept of one, the oldest first; nothing, if there is none.

        Raises:
            Unreadable, BrokerUnavailable
        """
        return [read_turn(turn) for turn in await self._raw(name)]

    async def add(self, name: str, turn: Turn) -> int:
        """Keep a turn; answers how many there are. One that is larger than a whole session may be is not kept.

        Raises:
            BrokerUnavailable
        """
        bounds = self._section
        life = round(bounds.ttl * 1000)
        arguments = (packed(turn), life, bounds.max_bytes, bounds.max_turns, bounds.limit)
        kept: int = await self._broker.run("converse", self._owner, name, 0, *arguments, retry=False)
        return kept

    async def all(self) -> list[Summary]:
        """Those that there are, the last used first."""
        index = self._broker.keys.conversation(self._owner)
        entries = await self._broker.command("ZREVRANGE", index, 0, -1, "WITHSCORES")
        pairs = [entry if isinstance(entry, list) else [entry] for entry in entries]
        if pairs and len(pairs[0]) == 1:
            flat = [part[0] for part in pairs]
            pairs = [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]
        raws = await asyncio.gather(*(self._raw(name.decode()) for name, _ in pairs))
        return [
            Summary(name=name.decode(), used=float(used) / 1000, turns=len(raw), bytes=sum(map(len, raw)))
            for (name, used), raw in zip(pairs, raws, strict=True)
            if raw
        ]

    async def drop(self, name: str) -> bool:
        """Forget one; whether there was one."""
        index = self._broker.keys.conversation(self._owner)
        gone, _ = await asyncio.gather(
            self._broker.command("DEL", self._broker.keys.conversation(self._owner, name)),
            self._broker.command("ZREM", index, name),
        )
        return bool(gone)

    async def _raw(self, name: str) -> list[bytes]:
        turns: list[bytes] = await self._broker.command(
            "LRANGE", self._broker.keys.conversation(self._owner, name), 0, -1
        )
        return turns
