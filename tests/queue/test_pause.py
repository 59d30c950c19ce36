"""Queues that an operator has stopped."""

import pytest

from tests.queue.driver import Driver
from tests.queue.worker import done, text, working
from velesio.queue.client import JobQueue
from velesio.queue.selection import Selection, choose, purge


@pytest.mark.parametrize("queue", ["", "text:m"])
def test_nothing_is_leased_until_it_goes_on(driver: Driver, queue: str) -> None:
    """What runs goes on, what comes waits in its order."""
    driver.enqueue("a")
    [lease] = driver.take()
    assert driver.run("pause", queue, driver.now, 1) == 1
    assert driver.run("pause", queue, driver.now, 1) == 0
    driver.enqueue("b")
    driver.enqueue("c")
    assert driver.take(room=2) == []
    assert driver.more == []
    assert driver.finish(lease) == "OK"
    assert driver.run("pause", queue, driver.now, 0) == 1
    assert [lease.id for lease in driver.take(room=2)] == ["b", "c"]
    for job in "bc":
        driver.cancel(job)


def test_other_models_go_on(driver: Driver) -> None:
    """A queue is stopped by itself, and stays so when all that were stopped together go on."""
    driver.run("pause", "text:m", driver.now, 1)
    driver.run("pause", "", driver.now, 1)
    driver.enqueue("a", model="m")
    driver.enqueue("b", model="n")
    assert driver.take(room={"m": 1, "n": 1}) == []
    driver.run("pause", "", driver.now, 0)
    assert [lease.id for lease in driver.take(room={"m": 1, "n": 1})] == ["b"]
    driver.run("pause", "text:m", driver.now, 0)
    assert [lease.id for lease in driver.take(room={"m": 1, "n": 1})] == ["a"]


async def test_going_on_wakes_the_workers(broker) -> None:
    """An idle worker takes what has waited at once, and the status tells since when it did not."""
    queue = JobQueue(broker)
    async with working(broker) as worker:
        assert await queue.pause("text", "m")
        await queue.enqueue(job := text())
        assert await worker.take(wait=0.2) == []
        [depth] = (await queue.status()).models
        assert depth.paused == pytest.approx(await queue.now(), abs=5)
        assert not (await queue.status()).paused
        assert await queue.pause("text", "m", on=False)
        lease = await worker.one()
        assert lease.job.id == job.id
        await worker.leases.settle(lease, done())
        assert await queue.pause()
        assert (await queue.status()).paused
        assert await queue.pause(on=False)
    await purge(queue, await choose(queue, Selection()))
