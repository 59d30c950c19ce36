"""Growth of text's cost: streams at a time, and tokens of a prompt, through one server that has just been started."""

import contextlib
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benches import memory
from benches.growth_record import Axis, Measured
from benches.text import send
from benches.text_scenarios import Request, Wave, body, throughput, warm_up, words
from benches.text_servers import CONTESTANTS, Machine, Running, running
from velesio.backends.llama.discovery import demo_file
from velesio.backends.llama.options import default_threads, may_repack

_PROMPT = 48
_ANSWER = 32
"""Tokens after a prompt whose length is varied."""
_SLOTS = 64
_CONTEXT = 512
_LONGEST = 8192
"""Tokens for which SmolLM2 was trained."""
_TOGETHER = 8
"""Streams of a place of few clients, in several waves."""


@contextlib.contextmanager
def _server(folder: Path, **settings: int) -> Iterator[Running]:
    model = demo_file()
    if model is None:
        raise RuntimeError("the demo model is missing: install velesio[demo]")
    machine = Machine(model=str(model), threads=default_threads(), repack=may_repack(), **settings)
    with running(CONTESTANTS[0], machine, folder) as server:
        send(server.port, CONTESTANTS[0], warm_up(folder.name))
        yield server


@contextlib.contextmanager
def _clients(folder: Path) -> Iterator[Callable[[int], Measured]]:
    with _server(folder, slots=_SLOTS, context=_CONTEXT) as server:

        def measure(count: int) -> Measured:
            def wave(number: int) -> list[Request]:
                return [{"body": body(words(f"{count} {number} {client}", _PROMPT))} for client in range(count)]

            return _measured(server, folder, [wave(number) for number in range(max(1, _TOGETHER // count))])

        yield measure


@contextlib.contextmanager
def _prompts(folder: Path) -> Iterator[Callable[[int], Measured]]:
    with _server(folder, slots=1, context=_LONGEST) as server:

        def measure(length: int) -> Measured:
            waves = [
                [{"body": body(words(f"{length} {number}", length), _ANSWER)}] for number in range(_repeats(length))
            ]
            return _measured(server, folder, waves)

        yield measure


def _repeats(length: int) -> int:
    """Short prompts more often: a single one is over before the clock says much."""
    return max(1, min(5, 1024 // length))


def _measured(server: Running, folder: Path, asked: Sequence[Sequence[Request]]) -> Measured:
    computed = server.cpu()
    waves = [send(server.port, CONTESTANTS[0], wave) for wave in asked]
    computed = server.cpu() - computed
    return Measured(
        figures={name: round(value, 3) for name, value in figures(waves, computed).items()},
        memory_mib=server.memory(),
        broker_mib=memory.used_by_embedded(folder / "data"),
    )


def figures(waves: Sequence[Wave], computed: float) -> dict[str, float]:
    """What is told of one place; `computed` in seconds of processor time."""
    streams = [stream for wave in waves for stream in wave]
    found = throughput(waves)
    pace = [(stream.frames[-1][0] - stream.frames[0][0]) / max(1, stream.tokens - 1) for stream in streams]
    return {
        "tokens_per_s": found["tokens_per_s"],
        "first_ms": found["first_ms"],
        "token_ms": statistics.median(pace) * 1000,
        "prompt_tokens_per_s": statistics.median(stream.prompt / stream.first for stream in streams),
        "cores": computed / sum(max(stream.ended for stream in wave) for wave in waves),
    }


CLIENTS = Axis(
    name="clients",
    label="clients",
    setting=f"streams of 64 tokens to prompts of {_PROMPT}; {_SLOTS} slots with {_CONTEXT} tokens each",
    places=(1, 2, 4, 8, 16, 32, 64),
    quick=(1, 8),
    open=_clients,
)
PROMPTS = Axis(
    name="prompts",
    label="tokens of the prompt",
    setting=f"one stream of {_ANSWER} tokens at a time, nothing cached; one slot with {_LONGEST:,} tokens",
    places=(16, 64, 256, 1024, 2048, 4096, 8000),
    quick=(16, 256),
    open=_prompts,
)
