"""Job queue as a gateway sees it: enqueue, cancel, look up, count."""

import hashlib
import time
from collections import deque
from typing import Any

from msgspec import Struct

from velesio import metrics
from velesio.errors import BadRequest, BrokerUnavailable, Conflict, QueueFull, TenantQueueFull
from velesio.jobs import Capability, Final, Job, JobState, Priority
from velesio.queue import wire
from velesio.queue.broker import Broker
from velesio.queue.prefixes import fingerprints

_LONGEST = 6 * 86400.0
"""Seconds: a deadline further away is brought to this."""
_FIELDS = ("st", "ten", "model", "cap", "prio", "att", "crash", "rel", "wrk", "enq", "beg", "end", "dl", "r")


class Ticket(Struct, frozen=True):
    """A place in the queue."""

    id: str
    """The job's, or that of the earlier job with the same idempotency key."""
    position: int = 0
    """Jobs ahead of it when it was queued."""
    duplicate: bool = False
    """Whether the job was there before."""


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
        self._ends: dict[str, deque[tuple[float, int]]] = {}

    async def enqueue(self, job: Job, *, idempotency_key: str = "", delay: float = 0.0) -> Ticket:
        """Queue a job, at most once for each id and each tenant's `idempotency_key`; `delay` s from now.

        Raises:
            QueueFull, TenantQueueFull: with `retry_after` and, in `details`, `depth` and `eta` (s).
            Conflict: the idempotency key belongs to another request.
            BadRequest: the params are larger than `queue.max_payload`.
            BrokerUnavailable: if it was queued nevertheless, it is cancelled when the broker is back.
        """
        payload = wire.encode(job.params)
        if len(payload) > self._settings.max_payload:
            raise BadRequest(
                f"The request is {len(payload)} bytes; jobs of more than {self._settings.max_payload} bytes "
                "(queue.max_payload) are not queued."
            )
        try:
            status, job_id, place, ended = await self._broker.run(
                "enqueue", *self._arguments(job, payload, idempotency_key, delay)
            )
        except BrokerUnavailable:
            self._broker.doubtful.add(job.id)
            raise
        self._broker.doubtful.discard(job_id.decode())
        pace = self._pace(f"{job.capability}:{job.model}", int(ended))
        if status in {b"OK", b"DUP", b"IDEM"}:
            return Ticket(job_id.decode(), int(place), duplicate=status != b"OK")
        raise _refusal(status, int(place), pace)

    async def cancel(self, job_id: str, reason: str = "") -> bool:
        """Cancel a job wherever it is. False: unknown or already final. A running one ends within a step."""
        answer = await self._broker.run("cancel", job_id, 0, reason)
        stage = {b"ENDED": "waiting", b"ASKED": "running"}.get(answer)
        if stage:
            metrics.cancelled.labels(stage).inc()
        return stage is not None

    async def record(self, job_id: str) -> JobRecord | None:
        """What is known of a job."""
        found = await self._broker.command("HMGET", self._broker.keys.job(job_id), *_FIELDS)
        return _record(job_id, found)

    async def status(self) -> QueueStatus:
        """Depths and totals."""
        scheduled, dead, *queues = await self._broker.run("status", 0)
        return QueueStatus(models=[_depth(line) for line in queues], scheduled=scheduled, dead=dead)

    async def requeue(self, job_id: str) -> bool:
        """Queue a failed job again, with all its attempts before it. False: unknown or not failed."""
        return bool(await self._broker.run("requeue", job_id, 0, round(self._settings.deadline * 1000)) == b"OK")

    async def recent(self, state: JobState, limit: int = 100) -> list[JobRecord]:
        """The latest jobs of a final state, newest first; of a live one, those whose deadline comes first."""
        root = self._broker.keys.root
        if state.final:
            ids = await self._broker.command("LRANGE", f"{root}end:{state}", 0, limit - 1)
        else:
            ids = await self._broker.command("ZRANGE", f"{root}dl", 0, max(limit, 1000) - 1)
        calls = [
            (job_id.decode(), self._broker.command("HMGET", self._broker.keys.job(job_id.decode()), *_FIELDS))
            for job_id in ids
        ]
        records = [_record(job_id, await call) for job_id, call in calls]
        return [record for record in records if record is not None and record.state is state][:limit]

    def _arguments(self, job: Job, payload: bytes, key: str, delay: float) -> tuple[str | bytes | int | float, ...]:
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
            payload,
            " ".join(fingerprints(job)),
            hashlib.sha256(key.encode()).hexdigest() if key else "",
            wire.fingerprint(job, payload) if key else "",
            round(delay * 1000),
        )

    def _pace(self, queue: str, ended: int) -> float:
        """Jobs that end each second, over the last half minute in which this gateway queued something."""
        now = time.monotonic()
        samples = self._ends.setdefault(queue, deque(maxlen=32))
        if not samples or now - samples[-1][0] > 1:
            samples.append((now, ended))
        while len(samples) > 1 and now - samples[0][0] > 30:
            samples.popleft()
        since, before = samples[0]
        return (ended - before) / (now - since) if now > since else 0.0


def _refusal(status: bytes, depth: int, pace: float) -> Exception:
    eta = depth / pace if pace > 0 else None
    details: dict[str, Any] = {"depth": depth} | ({"eta": round(eta, 1)} if eta is not None else {})
    wait = min(max(1.0, (eta or 20.0) / 4), 60.0)
    if status == b"CONFLICT":
        return Conflict()
    if status == b"TENANT":
        return TenantQueueFull(retry_after=wait, details=details)
    if status == b"MEMORY":
        return QueueFull("The broker is short of memory; try again later.", retry_after=wait, details=details)
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
