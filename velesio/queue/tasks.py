"""Tasks: their beginning, their repetition and their end."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from velesio.errors import BrokerUnavailable

log = structlog.get_logger(__name__)

_GRID = 0.25
"""Seconds: loops that turn less often wake together, at multiples of it. To wake for each of them by itself takes
longer, since the caches hold something else by then, and holds up whoever computes on the same cores."""
_PHASE = random.uniform(0, _GRID)  # noqa: S311
"""Where the multiples of this process lie, lest all of an installation ask the broker at once."""


async def stop(*tasks: "asyncio.Task[Any] | None") -> None:
    """Cancel tasks until they are done; what they raise is nobody's business any more.

    One `cancel` is not enough: on Python 3.11 `asyncio.wait_for`, which the Redis client puts around each write,
    loses a cancellation that coincides with the write's completion.
    """
    left: set[asyncio.Task[Any]] = {task for task in tasks if task is not None and not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=0.2)
    for ended in tasks:
        if ended is not None and not ended.cancelled():
            ended.exception()  # mark it as seen


class Loop:
    """A coroutine function called again and again until it is stopped; a broker that is away makes it wait."""

    def __init__(self, name: str, turn: Callable[[], Awaitable[None]], pause: float = 0.0, retry: float = 0.5) -> None:
        """About `pause` s lie between two turns, `retry` s after a turn that found no broker."""
        self._turn = turn
        self._pause = pause
        self._retry = retry
        self._name = name
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self._hurried = asyncio.Event()

    def start(self) -> None:
        """Begin with the first turn."""
        self._stopping = False
        self._task = spawn(self._run(), self._name)

    async def close(self) -> None:
        """End in the middle of a turn."""
        self._stopping = True
        await stop(self._task)
        self._task = None

    def hurry(self) -> None:
        """Have a turn follow at once, after the one that is under way."""
        self._hurried.set()

    async def _run(self) -> None:
        while not self._stopping:
            self._hurried.clear()
            try:
                await self._turn()
            except BrokerUnavailable:
                await asyncio.sleep(self._retry)
            except Exception:  # a defect in one turn must not end all later ones
                log.exception("a turn failed", loop=self._name)
                await asyncio.sleep(max(self._retry, self._pause))
            else:
                await self._wait()

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_until(asyncio.get_running_loop().time(), self._pause)):
                await self._hurried.wait()


def _until(now: float, pause: float) -> float:
    """Seconds from `now` on until the last multiple within a pause; the pause itself, if none lies within it."""
    last = (now + pause - _PHASE) // _GRID * _GRID + _PHASE
    return last - now if pause >= _GRID else pause


def spawn(work: Coroutine[Any, Any, Any], name: str) -> "asyncio.Task[Any]":
    """A named task."""
    return asyncio.get_running_loop().create_task(work, name=name)
