"""Tokens wake who waits for them, whatever became of the connection."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.queue.worker import until
from velesio.queue.broker import Broker
from velesio.queue.wakeup import WakeUp

ONE, OTHER = ("text", "one"), ("text", "other")


@pytest.fixture
async def wake(broker: Broker) -> AsyncIterator[WakeUp]:
    """Serves two queues, both looked into and empty."""
    waking = WakeUp(broker)
    waking.serve([ONE, OTHER])
    waking.found([ONE, OTHER], set())
    yield waking
    await waking.close()


async def push(broker: Broker, queue: tuple[str, str]) -> None:
    """As `enqueue` does."""
    key = broker.keys.wake(*queue)
    await asyncio.gather(broker.command("RPUSH", key, "1"), broker.command("PEXPIRE", key, 10_000))


async def test_a_token_wakes(broker: Broker, wake: WakeUp) -> None:
    """The queue is ready until somebody finds it empty; the others are waited for meanwhile."""
    waiting = asyncio.create_task(wake.wait(5))
    await push(broker, ONE)
    assert await waiting
    assert wake.ready == {ONE}
    waiting = asyncio.create_task(wake.wait(5))
    await push(broker, OTHER)
    assert await waiting
    assert wake.ready == {ONE, OTHER}
    wake.found([ONE, OTHER], {"text:one"})
    assert wake.ready == {ONE}


async def test_nothing_comes(wake: WakeUp) -> None:
    """A wait ends by itself, and when it is interrupted; a token between two waits is not lost."""
    assert not await wake.wait(0.05)
    waiting = asyncio.create_task(wake.wait(5))
    await asyncio.sleep(0)
    wake.interrupt()
    assert not await asyncio.wait_for(waiting, 1)


async def test_a_token_between_two_waits_is_kept(broker: Broker, wake: WakeUp) -> None:
    """The wait at the server goes on while nobody waits here."""
    assert not await wake.wait(0.05)
    await push(broker, ONE)
    await until(lambda: wake.ready)
    assert wake.ready == {ONE}


async def test_a_lost_connection_is_made_anew(broker: Broker, wake: WakeUp) -> None:
    """Whoever waits goes on waiting, and is woken."""
    waiting = asyncio.create_task(wake.wait(10))

    async def blocked() -> bool:
        return b"blocked_clients:1" in await broker.command("INFO", "clients")

    await until(blocked)
    mine = await broker.command("CLIENT", "ID")
    for line in (await broker.command("CLIENT", "LIST")).splitlines():
        number = int(line.split()[0].removeprefix(b"id="))
        if number != mine:
            await broker.command("CLIENT", "KILL", "ID", number)
    await until(blocked)
    await push(broker, ONE)
    assert await waiting
