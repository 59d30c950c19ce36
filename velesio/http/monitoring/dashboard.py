"""The dashboard's document: what a look at the broker and the workers comes to, section by section."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from velesio.backends.base import ModelCard
from velesio.jobs import JobState
from velesio.queue import facts
from velesio.queue.overview import Overview
from velesio.queue.records import JobRecord, ModelDepth, QueueStatus
from velesio.queue.registry import WorkerInfo
from velesio.queue.series import STEP, Point, Span, point
from velesio.states import overall

Document = dict[str, Any]
"""Plain values by section: at, queue, models, workers, jobs, rates, series."""

MINUTE = 60 // STEP
"""Spans that `rates` are of."""
_JOBS = 50
"""Of each list of jobs."""
_WAITING = (JobState.QUEUED, JobState.SCHEDULED)


def document(
    overview: Overview, workers: Sequence[WorkerInfo], spans: Mapping[int, Span], points: Sequence[Point]
) -> Document:
    """All sections; `spans` hold the last minute at least, `points` are the whole series."""
    return {
        "at": overview.at,
        "queue": totals(overview.status),
        "models": models(overview, workers, spans),
        "workers": [facts.of_worker(worker) for worker in workers],
        "jobs": jobs(overview.jobs),
        "rates": rates(overview.at, spans),
        "series": {"step": STEP, "points": msgspec.to_builtins(points)},
    }


def totals(status: QueueStatus) -> dict[str, Any]:
    """All queues together."""
    return {
        "waiting": sum(sum(depth.waiting) for depth in status.models),
        "running": sum(depth.running for depth in status.models),
        "scheduled": status.scheduled,
        "dead": status.dead,
        "oldest_seconds": _tenths(max((depth.oldest for depth in status.models), default=0.0)),
        "completed": sum(depth.done for depth in status.models),
        "failed": sum(depth.failed for depth in status.models),
        "cancelled": sum(depth.cancelled for depth in status.models),
        "paused": status.paused or None,
    }


def models(overview: Overview, workers: Sequence[WorkerInfo], spans: Mapping[int, Span]) -> list[dict[str, Any]]:
    """Every model that a worker serves or that has a queue."""
    depths = {depth.model: depth for depth in overview.status.models}
    cards = {card.name: card for worker in workers for card in worker.cards}
    return [
        _card(name, cards.get(name), workers)
        | depth_of(depths.get(name) or ModelDepth(model=name, capability=cards[name].capability))
        | {"rates": rates(overview.at, spans, name)}
        for name in [*cards, *(name for name in depths if name not in cards)]
    ]


def _card(name: str, card: ModelCard | None, workers: Sequence[WorkerInfo]) -> dict[str, Any]:
    serving = [worker for worker in workers if any(card.name == name for card in worker.cards)]
    return {
        "name": name,
        "aliases": list(card.aliases) if card else [],
        "backend": card.backend if card else None,
        "bytes": card.bytes if card else None,
        "context": card.context if card else None,
        "slots": sum(card.slots for worker in serving for card in worker.cards if card.name == name),
        "workers": [worker.id for worker in serving],
        **facts.of_state(overall(worker.state_of(name) for worker in serving)),
    }


def depth_of(depth: ModelDepth) -> dict[str, Any]:
    """The queue of one model."""
    interactive, normal, batch = depth.waiting
    return {
        "kind": depth.capability,
        "waiting": {"interactive": interactive, "normal": normal, "batch": batch},
        "running": depth.running,
        "oldest_seconds": _tenths(depth.oldest),
        "completed": depth.done,
        "failed": depth.failed,
        "cancelled": depth.cancelled,
        "paused": depth.paused or None,
    }


def jobs(records: Sequence[JobRecord]) -> dict[str, list[dict[str, Any]]]:
    """Those that run, the oldest first; that wait, in about the order in which they are served; that ended last."""
    running = sorted((job for job in records if job.state is JobState.RUNNING), key=lambda job: job.started)
    waiting = sorted((job for job in records if job.state in _WAITING), key=lambda job: (job.priority, job.enqueued))
    ended = sorted((job for job in records if job.state.final), key=lambda job: -job.ended)
    lists = {"running": running, "waiting": waiting, "ended": ended}
    return {name: [facts.of_job(job) for job in some[:_JOBS]] for name, some in lists.items()}


def rates(now: float, spans: Mapping[int, Span], model: str | None = None) -> dict[str, Any]:
    """The last minute, of one model or of all."""
    last = int(now // STEP)
    numbers = range(last - MINUTE + 1, last + 1)
    seconds = max(1.0, now - numbers[0] * STEP)
    made = point(numbers[0] * STEP, (spans.get(number, {}) for number in numbers), seconds, model)
    told: dict[str, Any] = msgspec.to_builtins(made)
    del told["at"]
    return told


def changes(before: Document, after: Document) -> Document:
    """`at`, and the sections that differ; of the series only the points that do."""
    told = {name: section for name, section in after.items() if section != before[name] or name == "at"}
    if "series" in told:
        known = {each["at"]: each for each in before["series"]["points"]}
        points = [each for each in after["series"]["points"] if known.get(each["at"]) != each]
        told["series"] = {"step": STEP, "points": points}
        if not points:  # an old one has left
            del told["series"]
    return told


def _tenths(seconds: float) -> float:
    return round(seconds, 1)
