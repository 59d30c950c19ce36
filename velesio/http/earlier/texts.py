"""Routes and bodies of the earlier Velesio server, for its clients.

Ollama's requests without `/api`, answered whole by default, and what its documentation says of models, queue and health
beside what others read there.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from velesio import __version__
from velesio.backends.base import ModelCard
from velesio.http.fields import given
from velesio.http.ollama import generation as ollama
from velesio.http.ollama import library as ollama_library
from velesio.http.ollama.models import details
from velesio.http.ollama.requests import CHAT, GENERATE, read_chat, read_generate
from velesio.http.operations import Operation
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


async def _whole_by_default(request: web.Request) -> dict[str, Any]:
    return {"stream": False} | await ollama_library.read_body(request)


async def generate(request: web.Request) -> web.StreamResponse:
    """`POST /generate`: as `/api/generate`."""
    return await ollama.answer(request, read_generate(await _whole_by_default(request)), in_message=False)


async def chat(request: web.Request) -> web.StreamResponse:
    """`POST /chat`: as `/api/chat`."""
    return await ollama.answer(request, read_chat(await _whole_by_default(request)), in_message=True)


ROUTES = [
    web.post("/generate", generate),
    web.post("/chat", chat),
    web.get("/tags", ollama_library.list_tags),
    web.post("/embed", ollama.embed),
]

_WHOLE = given(bool, "lines of JSON instead of one whole answer", default=False)


def _as(operation: Operation, path: str, **changed: Any) -> Operation:
    """An operation of Ollama's at a path of the earlier server's."""
    summary = f"As `{operation.method} {operation.paths[0]}`"
    whole = ", but not streamed unless `stream` is true." if changed else "."
    return msgspec.structs.replace(operation, paths=(path,), summary=summary + whole, notes="", **changed)


_GENERATE, _CHAT, _EMBED, _ = ollama.API
_TAGS = ollama_library.API[0]

API = (
    _as(_GENERATE, "/generate", fields={**GENERATE, "stream": _WHOLE}),
    _as(_CHAT, "/chat", fields={**CHAT, "stream": _WHOLE}),
    _as(_EMBED, "/embed"),
    _as(_TAGS, "/tags"),
)
