"""What the earlier server's documentation says of models, queue and health, beside what others read there."""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from velesio import __version__
from velesio.backends.base import ModelCard
from velesio.http.ollama.models import details
from velesio.queue.registry import WorkerInfo

_KINDS = {"text": "llm", "image": "sd"}


def models_of(cards: Sequence[ModelCard], workers: Iterable[WorkerInfo]) -> dict[str, Any]:
    """Fields of `/models`: text and image models, and whether a worker has them loaded."""
    loaded = {name for worker in workers for name, state in worker.models().items() if state.state == "loaded"}

    def entry(card: ModelCard, **facts: str) -> dict[str, Any]:
        return {"name": card.name, **facts, "loaded": card.name in loaded}

    texts = [card for card in cards if card.capability == "text"]
    pictures = [card for card in cards if card.capability == "image"]
    return {
        "text_models": [entry(card, size=details(card)["parameter_size"], type="chat") for card in texts],
        "image_models": [entry(card, type="checkpoint") for card in pictures],
    }


def queue_of(status: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `/queue/status`, from those that the gateway tells. Counters begin with the queue, not a day ago."""
    return {
        "queue_depth": status["depth"],
        "active_workers": sum(worker["state"] == "ready" for worker in status["workers"]),
        "pending_jobs": status["pending"],
        "completed_jobs_24h": status["completed"],
    }


def worker_of(worker: WorkerInfo) -> dict[str, Any]:
    """Fields of a worker in `/queue/status`."""
    kinds = {_KINDS.get(card.capability, card.capability) for card in worker.cards}
    current = {"current_job": worker.jobs[0]} if worker.jobs else {}
    return {"type": "+".join(sorted(kinds)), "status": "busy" if worker.jobs else "idle", **current}


def health_of(cards: Iterable[ModelCard]) -> dict[str, Any]:
    """Fields of `/health` when all is well."""
    served = {card.capability for card in cards}
    return {
        "timestamp": f"{datetime.fromtimestamp(int(time.time()), UTC):%Y-%m-%dT%H:%M:%SZ}",
        "version": __version__,
        "services": {
            "redis": "connected",
            "llm_worker": "ready" if "text" in served else "none",
            "sd_worker": "ready" if "image" in served else "none",
        },
    }
