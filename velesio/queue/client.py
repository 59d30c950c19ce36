"""Job queue as a gateway sees it: enqueue, cancel, look up, count."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from velesio import metrics, tracing
from velesio.errors import BrokerUnavailable, KeyReused, QueueFull, TenantQueueFull, Unreadable
from velesio.jobs import Capability, Job, JobState, Params, Priority
from velesio.queue import blobs, wire
from velesio.queue.broker import Broker
from velesio.queue.lease import ENOUGH
from velesio.queue.limits import Line, RateLimited, Terms, read_lines
from velesio.queue.line import Argument
from velesio.queue.prefixes import fingerprints
from velesio.queue.records import FIELDS, JobRecord, ModelDepth, QueueStatus, read_depth, read_record

__all__ = ["JobQueue", "JobRecord", "ModelDepth", "Place", "QueueStatus", "Ticket"]

_AT_ONCE = 100
_NO_TERMS = Terms()
_LONGEST = 6 * 86400.0
"""Seconds: a deadline further away is brought to this."""
_RESULT = FIELDS.index("r")


class Ticket(Struct, frozen=True):
    """A place in the queue."""

    id: str
    """The job's, or that of the earlier job with the same idempotency key."""
    position: int = 0
    """Jobs ahead of it when it was queued."""
    duplicate: bool = False
    """Whether the job was there before."""
    eta: float | None = None
    """Seconds until it begins, by the pace of its queue; None: nobody knows."""
    lines: tuple[Line, ...] = ()
    """What each limit says of the request."""
    charged: int = 0
    """When it was charged, in the broker's milliseconds."""


class Place(Struct, frozen=True):
    """Where a job stands that has not begun."""

    position: int | None = None
    """Jobs ahead of it; None: it does not stand in the queue (yet)."""
    eta: float | None = None
    """Seconds until it begins; None: nobody knows."""


