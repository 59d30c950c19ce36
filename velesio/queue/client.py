"""Job queue as a gateway sees it: enqueue, cancel, look up, count."""

import asyncio
import hashlib
import time
from typing import Any

from msgspec import Struct

from velesio import metrics
from velesio.errors import BrokerUnavailable, KeyReused, QueueFull, TenantQueueFull
from velesio.jobs import Capability, Final, Job, JobState, Params, Priority
from velesio.queue import blobs, wire
from velesio.queue.broker import Broker
from velesio.queue.lease import ENOUGH
from velesio.queue.prefixes import fingerprints

_LONGEST = 6 * 86400.0
"""Seconds: a deadline further away is brought to this."""
_FIELDS = (
    *("st", "ten", "model", "cap", "prio", "att", "crash", "rel", "wrk", "enq", "beg", "end", "dl", "r"),
    *("gw", "stream", "life"),
)
_RESULT = _FIELDS.index("r")


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


class Place(Struct, frozen=True):
    """Where a job stands that has not begun."""

    position: int | None = None
    """Jobs ahead of it; None: it does not stand in the queue (yet)."""
    eta: float | None = None
    """Seconds until it begins; None: nobody knows."""


class JobRecord(Struct, frozen=True, kw_only=True):
    """What the broker knows of a job; times are unix seconds of the broker's clock, 0 for not yet."""

    id: str
    state: JobState
    tenant: str
    model: str
    capability: Capability
    priority: Priority
    attempts: int = 0
    """Leases so far, without those that were given back unharmed."""
    crashes: int = 0
    """Leases that ran out because their worker died or hung."""
    worker: str = ""
    enqueued: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    deadline: float = 0.0
    result: Final | None = None
    """The final event; of a job that waits for another attempt, the last failure."""
    logged: bool = False
    """Whether its events go to an output log, not to a gateway."""
    life: int = 0
    """How many of its leases were void when it began as it is now."""


class ModelDepth(Struct, frozen=True, kw_only=True):
    """The queue of one model."""

    model: str
    capability: Capability
    waiting: tuple[int, int, int] = (0, 0, 0)
    """By priority: interactive, normal, batch."""
    running: int = 0
    oldest: float = 0.0
    """Seconds that the jobs at the head have waited, the longest."""
    done: int = 0
    failed: int = 0
    cancelled: int = 0


class QueueStatus(Struct, frozen=True, kw_only=True):
    """The state of all queues; totals are of the models used in the last week."""

    models: list[ModelDepth] = []
    scheduled: int = 0
    dead: int = 0


class JobQueue:
    """The jobs of one installation."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._settings = broker.settings

    async def enqueue(
        self, job: Job, *, idempotency_key: str = "", fingerprint: str = "", delay: float = 0.0
    ) -> Ticket:
        """Queue a job, at most once for each id and each tenant's `idempotency_key`; `delay` s from now. `fingerprint`
        says what a request must have in common with the earlier one under its key, in place of the job itself.

        Raises:
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
            status, job_id, position, wait = await self._broker.run(
                "enqueue", *self._arguments(job, params, request, key=idempotency_key, fingerprint=same, delay=delay)
            )
        except BrokerUnavailable:
            if not idempotency_key:  # who has a key finds the job with it when the broker is back
                self._broker.doubtful.add(job.id)
            raise
        self._broker.doubtful.discard(job_id.decode())
        if status not in {b"OK", b"DUP"}:
            await store.drop(params.body, request.body)
        eta = _known(wait / 1000)
        if status in {b"OK", b"DUP", b"IDEM"}:
            return Ticket(job_id.decode(), position, duplicate=status != b"OK", eta=eta)
        raise _refusal(status, position, eta)

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
        return _record(job_id, found)

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
        scheduled, dead, *queues = await self._broker.run("status", 0)
        return QueueStatus(models=[_depth(line) for line in queues], scheduled=scheduled, dead=dead)

    async def requeue(self, job_id: str) -> bool:
        """Queue a failed job again, with all its attempts before it. False: unknown, not failed, or without input."""
        return bool(await self._broker.run("requeue", job_id, 0, round(self._settings.deadline * 1000)) == b"OK")

    async def recent(self, state: JobState, limit: int = 100) -> list[JobRecord]:
        """Jobs in a state: those that ended last (dead letters after other failures), those that are due or served
        first, those that began first. Without results that lie in blobs."""
        found: list[bytes] = []
        for place in await self._places(state, limit):
            found += [job_id for job_id in place if job_id not in found]
        records = await asyncio.gather(*(self._summary(job_id.decode()) for job_id in found))
        return [record for record in records if record is not None and record.state is state][:limit]

    async def _summary(self, job_id: str) -> JobRecord | None:
        found = await self._fields(job_id)
        if wire.is_reference(found[_RESULT] or b""):
            found[_RESULT] = None
        return _record(job_id, found)

    async def _fields(self, job_id: str) -> list[bytes | None]:
        found: list[bytes | None] = await self._broker.command("HMGET", self._broker.keys.job(job_id), *_FIELDS)
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
        self, job: Job, params: blobs.Parcel, request: blobs.Parcel, *, key: str, fingerprint: str, delay: float
    ) -> tuple[str | bytes | int | float, ...]:
        # The deadline travels as a distance, so that only the broker's clock counts.
        left = min(job.deadline - time.time(), _LONGEST) if job.deadline else self._settings.deadline
        return (
            job.id,
            0,
            job.capability,
            job.model,
            int(job.priority),
            job.tenant,
            self._settings.weights.get(job.tenant, 1.0),
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


def _record(job_id: str, found: list[bytes | None]) -> JobRecord | None:
    f = {name: value for name, value in zip(_FIELDS, found, strict=True) if value is not None}
    if "st" not in f:
        return None
    return JobRecord(
        id=job_id,
        state=JobState(f["st"].decode()),
        tenant=f["ten"].decode(),
        model=f["model"].decode(),
        capability="image" if f["cap"] == b"image" else "text",
        priority=Priority(int(f["prio"])),
        attempts=int(f["att"]) - int(f["rel"]),
        crashes=int(f["crash"]),
        worker=f["wrk"].decode(),
        enqueued=_seconds(f["enq"]),
        started=_seconds(f.get("beg")),
        ended=_seconds(f.get("end")),
        deadline=_seconds(f["dl"]),
        result=wire.read_final(f["r"]) if f.get("r") else None,
        logged=f.get("gw") == b"" and f.get("stream") == b"1",
        life=int(f.get("life", 0)),
    )


def _seconds(milliseconds: bytes | None) -> float:
    return float(milliseconds) / 1000 if milliseconds else 0.0


def _depth(line: list[Any]) -> ModelDepth:
    capability, _, model = line[0].decode().partition(":")
    return ModelDepth(
        model=model,
        capability="image" if capability == "image" else "text",
        waiting=(line[1], line[2], line[3]),
        running=line[4],
        oldest=line[5] / 1000,
        done=line[6],
        failed=line[7],
        cancelled=line[8],
    )
