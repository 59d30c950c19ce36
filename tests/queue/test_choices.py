"""Options that a client has set."""

from velesio.queue import choices
from velesio.queue.broker import Broker


async def test_each_owner_has_its_own(broker: Broker) -> None:
    """Any JSON comes back as it was; what is not named stays; others see nothing of it."""
    await choices.write(broker, "me", {"a": 1, "b": ["x", None], "c": "\N{CAT}"})
    await choices.write(broker, "me", {"a": 2.5})
    await choices.write(broker, "me", {})
    assert await choices.read(broker, "me") == {"a": 2.5, "b": ["x", None], "c": "\N{CAT}"}
    assert await choices.read(broker, "other") == {}


async def test_they_are_forgotten(broker: Broker) -> None:
    """A month after the last change."""
    await choices.write(broker, "me", {"a": 1})
    left = await broker.command("TTL", broker.keys.choices("me"))
    assert 0 < left <= choices.KEPT
