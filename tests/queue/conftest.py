"""Fixtures of the queue's tests."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import redis

from tests.queue.driver import Driver
from velesio.config import QueueSection, RedisSection
from velesio.queue.broker import Broker

Connect = Callable[..., Awaitable[Broker]]


@pytest.fixture
def client(valkey_url: str) -> Iterator[redis.Redis]:
    """A synchronous client on an empty server."""
    with redis.Redis.from_url(valkey_url, protocol=3, legacy_responses=False) as client:
        client.flushall()
        yield client


@pytest.fixture
def make_driver(client: redis.Redis) -> Callable[..., Driver]:
    """The scripts made with some settings: `make_driver(cap=3)`."""
    return lambda **settings: Driver(client, QueueSection(**settings))


@pytest.fixture
def driver(make_driver: Callable[..., Driver]) -> Driver:
    """The scripts with the default settings."""
    return make_driver()


@pytest.fixture
async def connect(broker: Broker, valkey_url: str) -> AsyncIterator[Connect]:
    """More brokers on the server of `broker`, with settings of their own: `await connect(lease=1.0)`."""
    opened: list[Broker] = []

    async def open_one(**settings: Any) -> Broker:
        opened.append(await Broker.connect(RedisSection(url=valkey_url), QueueSection(**settings)))
        return opened[-1]

    yield open_one
    for one in opened:
        await one.close()
