"""Scales of a model's LoRA adapters for jobs that name none, alike for every worker: the gateway fills them in."""

import msgspec

from velesio.queue.broker import Broker

KEPT = 30 * 86400
"""Seconds after which scales are those of the configuration again."""

Scales = tuple[tuple[int, float], ...]
"""(adapter id, scale); those not named are at 0."""

_decode = msgspec.msgpack.Decoder(Scales).decode


async def read(broker: Broker, model: str) -> Scales | None:
    """What was set for the model; None: nothing, the configuration counts.

    Raises:
        BrokerUnavailable
    """
    kept = await broker.command("GET", broker.keys.adapters(model))
    return None if kept is None else _decode(kept)


async def write(broker: Broker, model: str, scales: Scales) -> None:
    """Set them for every job from now on.

    Raises:
        BrokerUnavailable
    """
    await broker.command("SET", broker.keys.adapters(model), msgspec.msgpack.encode(scales), "EX", KEPT)
