"""Relay: batches on their way to a client that are no job's answers to it: a log, news, a recording."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Generic, TypeVar

from velesio.errors import VelesioError

T = TypeVar("T")


class Relay(Generic[T]):
    """Batches with the index that streams of several jobs have; whoever ends the server can end them."""

    def __init__(self, batches: AsyncGenerator[Sequence[T], None]) -> None:
        self._batches = batches
        self._first: Sequence[T] | None = None
        self._aborted: asyncio.Future[VelesioError] = asyncio.get_running_loop().create_future()

    async def begin(self) -> bool:
        """Read the first batch. False: there is none."""
        self._first = await anext(self._batches, None)
        return self._first is not None

    def abort(self, error: VelesioError) -> None:
        """Make the iteration raise `error`, now or at its next step."""
        if not self._aborted.done():
            self._aborted.set_result(error)

    def __aiter__(self) -> "Relay[T]":
        return self

    async def __anext__(self) -> list[tuple[int, T]]:
        batch, self._first = self._first, None
        if batch is None:
            batch = await self._next()
        if batch is None:
            raise StopAsyncIteration
        return [(0, item) for item in batch]

    async def _next(self) -> Sequence[T] | None:
        reading = asyncio.create_task(self._read())
        either: set[asyncio.Future[Any]] = {reading, self._aborted}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
            await asyncio.wait({reading})
        if self._aborted.done():
            reading.cancelled() or reading.exception()  # whatever it was, the stream is over
            raise self._aborted.result()
        return reading.result()

    async def _read(self) -> Sequence[T] | None:
        return await anext(self._batches, None)
