"""Records: what the broker knows of jobs and queues, as structs."""

from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from velesio.errors import Unreadable
from velesio.jobs import Capability, Final, JobState, Priority
from velesio.queue import wire

FIELDS = (
    *("st", "ten", "model", "cap", "prio", "att", "crash", "rel", "wrk", "enq", "beg", "tok", "end", "dl", "r"),
    *("gw", "stream", "life", "past"),
)
"""Of a job's hash, those that make its record."""


class Episode(Struct, frozen=True, array_like=True):
    """A part of a job's life that is over. Times are milliseconds of the broker's clock."""

    what: str
    """`released`, `retried` or `lost`: how an attempt ended; `failed`: how the job did, before it was `requeued`."""
    since: int
    until: int
    attempt: int
    worker: str = ""
    why: str = ""


class JobRecord(Struct, frozen=True, kw_only=True):
    """What the broker knows of a job; times are unix seconds of the broker's clock, 0 for not yet."""

    id: str
    state: JobState
    tenant: str
    model: str
    capability: Capability
    priority: Priority
    attempts: int = 0
    """Leases so far, without those that were given back unharmed or that are void since it was queued again."""
    leases: int = 0
    """All of them: the number of the one that it has, or had last."""
    crashes: int = 0
    """Leases that ran out because their worker died or hung."""
    worker: str = ""
    enqueued: float = 0.0
    started: float = 0.0
    first: float = 0.0
    """When the attempt that runs, or that ended the job, had its first text."""
    ended: float = 0.0
    deadline: float = 0.0
    result: Final | None = None
    """The final event; of a job that waits for another attempt, the last failure."""
    logged: bool = False
    """Whether its events go to an output log, not to a gateway."""
    life: int = 0
    """How many of its leases were void when it began as it is now."""
    reason: str = ""
    """Why it failed, where the result is left out."""
    past: tuple[Episode, ...] = ()
    """What became of it before: attempts that did not end it, and that it was queued again."""


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
    paused: float = 0.0
    """Since when (unix seconds) nothing is leased from it; 0: it is."""


class QueueStatus(Struct, frozen=True, kw_only=True):
    """The state of all queues; totals are of the models used in the last week."""

    models: list[ModelDepth] = []
    scheduled: int = 0
    dead: int = 0
    paused: float = 0.0
    """Since when (unix seconds) nothing is leased from any queue; 0: it is."""


_past: Callable[[bytes], tuple[Episode, ...]] = wire.reader(tuple[Episode, ...])


def read_record(job_id: str, fields: Sequence[str], found: Sequence[bytes | None]) -> JobRecord | None:
    """The record from these fields of its hash; None: there is none.

    Raises:
        Unreadable
    """
    try:
        return _record(job_id, fields, found)
    except (ValueError, KeyError) as error:
        raise Unreadable(f"{Unreadable.__doc__} {error!r}") from None


def _record(job_id: str, fields: Sequence[str], found: Sequence[bytes | None]) -> JobRecord | None:
    f = {name: value for name, value in zip(fields, found, strict=True) if value is not None}
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
        leases=int(f["att"]),
        crashes=int(f["crash"]),
        worker=f["wrk"].decode(),
        enqueued=_seconds(f["enq"]),
        started=_seconds(f.get("beg")),
        first=_seconds(f.get("tok")),
        ended=_seconds(f.get("end")),
        deadline=_seconds(f["dl"]),
        result=wire.read_final(f["r"]) if f.get("r") else None,
        logged=f.get("gw") == b"" and f.get("stream") == b"1",
        life=int(f.get("life", 0)),
        reason=f.get("reason", b"").decode(errors="replace"),
        past=_past(f["past"]) if f.get("past") else (),
    )


def _seconds(milliseconds: bytes | None) -> float:
    return float(milliseconds) / 1000 if milliseconds else 0.0


def read_depth(line: Sequence[Any]) -> ModelDepth:
    """A queue from what `status` tells of it."""
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
        paused=line[9] / 1000,
    )
