"""Tasks that end, and loops that do not."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tests.queue.worker import until
from velesio.errors import BrokerUnavailable
from velesio.queue import tasks
from velesio.queue.tasks import Loop, spawn, stop


async def test_stop_insists() -> None:
    """A task that loses its first cancellations is stopped all the same."""
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 3:
                    raise

    task = spawn(stubborn(), "stubborn")
    await asyncio.sleep(0)
    await stop(task, None)
    assert task.cancelled()
    assert swallowed == 3


async def test_stop_takes_what_tasks_raise() -> None:
    """A task that ended with an error is no trouble."""

    async def failing() -> None:
        raise ValueError

    task = spawn(failing(), "failing")
    await asyncio.sleep(0)
    await stop(task)


async def test_a_loop_survives_its_turns() -> None:
    """Neither an absent broker nor a defect ends it; close does."""
    errors = [BrokerUnavailable(), ValueError("defect")]
    turns = 0

    async def turn() -> None:
        nonlocal turns
        turns += 1
        if errors:
            raise errors.pop()

    loop = Loop("test", turn, retry=0.001)
    loop.start()
    await until(lambda: turns > 5)
    await loop.close()
    before = turns
    await asyncio.sleep(0.01)
    assert turns == before


async def test_a_loop_can_be_hurried() -> None:
    """The next turn then comes at once, also where that is wanted in the midst of a turn."""
    turns = 0

    async def turn() -> None:
        nonlocal turns
        turns += 1
        if turns == 2:
            loop.hurry()

    loop = Loop("test", turn, pause=60)
    loop.start()
    await until(lambda: turns == 1)
    loop.hurry()
    await until(lambda: turns == 3)
    await asyncio.sleep(0.01)
    await loop.close()
    assert turns == 3


@given(st.floats(0, 1e6), st.floats(0, 60))
def test_loops_that_turn_seldom_wake_together(now: float, pause: float) -> None:
    """Never later than their pause, never much sooner, and all at the same moments; short pauses are kept."""
    rest = tasks._until(now, pause)
    if pause < tasks._GRID:
        assert rest == pause
        return
    assert -1e-6 <= rest <= pause + 1e-6
    assert rest > pause - tasks._GRID - 1e-6
    place = (now + rest - tasks._PHASE) / tasks._GRID
    assert abs(place - round(place)) < 1e-3
