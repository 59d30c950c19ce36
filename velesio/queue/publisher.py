"""Publisher: a worker's events on their way to gateways and output logs."""

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from velesio.errors import VelesioError
from velesio.jobs import Event, is_final
from velesio.queue import wire
from velesio.queue.broker import Broker
from velesio.queue.lease import Lease

_LIMIT = 1024 * 1024
"""Bytes that a job may have waiting while the broker is away; what exceeds them comes with the final event."""
_LARGEST = 256 * 1024
"""Bytes in one message, about."""

Deliver = Callable[[wire.Note], None]


class _Outbox:
    """The notes for one stream, in order; one message at a time is on its way. No task: most of what a token costs the
    event loop is turns of it."""

    def __init__(self, broker: Broker, gateway: str, job_id: str) -> None:
        self._broker = broker
        self._log = not gateway
        self._key = broker.keys.output(job_id) if self._log else broker.keys.replies(gateway)
        self.notes: deque[tuple[Lease, bytes]] = deque()
        self.sending: list[tuple[Lease, bytes]] = []
        self._loop = asyncio.get_running_loop()
        self._next: asyncio.Handle | None = None
        """The sending to come, if nothing is on its way."""
        self._carried: asyncio.Future[Any] | None = None
        """The message on its way."""
        self._failures = 0
        self._sent: asyncio.Future[None] | None = None

    def put(self, lease: Lease, note: bytes) -> None:
        self.notes.append((lease, note))
        if self._next is None and not self.sending:
            self._next = self._loop.call_soon(self._send)

    async def rest(self, lease: Lease) -> list[bytes]:
        """The notes of a lease that are still here, taken out; those being sent are waited for."""
        while any(owner is lease for owner, _ in self.sending):
            await self._change()
        own = [note for owner, note in self.notes if owner is lease]
        if own:
            self.notes = deque((owner, note) for owner, note in self.notes if owner is not lease)
        return own

    async def empty(self) -> None:
        """Return when everything is sent."""
        while self.notes or self.sending:
            await self._change()

    def stop(self) -> None:
        """Send nothing more."""
        self.notes.clear()
        if self._next is not None:
            self._next.cancel()

    async def _change(self) -> None:
        """Return when what is on its way, now or next, has arrived or failed."""
        self._sent = self._sent or self._loop.create_future()
        await asyncio.shield(self._sent)

    def _send(self) -> None:
        self._next = None
        if self.notes:
            self.sending = self._batch()
            self._carried = self._carry(wire.message([note for _, note in self.sending]))
            self._carried.add_done_callback(self._hear)
        else:
            self._release()

    def _hear(self, carried: "asyncio.Future[Any]") -> None:
        """What became of the message on its way."""
        sending, self.sending = self.sending, []
        if carried.cancelled() or carried.exception() is not None:
            self._failures += 1
            self.notes.extendleft(reversed(sending))
            pause = min(2.0, 0.05 * 2**self._failures) * random.uniform(0.5, 1)  # noqa: S311
            self._next = self._loop.call_later(pause, self._send)
        else:
            self._failures = 0
            for lease, note in sending:
                lease.buffered -= len(note)
            if self.notes:
                self._send()
        self._release()

    def _batch(self) -> list[tuple[Lease, bytes]]:
        size, batch = 0, []
        while self.notes and size < _LARGEST:
            batch.append(self.notes.popleft())
            size += len(batch[-1][1])
        return batch

    def _release(self) -> None:
        """Have whoever waits for a change look again."""
        sent, self._sent = self._sent, None
        if sent and not sent.done():
            sent.set_result(None)

    def _carry(self, body: bytes) -> "asyncio.Future[Any]":
        """Sent twice after a lost connection, it is dropped by its numbers."""
        settings = self._broker.settings
        try:
            if not self._log:
                # No stream: the gateway is gone, nobody listens.
                return self._broker.command(
                    "XADD", self._key, "NOMKSTREAM", "MAXLEN", "~", settings.reply_length, "*", "b", body
                )
            return asyncio.gather(
                self._broker.command("XADD", self._key, "MAXLEN", "~", settings.output_length, "*", "b", body),
                self._broker.command("PEXPIRE", self._key, round(settings.result_ttl * 1000)),
            )
        except VelesioError as error:  # this process is ending
            failed: asyncio.Future[Any] = self._loop.create_future()
            failed.set_exception(error)
            return failed


class Publisher:
    """Sends the events of leased jobs; one writer for each gateway.

    A gateway in this very process gets them by a call: the way through the broker would be three more turns of the
    event loop for each token, and would save nothing, since whoever waits ends with the process. A job's end always
    goes through the broker, which must know of it.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._outboxes: dict[str, _Outbox] = {}
        self._near: dict[str, Deliver] = {}

    def join(self, gateway_id: str, deliver: Deliver) -> None:
        """A gateway lives in this process: `deliver` gets its events, in order and in the event loop."""
        self._near[gateway_id] = deliver

    def part(self, gateway_id: str) -> None:
        """It is about to close."""
        self._near.pop(gateway_id, None)

    def publish(self, lease: Lease, event: Event) -> None:
        """Send a non-final event, if anybody wants it. From the event loop; never blocks."""
        if is_final(event):
            raise ValueError("a final event goes to Leases.settle")
        if not lease.job.stream:
            return
        told = wire.Note(lease.job.id, lease.attempt, lease.seq, event)
        lease.seq += 1
        if deliver := self._near.get(lease.job.gateway):
            deliver(told)
            return
        note = wire.encode(told)
        if lease.buffered + len(note) > _LIMIT:
            return
        lease.buffered += len(note)
        self._outbox(lease).put(lease, note)

    async def rest(self, lease: Lease) -> list[bytes]:
        """What was published for a lease and not sent yet, encoded; the caller sends it."""
        outbox = self._outboxes.get(_name(lease))
        if outbox is None:
            return []
        notes = await outbox.rest(lease)
        if not lease.job.gateway:
            self._outboxes.pop(_name(lease), None)  # another's begin may have tidied it away meanwhile
        return notes

    async def close(self) -> None:
        """Wait up to two seconds for what is left to be sent, then stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2):
                for box in list(self._outboxes.values()):
                    await box.empty()
        for box in self._outboxes.values():
            box.stop()

    def _outbox(self, lease: Lease) -> _Outbox:
        name = _name(lease)
        if name not in self._outboxes:
            self._outboxes = {key: box for key, box in self._outboxes.items() if box.notes or box.sending}
            self._outboxes[name] = _Outbox(self._broker, lease.job.gateway, lease.job.id)
        return self._outboxes[name]


def _name(lease: Lease) -> str:
    return lease.job.gateway or f"/{lease.job.id}"
