"""Leases: a worker's timed, renewable rights to jobs."""

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
import structlog

from velesio import metrics
from velesio.backends.base import ModelCard
from velesio.errors import BrokerUnavailable, Unreadable, VelesioError
from velesio.jobs import Failed, Final
from velesio.queue import endings, wire
from velesio.queue.blobs import NO_ROOM, BlobGone
from velesio.queue.broker import Broker
from velesio.queue.description import Description
from velesio.queue.heartbeat import Heartbeat, Held, Report
from velesio.queue.lease import ENOUGH, LOST, Lease
from velesio.queue.line import Argument
from velesio.queue.listener import Listener
from velesio.queue.prefixes import Remembered, fingerprints
from velesio.queue.publisher import Publisher
from velesio.queue.recall import CannotContinue, NoAnswer, recall
from velesio.queue.registry import DRAIN
from velesio.queue.series import Meter, note_first_text
from velesio.queue.tasks import Loop, spawn
from velesio.queue.transcript import WORKER_LOST
from velesio.queue.wakeup import WakeUp
from velesio.queue.wishes import read_wishes
from velesio.states import Wish

log = structlog.get_logger(__name__)

__all__ = ["Lease", "Leases"]

_AGAIN = 0.1
"""Seconds until jobs are asked for again that the broker has leased to us and that did not arrive."""

_BODY = 9
"""Place of a job's body among the fields that `take` tells of it."""
_T = TypeVar("_T")


