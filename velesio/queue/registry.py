"""Registry: which workers live and which models they serve, as a local copy that is never older than a second."""

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from velesio.backends.base import ModelCard
from velesio.errors import ModelNotFound, NoWorker, Unreadable
from velesio.jobs import Capability
from velesio.nearest import nearest, quoted
from velesio.queue import wire
from velesio.queue.broker import Broker
from velesio.queue.listener import Listener
from velesio.queue.tasks import Loop
from velesio.states import Counts, ModelState

_MAKES: Mapping[Capability, str] = {"text": "text", "image": "pictures"}

_FRESH = 1.0
_REMEMBER = 86400.0
_REPEAT = 600.0
_QUIET = 7 * 86400
DRAIN = "drain"


class WorkerInfo(Struct, frozen=True, kw_only=True, dict=True):
    """A worker as it described itself at its last beat."""

    id: str
    name: str = ""
    """The configured worker id; `id` has a part that is new at each start."""
    host: str = ""
    pid: int = 0
    version: str = ""
    state: str = "ready"
    """`ready`, or `quiet` when it takes no more jobs; `unreadable`: a release that describes itself otherwise."""
    cards: list[ModelCard] = []
    jobs: list[str] = []
    slots: int = 0
    beat: float = 0.0
    """Unix seconds of the broker's clock."""
    info: dict[str, Any] = {}
    """What the worker gave to `Leases.advertise`."""

    def models(self) -> dict[str, ModelState]:
        """The states of the models that it serves, as far as it tells."""
        return self._models  # read once: a list of models asks for each of them

    @functools.cached_property
    def _models(self) -> dict[str, ModelState]:
        try:
            return msgspec.convert(self.info.get("models", {}), dict[str, ModelState])
        except msgspec.ValidationError:  # a newer release's
            return {}

    def counts(self, model: str) -> Counts:
        """What it has computed with one of them, as far as it tells."""
        try:
            return msgspec.convert(self.info.get("counts", {}).get(model, {}), Counts)
        except (msgspec.ValidationError, AttributeError):  # a newer release's
            return Counts()

    def state_of(self, model: str) -> ModelState:
        """The state of one of them."""
        return self.models().get(model, ModelState())


class _Memory(Struct, frozen=True):
    """A model that was served once."""

    card: ModelCard
    seen: float


_info: Callable[[bytes], WorkerInfo] = wire.reader(WorkerInfo)
_cards = msgspec.msgpack.Decoder(list[ModelCard])
_card = msgspec.msgpack.Decoder(ModelCard)
_raw_cards = msgspec.msgpack.Decoder(list[msgspec.Raw])
_memory: Callable[[bytes], _Memory] = wire.reader(_Memory)


