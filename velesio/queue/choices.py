"""Choices: options that a client set for its own later requests, alike at every gateway."""

import contextlib
from collections.abc import Mapping
from typing import Any

import msgspec

from velesio.queue import wire
from velesio.queue.broker import Broker

KEPT = 30 * 86400
"""Seconds after the last change at which they are the defaults again."""


async def read(broker: Broker, owner: str) -> dict[str, Any]:
    """All that `owner` has set, as far as it can be read.

    Raises:
        BrokerUnavailable
    """
    kept = await broker.command("HGETALL", broker.keys.choices(owner))
    return read_choices(kept)


def read_choices(kept: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Options by name; what is no JSON is as if it had not been set."""
    found = {}
    for name, value in kept.items():
        with contextlib.suppress(*wire.DAMAGED):
            found[name.decode()] = msgspec.json.decode(value)
    return found


async def write(broker: Broker, owner: str, changed: Mapping[str, Any]) -> None:
    """Set some and leave the others. The caller bounds names and sizes.

    Raises:
        BrokerUnavailable
    """
    if not changed:
        return
    pairs = [part for name, value in changed.items() for part in (name, msgspec.json.encode(value))]
    key = broker.keys.choices(owner)
    await broker.command("HSET", key, *pairs)
    await broker.command("EXPIRE", key, KEPT)
