"""Facts: what operators may see of jobs and workers, as plain values: neither what was asked nor what was answered."""

from typing import Any

import msgspec

from velesio.jobs import Completed, Failed, ImageResult, JobState, Result, TextResult
from velesio.queue.records import Episode, JobRecord
from velesio.queue.registry import WorkerInfo
from velesio.states import ModelState


def name_of(member: Any) -> str:
    """The word for a state or a priority."""
    return str(member.name).lower()


def of_job(record: JobRecord) -> dict[str, Any]:
    """A job. Times are unix seconds of the broker's clock, None for not yet."""
    facts: dict[str, Any] = {
        "id": record.id,
        "state": name_of(record.state),
        "model": record.model,
        "kind": record.capability,
        "tenant": record.tenant,
        "priority": name_of(record.priority),
        "attempts": record.attempts,
        "crashes": record.crashes,
        "worker": record.worker,
        "background": record.logged,
        "queued": record.enqueued,
        "started": record.started or None,
        "first_text": record.first or None,
        "ended": record.ended or None,
        "deadline": record.deadline,
    }
    return facts | _end(record)


def _end(record: JobRecord) -> dict[str, Any]:
    if isinstance(record.result, Failed):
        failed = record.result
        return {"code": failed.code, "reason": failed.message, "traceback": failed.traceback}
    if isinstance(record.result, Completed):
        return {"result": _measure(record.result.result)}
    if record.result is not None:
        return {"reason": record.result.reason}
    if record.reason:
        code, _, reason = record.reason.partition(": ")
        return {"code": code, "reason": reason}
    return {}


def _measure(result: Result) -> dict[str, Any]:
    if isinstance(result, ImageResult):
        return {"pictures": len(result.pictures)}
    if not isinstance(result, TextResult):
        return {}
    return {
        "prompt_tokens": result.usage.prompt_tokens,
        "completion_tokens": result.usage.completion_tokens,
        "stop": result.stop,
    }


def timeline(record: JobRecord) -> list[dict[str, Any]]:
    """What became of a job, in its order: `at` (unix seconds), `event`, and what belongs to that event."""
    moments = [_moment("queued", _first_queued(record))]
    for episode in record.past:
        moments += _of_episode(episode)
    if record.started and (not record.past or record.started * 1000 >= record.past[-1].until):
        moments.append(_moment("leased", record.started, attempt=record.leases, worker=record.worker))
        if record.first:
            moments.append(_moment("first_text", record.first))
    if record.ended:
        facts = _end(record)
        why = ": ".join(facts[name] for name in ("code", "reason") if facts.get(name))
        moments.append(_moment(_ENDS[record.state], record.ended, reason=why))
    return moments


_ENDS = {JobState.DONE: "completed", JobState.FAILED: "failed", JobState.CANCELLED: "cancelled"}


def _first_queued(record: JobRecord) -> float:
    requeued = [episode for episode in record.past if episode.what == "requeued"]
    return requeued[0].since / 1000 if requeued else record.enqueued


def _of_episode(episode: Episode) -> list[dict[str, Any]]:
    end = _moment(episode.what, episode.until / 1000, reason=episode.why)
    if episode.what == "requeued" or not episode.worker:
        return [end]
    return [_moment("leased", episode.since / 1000, attempt=episode.attempt, worker=episode.worker), end]


def _moment(event: str, at: float, **more: Any) -> dict[str, Any]:
    return {"at": at, "event": event} | {name: value for name, value in more.items() if value not in {"", None}}


def of_worker(worker: WorkerInfo) -> dict[str, Any]:
    """A worker, as it described itself at its last `beat` (unix seconds of the broker's clock). Memory is in bytes:
    its `budget` for models, what the loaded ones take of it (`used`), and what the process holds (`resident`)."""
    states = worker.models()
    return {
        "id": worker.id,
        "name": worker.name,
        "state": worker.state,
        "models": [card.name for card in worker.cards],
        "states": {
            card.name: {"bytes": card.bytes, "slots": card.slots} | of_state(states.get(card.name, ModelState()))
            for card in worker.cards
        },
        "loaded": worker.info.get("loaded", []),
        "jobs": worker.jobs,
        "slots": worker.slots,
        "memory": worker.info.get("memory", {}),
        "beat": worker.beat,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
    }


def of_state(state: ModelState) -> dict[str, Any]:
    """A model at a worker; times are unix seconds by the worker's clock."""
    told: dict[str, Any] = msgspec.to_builtins(state)
    del told["wish"]
    return told