class JobQueue:
    """The jobs of one installation."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._settings = broker.settings

    async def enqueue(
        self,
        job: Job,
        *,
        idempotency_key: str = "",
        fingerprint: str = "",
        delay: float = 0.0,
        terms: Terms = _NO_TERMS,
    ) -> Ticket:
        """Queue a job, at most once for each id and each tenant's `idempotency_key`; `delay` s from now. `fingerprint`
        says what a request must have in common with the earlier one under its key, in place of the job itself. The
        first job of a request is charged with all of it as `terms` say, unless it is refused.

        Raises:
            RateLimited: with what each limit says.
            QueueFull, TenantQueueFull: with `retry_after` and, in `details`, `position` and `eta` (s or None).
            KeyReused: the idempotency key belongs to another request.
            BodyTooLarge: the params or the request are larger than `blobs.max_bytes`.
            BrokerUnavailable: if it was queued nevertheless, it is cancelled when the broker is back, or kept for who
                asks again with its key.
        """
        payload, store, limit = wire.encode(job.params), self._broker.blobs, self._settings.max_payload
        same = (fingerprint or wire.fingerprint(job, payload)) if idempotency_key else ""
        params = await store.pack_input(job.id, blobs.INPUT, payload, limit)
        request = await store.pack_input(job.id, blobs.REQUEST, job.request, limit)
        try:
            status, job_id, position, wait, *more = await self._broker.run(
                "enqueue",
                *self._arguments(job, params, request, terms, key=idempotency_key, fingerprint=same, delay=delay),
            )
        except BrokerUnavailable:
            if not idempotency_key:  # who has a key finds the job with it when the broker is back
                self._broker.doubtful.add(job.id)
            raise
        self._broker.doubtful.discard(job_id.decode())
        if status not in {b"OK", b"DUP"}:
            await store.drop(params.body, request.body)
        eta = _known(wait / 1000)
        lines = read_lines(terms.subjects, more[0]) if more else []
        if status in {b"OK", b"DUP", b"IDEM"}:
            at = more[1] if more else 0
            return Ticket(job_id.decode(), position, duplicate=status != b"OK", eta=eta, lines=tuple(lines), charged=at)
        raise RateLimited(lines) if status == b"LIMIT" else _refusal(status, position, eta)

    async def refund(self, terms: Terms, jobs: int, charged: int) -> None:
        """Give back what a request was charged, at that time (ms), for so many of its jobs that were not queued after
        all; `terms` has in `own` what they were taken to use together."""
        if body := terms.packed():
            stored = msgspec.msgpack.encode(msgspec.msgpack.decode(body) | {"at": charged})
            await self._broker.run("refund", 0, jobs, stored, retry=False)

    async def cancel(self, job_id: str, reason: str = "") -> bool:
        """Cancel a job wherever it is. False: unknown or already final. A running one ends within a step.

        Raises:
            BrokerUnavailable: it is cancelled when the broker is back.
        """
        try:
            answer = await self._broker.run("cancel", job_id, 0, reason)
        except BrokerUnavailable:
            self._broker.doubtful.add(job_id)
            raise
        stage = {b"ENDED": "waiting", b"ASKED": "running"}.get(answer)
        if stage:
            metrics.cancelled.labels(stage).inc()
        return stage is not None

    async def conclude(self, job_id: str) -> bool:
        """Have the reasoning of a running job ended. False: no worker computes it now. The worker is told once; if it
        cannot hear at that moment, the reasoning goes on.

        Raises:
            BrokerUnavailable
        """
        record = await self.record(job_id)
        if record is None or record.state is not JobState.RUNNING or not record.worker:
            return False
        channel = self._broker.keys.cancels(record.worker)
        return bool(await self._broker.command("PUBLISH", channel, f"{job_id} {ENOUGH}"))

    async def record(self, job_id: str) -> JobRecord | None:
        """What is known of a job."""
        found = await self._fields(job_id)
        try:
            found[_RESULT] = await self._broker.blobs.unpack(found[_RESULT] or b"")
        except blobs.BlobGone:
            found[_RESULT] = None
        return read_record(job_id, FIELDS, found)

    async def place(self, job_id: str) -> Place:
        """Where a job stands; of one that has begun, or is unknown, nothing."""
        _, position, wait = await self._broker.run("place", job_id, 0)
        return Place(position if position >= 0 else None, _known(wait / 1000))

    async def params(self, job_id: str) -> Params | None:
        """What a job asks for; kept while it may still run, or run again."""
        body = await self._broker.command("HGET", self._broker.keys.job(job_id), "p")
        try:
            return wire.read_params(await self._broker.blobs.unpack(body)) if body else None
        except blobs.BlobGone:
            return None

    async def request(self, job_id: str) -> bytes:
        """The job's `request`; empty if it had none, or if it is gone."""
        body = await self._broker.command("HGET", self._broker.keys.job(job_id), "req") or b""
        try:
            return await self._broker.blobs.unpack(body)
        except blobs.BlobGone:
            return b""

    async def status(self) -> QueueStatus:
        """Depths and totals."""
        scheduled, dead, paused, *queues = await self._broker.run("status", 0)
        depths = [read_depth(line) for line in queues]
        return QueueStatus(models=depths, scheduled=scheduled, dead=dead, paused=paused / 1000)

    async def pause(self, capability: Capability | None = None, model: str = "", *, on: bool = True) -> bool:
        """Lease nothing more from a model's queue, or from any, until it goes on (`on` False); what runs goes on, what
        comes waits. False: it was so before."""
        queue = f"{capability}:{model}" if capability else ""
        return bool(await self._broker.run("pause", queue, 0, int(on)))

    async def now(self) -> float:
        """Unix seconds of the broker's clock."""
        seconds, micros = await self._broker.command("TIME")
        return int(seconds) + int(micros) / 1e6

    async def forget(self, job_ids: Sequence[str]) -> int:
        """Forget jobs that have ended, with all that is kept of them; answers how many there were."""
        known = 0
        for start in range(0, len(job_ids), _AT_ONCE):
            known += await self._broker.run("forget", *job_ids[start : start + _AT_ONCE])
        return known

    async def requeue(self, job_id: str, terms: Terms = _NO_TERMS) -> Ticket | None:
        """Queue a failed job again, with all its attempts before it, charged as `terms` say. None: unknown, not failed,
        or without input.

        Raises:
            RateLimited: with what each limit says.
        """
        seconds = round(self._settings.deadline * 1000)
        answer = await self._broker.run("requeue", job_id, 0, seconds, terms.packed(), retry=not terms.subjects)
        status, found = answer if isinstance(answer, list) else (answer, [])
        lines = read_lines(terms.subjects, found)
        if status == b"LIMIT":
            raise RateLimited(lines)
        return Ticket(job_id, lines=tuple(lines)) if status == b"OK" else None

    async def recent(self, state: JobState, limit: int = 100) -> list[JobRecord]:
        """Jobs in a state: those that ended last (dead letters after other failures), those that are due or served
        first, those that began first. Without results that lie in blobs."""
        found = dict.fromkeys(job_id for place in await self._places(state, limit) for job_id in place)
        records = await asyncio.gather(*(self._summary(job_id.decode()) for job_id in found))
        return [record for record in records if record is not None and record.state is state][:limit]

    async def _summary(self, job_id: str) -> JobRecord | None:
        found = await self._fields(job_id)
        if wire.is_reference(found[_RESULT] or b""):
            found[_RESULT] = None
        try:
            return read_record(job_id, FIELDS, found)
        except Unreadable:  # the others shall be listed all the same
            return None

    async def _fields(self, job_id: str) -> list[bytes | None]:
        found: list[bytes | None] = await self._broker.command("HMGET", self._broker.keys.job(job_id), *FIELDS)
        return found

    async def _places(self, state: JobState, limit: int) -> list[list[bytes]]:
        """Where the ids of such jobs stand."""
        ask, root = self._broker.command, self._broker.keys.root
        if state is JobState.SCHEDULED:
            return [await ask("ZRANGE", f"{root}sched", 0, limit - 1)]
        if state is JobState.FAILED:
            # Dead letters have an index of their own, since deadlines may push them out of the list of the last ends.
            return [
                await ask("LRANGE", f"{root}end:{state}", 0, limit - 1),
                await ask("ZREVRANGE", f"{root}dead", 0, limit - 1),
            ]
        if state.final:
            return [await ask("LRANGE", f"{root}end:{state}", 0, limit - 1)]
        queues = [queue.decode() for queue in await ask("ZREVRANGE", f"{root}queues", 0, 99)]
        if state is JobState.QUEUED:
            sets = [f"{root}w:{queue}:{int(priority)}" for priority in Priority for queue in queues]
            return list(await asyncio.gather(*(ask("ZRANGE", each, 0, limit - 1) for each in sets)))
        streams = await asyncio.gather(
            *(ask("XRANGE", f"{root}f:{queue}", "-", "+", "COUNT", limit) for queue in queues)
        )
        return [[fields[1] for _, fields in entries] for entries in streams]

    def _arguments(
        self,
        job: Job,
        params: blobs.Parcel,
        request: blobs.Parcel,
        terms: Terms,
        *,
        key: str,
        fingerprint: str,
        delay: float,
    ) -> tuple[Argument, ...]:
        # The deadline travels as a distance, so that only the broker's clock counts.
        left = min(job.deadline - time.time(), _LONGEST) if job.deadline else self._settings.deadline
        return (
            job.id,
            0,
            job.capability,
            job.model,
            int(job.priority),
            job.tenant,
            self._settings.weights.get(job.tenant, 1.0) if terms.weight is None else terms.weight,
            max(job.cost, 0.001),
            max(1, round(left * 1000)),
            job.gateway,
            int(job.stream),
            params.body,
            " ".join(fingerprints(job)),
            hashlib.sha256(key.encode()).hexdigest() if key else "",
            fingerprint,
            round(delay * 1000),
            request.body,
            params.carried,
            request.carried,
            terms.packed(),
            f"{int(terms.index == 0)} {terms.key}",
            "" if terms.tenant_cap is None else terms.tenant_cap,
            job.trace or tracing.current(),
        )


def _known(seconds: float) -> float | None:
    return round(seconds, 1) if seconds >= 0 else None


def _refusal(status: bytes, depth: int, eta: float | None) -> Exception:
    details: dict[str, Any] = {"depth": depth, "position": depth, "eta": eta}
    # Places become free one by one: a quarter of the whole wait lets a crowd of clients come back one after another.
    wait = min(max(1.0, (20.0 if eta is None else eta) / 4), 60.0)
    if status == b"CONFLICT":
        return KeyReused()
    if status == b"TENANT":
        return TenantQueueFull(retry_after=wait, details=details)
    if status == b"MEMORY":
        return QueueFull("The broker is short of memory; try again later.", retry_after=wait, details=details)
    if status == b"BLOBS":
        return QueueFull(blobs.FULL, retry_after=wait, details=details)
    return QueueFull(retry_after=wait, details=details)
