"""Publisher: a worker's events on their way to gateways and output logs."""

import asyncio
import random
from collections import deque

from velesio.errors import VelesioError
from velesio.jobs import Event, is_final
from velesio.queue import wire
from velesio.queue.broker import Broker
from velesio.queue.lease import Lease
from velesio.queue.tasks import spawn, stop

_LIMIT = 1024 * 1024
"""Bytes that a job may have waiting while the broker is away; what exceeds them comes with the final event."""
_LARGEST = 256 * 1024
"""Bytes in one message, about."""


class _Outbox:
    """The notes for one stream, in order, with one writer."""

    def __init__(self, broker: Broker, gateway: str, job_id: str) -> None:
        self._broker = broker
        self._log = not gateway
        self._key = broker.keys.output(job_id) if self._log else broker.keys.replies(gateway)
        self.notes: deque[tuple[Lease, bytes]] = deque()
        self.sending: list[tuple[Lease, bytes]] = []
        self.writer: asyncio.Task[None] | None = None
        self._sent: asyncio.Future[None] | None = None

    def put(self, lease: Lease, note: bytes) -> None:
        self.notes.append((lease, note))
        if self.writer is None or self.writer.done():
            self.writer = spawn(self._write(), f"publish to {self._key}")

    async def rest(self, lease: Lease) -> list[bytes]:
        """The notes of a lease that are still here, taken out; those being sent are waited for."""
        while any(owner is lease for owner, _ in self.sending):
            self._sent = self._sent or asyncio.get_running_loop().create_future()
            await asyncio.shield(self._sent)
        own = [note for owner, note in self.notes if owner is lease]
        if own:
            self.notes = deque((owner, note) for owner, note in self.notes if owner is not lease)
        return own

    async def _write(self) -> None:
        failures = 0
        while self.notes:
            self.sending = self._batch()
            try:
                await self._send(wire.message([note for _, note in self.sending]))
            except VelesioError:
                failures += 1
                self.notes.extendleft(reversed(self.sending))
                self._release()
                await asyncio.sleep(min(2.0, 0.05 * 2**failures) * random.uniform(0.5, 1))  # noqa: S311
            else:
                failures = 0
                for lease, note in self.sending:
                    lease.buffered -= len(note)
                self._release()

    def _batch(self) -> list[tuple[Lease, bytes]]:
        size, batch = 0, []
        while self.notes and size < _LARGEST:
            batch.append(self.notes.popleft())
            size += len(batch[-1][1])
        return batch

    def _release(self) -> None:
        self.sending = []
        if self._sent and not self._sent.done():
            self._sent.set_result(None)
        self._sent = None

    async def _send(self, body: bytes) -> None:
        # Sent twice after a lost connection, it is dropped by its numbers.
        settings = self._broker.settings
        if not self._log:
            # No stream: the gateway is gone, nobody listens.
            await self._broker.command(
                "XADD", self._key, "NOMKSTREAM", "MAXLEN", "~", settings.reply_length, "*", "b", body
            )
            return
        await asyncio.gather(
            self._broker.command("XADD", self._key, "MAXLEN", "~", settings.output_length, "*", "b", body),
            self._broker.command("PEXPIRE", self._key, round(settings.result_ttl * 1000)),
        )


class Publisher:
    """Sends the events of leased jobs; one writer for each gateway."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._outboxes: dict[str, _Outbox] = {}

    def publish(self, lease: Lease, event: Event) -> None:
        """Send a non-final event, if anybody wants it. From the event loop; never blocks."""
        if is_final(event):
            raise ValueError("a final event goes to Leases.settle")
        if not lease.job.stream:
            return
        note = wire.encode(wire.Note(lease.job.id, lease.attempt, lease.seq, event))
        lease.seq += 1
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
        writers = {box.writer for box in self._outboxes.values() if box.writer and not box.writer.done()}
        if writers:
            await asyncio.wait(writers, timeout=2)
        await stop(*writers)

    def _outbox(self, lease: Lease) -> _Outbox:
        name = _name(lease)
        if name not in self._outboxes:
            self._outboxes = {key: box for key, box in self._outboxes.items() if box.notes or box.sending}
            self._outboxes[name] = _Outbox(self._broker, lease.job.gateway, lease.job.id)
        return self._outboxes[name]


def _name(lease: Lease) -> str:
    return lease.job.gateway or f"/{lease.job.id}"
