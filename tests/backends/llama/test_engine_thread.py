"""Where llama.cpp computes: on the engine's thread alone, while the event loop goes on."""

import asyncio
import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from llama_cpp import llama_cpp

from tests.backends.conformance import GREEDY
from tests.backends.llama.conftest import llama
from velesio.engines import Delivery, EngineThread
from velesio.jobs import Completed, Completion, Embed, Job, Params, is_final

STREAMS = 8


async def test_the_event_loop_never_computes(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every call of `llama_decode`, for streams and for vectors, is made by the engine's thread, and the event loop
    turns meanwhile."""
    decode = llama_cpp.llama_decode
    callers: set[str] = set()
    computing = threading.Event()
    turns: list[int] = [0]

    def watched(*arguments: Any) -> Any:
        callers.add(threading.current_thread().name)
        computing.set()
        try:
            return decode(*arguments)
        finally:
            computing.clear()

    monkeypatch.setattr(llama_cpp, "llama_decode", watched)
    made = llama(smollm2, context=256, slots=STREAMS)
    card = made.models()[0]
    finals: list[Any] = []
    ended = asyncio.Event()

    def deliver(events: Sequence[Delivery]) -> None:
        finals.extend(event for _, event in events if event is not None and is_final(event))
        if len(finals) == STREAMS + 1:
            ended.set()

    async def turn() -> None:
        while not ended.is_set():
            turns[0] += computing.is_set()
            await asyncio.sleep(0.001)

    thread = EngineThread(card, functools.partial(made.load, card), deliver)
    await thread.start()
    prompts = [Completion(prompt=f"{number}, " * 8, sampling=GREEDY, max_tokens=4) for number in range(STREAMS)]
    work: list[Params] = [*prompts, Embed(inputs=("a text to embed " * 10,))]
    for params in work:
        thread.submit(Job.new(card.name, params, stream=True))
    turning = asyncio.create_task(turn())
    await ended.wait()
    await turning
    await thread.close()
    assert all(isinstance(final, Completed) for final in finals)
    assert callers == {f"engine-{card.name}_0"}
    assert turns[0] > 20, "the event loop stood still while a batch was computed"