class Leases:
    """The leases of one worker.

    `on_abort(job_id, reason)` is called in the event loop when a job is cancelled (with the reason given), is overdue
    (`deadline`) or belongs to somebody else by now (`lost`); the job is still to be settled, which does nothing then.
    """

    def __init__(
        self,
        broker: Broker,
        publisher: Publisher,
        worker_id: str,
        on_abort: Callable[[str, str], None],
        on_drain: Callable[[], None] = lambda: None,
        *,
        on_wish: Callable[[Wish], None] = lambda _: None,
        on_enough: Callable[[str], None] = lambda _: None,
        on_death: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        """`on_drain()` is called in the event loop, once, when an operator tells the worker to leave, `on_wish(wish)`
        once for each wish about one of its models, `on_enough(job_id)` when the reasoning of a job has gone on for long
        enough, `on_death(error)` when a defect keeps the leases from being renewed."""
        # New at each start: leases of an earlier life under the same name must run out, not be renewed.
        self.owner = f"{worker_id}.{secrets.token_hex(3)}"
        self._broker = broker
        self._publisher = publisher
        self._on_abort = on_abort
        self._on_drain = on_drain
        self._on_wish = on_wish
        self._on_enough = on_enough
        self._on_death = on_death
        self._heard: set[tuple[str, int]] = set()
        """The wishes that the broker still holds."""
        self._running: dict[str, Lease] = {}
        self._cards: tuple[ModelCard, ...] = ()
        self._description = Description(self.owner, worker_id)
        self._leaving = False
        self._told_to_rest = False
        self._told_to_leave = False
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._first_beat: asyncio.Future[None] | None = None
        self._room_changed = asyncio.Event()
        self._interrupted = False
        self._asking = asyncio.Lock()
        """Held while jobs are on their way from the broker."""
        self._wake = WakeUp(broker)
        self._swept = 0.0
        self._recover = False
        self._early: dict[str, str] = {}
        """Orders that came before the leases that they are for: id → reason."""
        self._cached = Remembered()
        self.meter = Meter(broker)
        """Counts what the leases come to, for the series of the last hour."""
        self._heart = Heartbeat(
            broker, self.owner, self._held, self._describe, self._hear_from_thread, die=self._die_from_thread
        )
        self._orders = Listener(broker, broker.keys.cancels(self.owner), self._order)
        self._sweeper = Loop("sweep", self._sweep, pause=broker.settings.reclaim_interval)

    def advertise(self, cards: Sequence[ModelCard], info: Callable[[], dict[str, Any]]) -> None:
        """What the registry shows: the models, and `info()` at each beat (called in the beat's thread)."""
        self._cards = tuple(cards)
        self._description.own = info
        self._wake.serve([(card.capability, card.name) for card in cards])
        self.announce()

    def announce(self) -> None:
        """Tell everybody at once that what the worker says of itself has changed."""
        if self._first_beat:
            self._heart.now()

    async def start(self) -> None:
        """Register the worker; returns after its first beat.

        Raises:
            BrokerUnavailable: no beat within three times `redis.timeout`.
        """
        self._loop = asyncio.get_running_loop()
        self._first_beat = self._loop.create_future()
        self._heart.start()
        self._sweeper.start()
        self.meter.start()
        await asyncio.gather(
            self._orders.start(), asyncio.wait({self._first_beat}, timeout=max(2.0, 3 * self._broker.timeout))
        )
        if not self._first_beat.done():
            await self.close()
            raise BrokerUnavailable

    async def take(self, room: Mapping[str, int], *, wait: float = 1.0) -> list[Lease]:
        """Up to `room[model]` leases for each model; waits up to `wait` s for the first. No job gets lost if this is
        cancelled: what was under way comes with the next call, or is given back by `close`."""
        until = time.monotonic() + wait
        self._interrupted = False
        models: list[tuple[str, str]] = [
            (card.capability, card.name) for card in self._cards if room.get(card.name, 0) > 0
        ]
        if not models or self._quiet or any(lease.alone for lease in self._running.values()):
            await self._until_room_changes(wait)
            return []
        while True:
            if self._worth_asking(models) and (leases := await self._ask(room)):
                return leases
            left = until - time.monotonic()
            if left <= 0 or self._quiet or self._interrupted:
                return []
            woken = await self._wake.wait(min(left, _AGAIN) if self._recover else left)
            if not woken and not self._recover:
                return []

    def interrupt(self) -> None:
        """Have a `take` that waits return: there is room now that it does not know of."""
        self._interrupted = True
        self._room_changed.set()
        self._wake.interrupt()

    async def settle(self, lease: Lease, final: Final) -> bool:
        """End a lease, after all events published for it. False: somebody else has the job by now.

        A `Failed` with `retry` gives the job another attempt while there are any. Waits for the broker for as long
        as it is away.
        """
        final = endings.as_meant(lease, final)
        note_first_text(lease, final)
        notes = await self._publisher.rest(lease)
        if lease.ending == LOST:
            return self._over(lease, ended=False)
        return await self._settle(lease, final, notes)

    async def _settle(self, lease: Lease, final: Final, notes: list[bytes]) -> bool:
        final, event, result = await self._broker.blobs.fit(lease.job.id, final, self._broker.settings.max_result)
        message = wire.message([*notes, wire.encode(wire.Note(lease.job.id, lease.attempt, lease.seq, event))])
        name, arguments = endings.script(lease, final, result, message, self._broker.settings.retry_delay)
        answer = await self._insist(lambda: self._broker.run(name, self.owner, lease.job.id, lease.attempt, *arguments))
        if answer == b"ROOM":
            return await self._settle(lease, NO_ROOM, notes)
        if answer in {b"OK", b"AGAIN"} and not isinstance(final, Failed):
            await self._broker.blobs.drop(lease.payload)  # a failed job can be queued again
        endings.count(answer, final)
        if answer in {b"OK", b"DEAD"}:
            self.meter.ended(lease, final)
        return self._over(lease, ended=answer not in {None, b"STALE"})

    def forsake(self, lease: Lease) -> None:
        """Renew it no more: it runs out, and the job is another worker's, or this one's anew."""
        self._over(lease, ended=False)

    async def release(self, lease: Lease) -> None:
        """Give the job back to its old place, without counting the attempt."""
        await self._publisher.rest(lease)
        await self._insist(lambda: self._broker.run("release", self.owner, lease.job.id, lease.attempt, 0))
        self._over(lease, ended=True)

    async def quiet(self) -> None:
        """Take nothing from now on; what is leased stays."""
        self._leaving = True
        self._room_changed.set()
        self._heart.now()
        await self._wake.close()
        await self._give_back()

    async def close(self) -> None:
        """Give back whatever is still leased and leave the registry."""
        self._leaving = True
        await self._wake.close()
        await self._sweeper.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await self._give_back()
        self._closed = True
        await asyncio.gather(*[self.release(lease) for lease in self._running.values()])
        self._heart.stop()
        await self._orders.close()
        await asyncio.to_thread(self._heart.join)
        with contextlib.suppress(VelesioError):  # it will be missed soon enough
            await self.meter.close()
            await self._broker.run("leave", self.owner)

    @property
    def _quiet(self) -> bool:
        return self._leaving or self._told_to_rest

    # Taking

    def _worth_asking(self, models: list[tuple[str, str]]) -> bool:
        overdue = time.monotonic() - self._swept > self._broker.settings.reclaim_interval
        return overdue or self._recover or any(model in self._wake.ready for model in models)

    async def _ask(self, room: Mapping[str, int]) -> list[Lease]:
        async with self._asking:
            known = set(self._running)
            try:
                return await self._take(room)
            except asyncio.CancelledError:
                # What the broker has given, or will give, is nobody's: the next call brings it again.
                self._recover = True
                self._running = {job_id: lease for job_id, lease in self._running.items() if job_id in known}
                raise

    async def _give_back(self) -> None:
        """Release what a call of `take` that was cancelled, or whose answer got lost, may have leased."""
        async with self._asking:  # a call under way ends first, and its caller has the leases
            recover = self._recover
        if recover:
            for lease in await self._ask({}):
                await self.release(lease)

    async def _take(self, room: Mapping[str, int]) -> list[Lease]:
        recover, self._recover = self._recover, False
        asked = [card for card in self._cards if recover or room.get(card.name, 0) > 0]
        try:
            leases, more, now = await self._broker.run("take", *self._request(asked, room, recover), retry=False)
        except VelesioError as error:
            if not isinstance(error, BrokerUnavailable):
                log.exception("cannot take jobs")
            self._recover = True  # it may have leased jobs to us and the answer got lost
            await asyncio.sleep(random.uniform(0.05, 0.2))  # noqa: S311 - spreads the workers' return
            return []
        self._swept = time.monotonic()
        left = {queue.decode() for queue in more}
        self._wake.found([(card.capability, card.name) for card in asked], left)
        taken = []
        payloads = await self._broker.blobs.unpack_all([line[5][_BODY] for line in leases])
        for line, payload in zip(leases, payloads, strict=True):
            try:
                if isinstance(payload, BlobGone):
                    await endings.refuse(self._broker, self.owner, line, payload)
                elif isinstance(payload, VelesioError):
                    self._recover = True  # the broker hands it over once more
                else:
                    taken.append(self._begin(line, payload, now))
            except Unreadable as error:
                await endings.pass_on(self._broker, self.owner, line, error)
        self._early.clear()
        if all(lease.attempt == 1 for lease in taken):  # nothing to resume, and no task needed to find that out
            return taken
        # Together: a gateway that does not answer keeps each waiting for seconds.
        return [lease for lease in await asyncio.gather(*map(self._resume, taken)) if lease]

    def _request(self, cards: list[ModelCard], room: Mapping[str, int], recover: bool) -> list[Argument]:
        arguments: list[Argument] = [self.owner, 0, len(self._running), int(recover), len(cards)]
        for card in cards:
            arguments += [card.capability, card.name, min(room.get(card.name, 0), 100)]
        cached = self._cached.all()
        arguments += [len(cached), *cached]
        return arguments + ([lease.entry for lease in self._running.values()] if recover else [])

    def _begin(self, line: list[Any], payload: bytes, now: int) -> Lease:
        job_id, attempt, crashes, entry, releases, fields = line
        job = wire.read_job(job_id, [*fields[:_BODY], payload, *fields[_BODY + 1 :]])
        lease = Lease(job, attempt, crashes, releases, entry.decode())
        if payload is not fields[_BODY]:
            lease.payload = fields[_BODY]
        lease.ending = self._early.pop(job.id, "")
        if earlier := self._running.get(job.id):
            self._abort(earlier, LOST)  # it was taken from us without our noticing, and now comes back
        self._running[job.id] = lease
        self._cached.add(fingerprints(job))
        lease.waited = max(0.0, (now - float(fields[8])) / 1000)
        metrics.child(metrics.queue_seconds, job.model).observe(lease.waited)
        if crashes:
            metrics.reclaims.inc()
        return lease

    async def _resume(self, lease: Lease) -> Lease | None:
        """The lease with what an earlier attempt already sent; None if it was given back or ended here."""
        job = lease.job
        card = next((card for card in self._cards if card.name == job.model), None)
        if lease.attempt == 1 or not job.stream or job.capability == "image":
            return lease  # a picture's progress may begin again: readers see it when it gets further than before
        try:
            if card is None or not card.can_continue:
                return lease if job.gateway else await self._begin_anew(lease)
            sent = await recall(self._broker, job.id, job.gateway, lease.attempt)
        except CannotContinue:
            if job.gateway:
                await self.settle(lease, WORKER_LOST)
                return None
            return await self._begin_anew(lease)
        except (NoAnswer, BrokerUnavailable):
            # Starting anew could send the reader the beginning twice.
            await self.release(lease)
            return None
        lease.job = msgspec.structs.replace(job, sent=sent)
        return lease

    async def _begin_anew(self, lease: Lease) -> Lease | None:
        """A background job loses nothing by it: its readers are told that what they have is void."""
        answer = await self._insist(lambda: self._broker.run("restart", self.owner, lease.job.id, lease.attempt))
        if answer == b"OK":
            return lease
        self._over(lease, ended=False)  # somebody else has it
        return None

    async def _until_room_changes(self, wait: float) -> None:
        self._room_changed.clear()
        waiter = spawn(self._room_changed.wait(), "room")
        try:
            await asyncio.wait({waiter}, timeout=wait)
        finally:
            waiter.cancel()

    # Ending

    def _over(self, lease: Lease, *, ended: bool) -> bool:
        if self._running.get(lease.job.id) is lease:
            del self._running[lease.job.id]
        self._room_changed.set()
        return ended

    async def _insist(self, call: Callable[[], Awaitable[_T]]) -> _T | None:
        """The broker's answer, however long it is away; None if this worker closes meanwhile."""
        failures = 0
        while True:
            try:
                return await call()
            except BrokerUnavailable:
                failures += 1
                if self._closed:
                    return None  # the lease runs out and the job is taken up by another
                await asyncio.sleep(min(2.0, 0.1 * 2**failures) * random.uniform(0.5, 1))  # noqa: S311

    # Beating

    def _held(self) -> Held:
        return [(lease.job.id, lease.attempt, lease.silence) for lease in list(self._running.values())]

    def _describe(self) -> tuple[bytes, bytes]:
        return self._description.encode(self._cards, list(self._running), quiet=self._quiet)

    def _hear_from_thread(self, report: Report) -> None:
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._hear, report)

    def _die_from_thread(self, error: Exception) -> None:
        if self._loop and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._on_death, error)

    def _hear(self, report: Report) -> None:
        if self._first_beat and not self._first_beat.done():
            self._first_beat.set_result(None)
        for job_id, attempt in report.lost:
            lease = self._running.get(job_id)
            if lease and lease.attempt == attempt:
                self._abort(lease, LOST)
        for job_id, reason in report.aborts:
            self._order(f"{job_id} {reason}".encode())
        if bool(report.order) != self._told_to_rest:
            self._told_to_rest = bool(report.order)
            self._heart.now()
        if report.order == DRAIN and not self._told_to_leave:
            self._told_to_leave = True
            self._on_drain()
        self._hear_wishes(read_wishes(report.wishes))

    def _hear_wishes(self, wishes: Sequence[Wish]) -> None:
        """They stay with the broker for a while, so that none is lost with an answer."""
        for wish in wishes:
            if (wish.model, wish.number) not in self._heard:
                self._on_wish(wish)
        self._heard = {(wish.model, wish.number) for wish in wishes}

    def _order(self, message: bytes) -> None:
        if not message:
            self._heart.now()  # just connected, or there are orders to fetch
        job_id, _, reason = message.decode().partition(" ")
        lease = self._running.get(job_id)
        if reason == ENOUGH:
            if lease:
                self._on_enough(job_id)
        elif lease and not lease.ending:
            self._abort(lease, reason or "cancelled")
        elif job_id and not lease and self._asking.locked():
            self._early[job_id] = reason or "cancelled"  # the job is perhaps just being handed over

    def _abort(self, lease: Lease, reason: str) -> None:
        if lease.ending == LOST:
            return
        lease.ending = reason
        self._on_abort(lease.job.id, reason)

    async def _sweep(self) -> None:
        await self._broker.run("sweep", 0, 0)
        await self._broker.blobs.sweep()
