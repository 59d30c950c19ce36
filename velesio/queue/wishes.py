"""Wishes: which models workers shall have loaded, as gateways and operators tell them.

A wish stands in the broker, where every beat of its worker reads it, for long enough to be read more than once; a
message on the worker's channel makes it beat at once. A worker shows by its states which wish it has fulfilled last.
"""

import contextlib
import time
from collections.abc import Callable, Sequence

import msgspec

from velesio.errors import DeadlineExceeded, ModelLoadFailed, NoWorker, Unreadable
from velesio.queue import wire
from velesio.queue.broker import Broker
from velesio.queue.registry import Registry, WorkerInfo
from velesio.states import ModelState, Wish

_BEATS = 12
"""Beats for which a wish can be read."""

_wish: Callable[[bytes], Wish] = wire.reader(Wish)


def read_wishes(bodies: Sequence[bytes]) -> list[Wish]:
    """What a beat found; what a newer release wrote and this one cannot read is left out."""
    wishes = []
    for body in bodies:
        with contextlib.suppress(Unreadable):
            wishes.append(_wish(body))
    return wishes


class Told(msgspec.Struct, frozen=True):
    """A wish, and the workers that were told of it."""

    wish: Wish
    workers: tuple[str, ...]


async def load(
    broker: Broker, registry: Registry, model: str, keep_alive: float | None = None, *, pinned: bool | None = None
) -> Told:
    """Have a model loaded by a worker that serves it: those that have it already get the `keep_alive` (s after the
    last job; 0: none, negative: for ever; None: as it is), else the one with least to do loads it. One that is `pinned`
    stays loaded whatever else is wanted, until it is unloaded or a wish says otherwise.

    Raises:
        NoWorker: nobody serves it.
        BrokerUnavailable
    """
    serving = _serving(registry, model)
    if not serving:
        raise NoWorker(retry_after=5)
    having = [worker for worker in serving if worker.state_of(model).state in {"loaded", "loading"}]
    chosen = having or [min(serving, key=lambda worker: _burden(worker, model))]
    return await _tell(broker, chosen, Wish(number=0, model=model, loaded=True, keep_alive=keep_alive, pinned=pinned))


async def release(broker: Broker, registry: Registry, model: str) -> Told:
    """Let a pinned model be unloaded again, wherever it is pinned.

    Raises:
        BrokerUnavailable
    """
    pinned = [worker for worker in _serving(registry, model) if worker.state_of(model).pinned]
    return await _tell(broker, pinned, Wish(number=0, model=model, loaded=True, pinned=False))


async def unload(broker: Broker, registry: Registry, model: str) -> Told:
    """Have a model unloaded wherever it is loaded, when the jobs that hold it have ended. Later jobs load it again.

    Raises:
        BrokerUnavailable
    """
    having = [worker for worker in _serving(registry, model) if worker.state_of(model).state in {"loaded", "loading"}]
    return await _tell(broker, having, Wish(number=0, model=model, loaded=False))


async def fulfilled(registry: Registry, told: Told, patience: float) -> list[ModelState]:
    """Wait, up to `patience` s, until every worker that was told and still lives has done what it could; answers their
    states.

    Raises:
        ModelLoadFailed: no worker could load it; with the reason of one.
        NoWorker: those that were told have left.
        DeadlineExceeded: it takes longer.
    """
    end = time.monotonic() + patience
    while True:
        states = [worker.state_of(told.wish.model) for worker in registry.workers() if worker.id in told.workers]
        if all(state.wish >= told.wish.number for state in states):  # a later wish has taken the place of this one
            return _checked(told, states)
        left = end - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"{told.wish.model}: not {_verb(told.wish)} within {patience:g} seconds")
        await registry.changed(left)


def _checked(told: Told, states: list[ModelState]) -> list[ModelState]:
    if not told.wish.loaded:
        return states
    if not states:
        raise NoWorker(retry_after=5)
    reasons = [state.reason for state in states if state.state == "failed"]
    if len(reasons) == len(states):
        raise ModelLoadFailed(reasons[0])
    return states


def _verb(wish: Wish) -> str:
    return "loaded" if wish.loaded else "unloaded"


def _serving(registry: Registry, model: str) -> list[WorkerInfo]:
    return [
        worker
        for worker in registry.workers()
        if worker.state == "ready" and any(card.name == model for card in worker.cards)
    ]


def _burden(worker: WorkerInfo, model: str) -> tuple[bool, int, int]:
    """What speaks against loading the model there: it failed to, it has jobs, it has other models loaded."""
    states = worker.models()
    others = sum(state.state in {"loaded", "loading"} for state in states.values())
    return worker.state_of(model).state == "failed", len(worker.jobs), others


async def _tell(broker: Broker, workers: Sequence[WorkerInfo], draft: Wish) -> Told:
    """`draft` becomes a wish by the number that it gets."""
    seconds, micros = await broker.command("TIME")
    number = int(seconds) * 1_000_000 + int(micros)
    wish = msgspec.structs.replace(draft, number=number)
    life = max(60, round(_BEATS * broker.settings.beat))
    for worker in workers:
        key = broker.keys.wishes(worker.id)
        await broker.command("HSET", key, wish.model, msgspec.msgpack.encode(wish))
        await broker.command("EXPIRE", key, life)
        # A hint to beat now: the next beat finds the wish in any case.
        await broker.command("PUBLISH", broker.keys.cancels(worker.id), "")
    return Told(wish, tuple(worker.id for worker in workers))