class Registry:
    """A local copy of the workers and models of one installation."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._key = f"{broker.keys.root}cards"
        self._workers: list[WorkerInfo] = []
        self._known: dict[str, _Memory] = {}
        self._written = 0.0
        self._waiters: set[asyncio.Future[None]] = set()
        self._loop = Loop("registry", self.refresh, pause=_FRESH)
        self._listener = Listener(broker, broker.keys.control, lambda _: self._loop.hurry())

    async def start(self) -> None:
        """Read once and keep fresh.

        Raises:
            BrokerUnavailable
        """
        for name, body in (await self._broker.command("HGETALL", self._key)).items():
            with contextlib.suppress(Unreadable, UnicodeError):  # a newer release's
                self._known[name.decode()] = _memory(body)
        await self.refresh()
        await self._listener.start()
        self._loop.start()

    async def close(self) -> None:
        """Stop."""
        await self._listener.close()
        await self._loop.close()

    async def refresh(self) -> None:
        """Read now."""
        found = await self._broker.run("workers", 0)
        workers = sorted(read_workers(found), key=lambda worker: worker.id)
        others = [_face(worker) for worker in workers] != [_face(worker) for worker in self._workers]
        changed = others or [worker.models() for worker in workers] != [worker.models() for worker in self._workers]
        self._workers = workers
        await self._remember(others)
        if changed:
            for waiter in self._waiters:
                waiter.set_result(None)
            self._waiters.clear()

    def find(self, name: str, capability: Capability | None = None) -> ModelCard:
        """The card for a name or alias; an empty name is the first model of that capability.

        Raises:
            NoWorker: nobody serves it now; somebody did in the last 24 hours, or no name was given.
            ModelNotFound: nobody knows it; the message has the names nearby.
        """
        for card in self.cards():
            if _fits(card, name, capability):
                return card
        if not name and capability:
            raise NoWorker(
                f"no worker serves a model that makes {_MAKES[capability]} at the moment; try again later",
                retry_after=5,
            )
        if not name or any(_fits(memory.card, name, capability) for memory in self._known.values()):
            raise NoWorker(retry_after=5)
        raise self._unknown(name, capability)

    def cards(self) -> list[ModelCard]:
        """The models that ready workers serve, one card for each name, in the order of the workers' own lists."""
        found: dict[str, ModelCard] = {}
        for worker in self._workers:
            if worker.state == "ready":
                for card in worker.cards:
                    found.setdefault(card.name, card)
        return list(found.values())

    def remembered(self) -> list[str]:
        """Names of the models that were served in the last day, perhaps by nobody now."""
        return sorted(self._known)

    def workers(self) -> list[WorkerInfo]:
        """The workers that live."""
        return list(self._workers)

    def serving(self, name: str) -> bool:
        """Whether a ready worker serves the model."""
        return any(_fits(card, name, None) for card in self.cards())

    def states(self, name: str) -> list[ModelState]:
        """The states of a model at the ready workers that serve it."""
        return [
            worker.state_of(name)
            for worker in self._workers
            if worker.state == "ready" and any(card.name == name for card in worker.cards)
        ]

    async def quiet(self, worker: str) -> list[str]:
        """Tell workers, by id or name, to take nothing new; answers their ids."""
        return await self._order(worker, "quiet")

    async def resume(self, worker: str) -> list[str]:
        """Tell quiet workers, by id or name, to go on; answers their ids."""
        return await self._order(worker, "")

    async def drain(self, worker: str) -> list[str]:
        """Tell workers, by id or name, to finish what they hold, give back the rest and leave; answers their ids."""
        return await self._order(worker, DRAIN)

    async def _order(self, worker: str, order: str) -> list[str]:
        found = [info.id for info in self._workers if worker in {info.id, info.name}]
        for owner in found:
            key = self._broker.keys.quiet(owner)
            await (self._broker.command("SET", key, order, "EX", _QUIET) if order else self._broker.command("DEL", key))
            # A hint to beat now: the next beat finds the order in any case.
            await self._broker.command("PUBLISH", self._broker.keys.cancels(owner), "")
        return found

    async def changed(self, timeout: float) -> bool:  # noqa: ASYNC109 - part of the contract: False, not an error
        """Wait for the next change of workers, models or their states. False: none within `timeout` s."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await asyncio.wait({waiter}, timeout=timeout)
        finally:
            self._waiters.discard(waiter)
        return waiter.done()

    async def _remember(self, changed: bool) -> None:
        """Keep cards for a day after their last worker, for gateways that start later too."""
        now = time.time()
        if not changed and now - self._written < _REPEAT:
            return
        current = {card.name: _Memory(card, now) for card in self.cards()}
        self._known = {name: old for name, old in self._known.items() if now - old.seen < _REMEMBER} | current
        self._written = now
        if current:
            pairs = [item for name, memory in current.items() for item in (name, wire.encode(memory))]
            await asyncio.gather(
                self._broker.command("HSET", self._key, *pairs),
                self._broker.command("PEXPIRE", self._key, round(_REMEMBER * 1000)),
            )

    def _unknown(self, name: str, capability: Capability | None) -> ModelNotFound:
        cards = [memory.card for memory in self._known.values()]
        names = [card.name for card in cards if capability in {None, card.capability}]
        near = nearest(name, names, 3, 0.5)
        hint = f" Did you mean {' or '.join(near)}?" if near else f" Known: {', '.join(sorted(names)) or 'none'}."
        return ModelNotFound(f"The model {quoted(name)} does not exist.{hint}", param="model")


def _fits(card: ModelCard, name: str, capability: Capability | None) -> bool:
    return capability in {None, card.capability} and (not name or name == card.name or name in card.aliases)


def _face(worker: WorkerInfo) -> tuple[str, str, list[ModelCard]]:
    """What counts as a change when it differs."""
    return worker.id, worker.state, worker.cards


def read_workers(found: Iterable[Any]) -> list[WorkerInfo]:
    """Workers from what `workers` answers. One that cannot be read is told as far as it can: it serves nothing that
    is known here, and must not hide the others."""
    return [_read(*line) for line in found]


def _read(owner: bytes, beat: bytes, cards: bytes, info: bytes) -> WorkerInfo:
    name = owner.decode(errors="replace")
    try:
        told = _info(info)
    except Unreadable:
        return WorkerInfo(id=name, state="unreadable", beat=_seconds(beat))
    return msgspec.structs.replace(told, id=name, cards=_read_cards(cards), beat=_seconds(beat))


def _seconds(milliseconds: bytes) -> float:
    with contextlib.suppress(ValueError):
        return float(milliseconds) / 1000
    return 0.0


def _read_cards(body: bytes) -> list[ModelCard]:
    """The models that a worker serves; what a newer release serves and this one does not know is left out."""
    try:
        return _cards.decode(body)
    except wire.DAMAGED:
        known: list[ModelCard] = []
        with contextlib.suppress(*wire.DAMAGED):
            for raw in _raw_cards.decode(body):
                with contextlib.suppress(*wire.DAMAGED):
                    known.append(_card.decode(raw))
        return known
