"""Rows: jobs, workers and queues as cells of tables, for terminals."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from velesio.queue import facts
from velesio.queue.client import JobRecord, ModelDepth
from velesio.queue.registry import WorkerInfo

_REASON = 60
"""Characters of a reason in a list."""

_TIMES = ("queued", "started", "first_text", "ended", "deadline")


def step(each: dict[str, Any]) -> tuple[str, ...]:
    """A moment of a timeline."""
    more = ", ".join(f"{name} {shown(name, value)}" for name, value in each.items() if name not in {"at", "event"})
    return f"  {moment(each['at'])}", each["event"], more


HEADING = ("ID", "STATE", "MODEL", "TENANT", "PRIORITY", "QUEUED", "ATTEMPTS", "CRASHES", "WORKER", "REASON")


def of_job(record: JobRecord) -> tuple[str, ...]:
    """A job, under `HEADING`."""
    told = facts.of_job(record)
    reason = printable(": ".join(told[name] for name in ("code", "reason") if told.get(name)))
    return (
        record.id,
        told["state"],
        record.model,
        record.tenant,
        told["priority"],
        moment(record.enqueued),
        str(record.attempts),
        str(record.crashes),
        record.worker or "-",
        reason if len(reason) <= _REASON else f"{reason[: _REASON - 1]}…",
    )


def of_worker(worker: WorkerInfo, now: float) -> tuple[str, ...]:
    """A worker at the moment `now` (unix seconds)."""
    return (
        worker.name,
        worker.id,
        worker.state,
        ",".join(card.name for card in worker.cards) or "-",
        ",".join(worker.jobs) or "-",
        f"{len(worker.jobs)}/{worker.slots}",
        f"{max(0.0, now - worker.beat):.0f} s ago",
        worker.host,
        str(worker.pid),
        worker.version,
    )


def of_queue(depth: ModelDepth) -> tuple[str, ...]:
    """The queue of a model."""
    return (
        depth.model,
        *map(str, depth.waiting),
        str(depth.running),
        f"{depth.oldest:.0f} s" if depth.oldest else "-",
        *map(str, (depth.done, depth.failed, depth.cancelled)),
        moment(depth.paused or None),
    )


def shown(name: str, value: Any) -> str:
    """A fact by its name, on one line."""
    if name in _TIMES:
        return moment(value)
    return printable(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def printable(text: str) -> str:
    """On one line, and without what would make a terminal do something: some of it is what clients sent."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def moment(seconds: float | None) -> str:
    """Unix seconds, for people."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if seconds else "-"
