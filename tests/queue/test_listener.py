"""A subscription outlives its connection, whichever way that dies."""

import asyncio
import errno
from typing import Any

import pytest

from tests.queue.worker import until
from velesio.queue.listener import Listener

CHANNEL = "{vel}:test"


@pytest.fixture
def channels(broker, monkeypatch) -> list[Any]:
    """The subscriptions that are made, the latest last."""
    made: list[Any] = []
    connect = broker.address.channels

    def connected() -> Any:
        client = connect()
        subscribe = client.pubsub

        def subscribed() -> Any:
            made.append(subscribe())
            return made[-1]

        client.pubsub = subscribed
        return client

    monkeypatch.setattr(broker.address, "channels", connected)
    return made


async def _published(broker, heard: list[bytes], message: bytes) -> None:
    """Published until it is heard: what is sent while the connection is down is lost."""

    async def tried() -> bool:
        await broker.command("PUBLISH", CHANNEL, message)
        return message in heard

    await until(tried)


@pytest.mark.parametrize("death", ["closed", "given up"])
async def test_a_dead_connection_is_replaced(broker, channels: list[Any], death: str) -> None:
    """Closed by the server, or given up by the kernel after minutes of silence (ETIMEDOUT): the loop is not blocked,
    a new connection is made, `b""` tells of it, and messages come again."""
    heard: list[bytes] = []
    listener = Listener(broker, CHANNEL, heard.append)
    await listener.start()
    try:
        await _published(broker, heard, b"one")
        if death == "closed":
            await broker.command("CLIENT", "KILL", "TYPE", "pubsub")
        else:
            channels[0].connection._reader.set_exception(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
        async with asyncio.timeout(10):
            await until(lambda: len(channels) == 2)
            await _published(broker, heard, b"two")
        assert heard.count(b"") == 2
    finally:
        await listener.close()


async def test_a_message_that_breaks_its_hearer_is_not_the_last(broker) -> None:
    """Whatever is raised for one message, later ones are heard."""
    heard: list[bytes] = []

    def hear(message: bytes) -> None:
        heard.append(message)
        if message == b"one":
            raise TypeError(message)

    listener = Listener(broker, CHANNEL, hear)
    await listener.start()
    try:
        async with asyncio.timeout(10):
            await _published(broker, heard, b"one")
            await _published(broker, heard, b"two")
    finally:
        await listener.close()
