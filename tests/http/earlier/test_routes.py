"""The earlier Velesio server's routes and bodies."""

import json
import re
from typing import Any

import pytest

from tests.http.conftest import Site
from velesio import __version__
from velesio.backends.base import ModelCard
from velesio.http.earlier.facts import health_of, models_of, queue_of, worker_of
from velesio.queue.registry import WorkerInfo

TEXT = ModelCard(name="chatty", backend="llama", capability="text", meta={"n_params": 134_515_008})
IMAGE = ModelCard(name="painter", backend="diffusion", capability="image")
HI = [{"role": "user", "content": "one two three"}]
STATUS: dict[str, Any] = {
    "depth": 3,
    "pending": 5,
    "completed": 7,
    "workers": [{"state": "ready"}, {"state": "quiet"}, {"state": "ready"}],
}


def test_models_are_sorted_by_what_they_make() -> None:
    """With what is loaded."""
    states = {"chatty": {"state": "loaded"}, "painter": {"state": "sleeping"}}
    worker = WorkerInfo(id="w", cards=[TEXT, IMAGE], info={"models": states})
    assert models_of([TEXT, IMAGE], [worker]) == {
        "text_models": [{"name": "chatty", "size": "134.52M", "type": "chat", "loaded": True}],
        "image_models": [{"name": "painter", "type": "checkpoint", "loaded": False}],
    }


def test_the_queue_in_its_words() -> None:
    """Workers that take no more jobs are not active."""
    assert queue_of(STATUS) == {
        "queue_depth": 3,
        "active_workers": 2,
        "pending_jobs": 5,
        "completed_jobs_24h": 7,
    }


@pytest.mark.parametrize(
    ("worker", "told"),
    [
        (WorkerInfo(id="w", cards=[TEXT]), {"type": "llm", "status": "idle"}),
        (WorkerInfo(id="w", cards=[IMAGE], jobs=["j1", "j2"]), {"type": "sd", "status": "busy", "current_job": "j1"}),
        (WorkerInfo(id="w", cards=[TEXT, IMAGE]), {"type": "llm+sd", "status": "idle"}),
    ],
)
def test_a_worker_in_its_words(worker: WorkerInfo, told: dict[str, Any]) -> None:
    """What it is for and what it does."""
    assert worker_of(worker) == told


def test_health_in_its_words() -> None:
    """Which kinds of models are served."""
    told = health_of([TEXT])
    assert told["services"] == {"redis": "connected", "llm_worker": "ready", "sd_worker": "none"}
    assert told["version"] == __version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["timestamp"])
    assert health_of([IMAGE])["services"]["sd_worker"] == "ready"


async def test_answers_are_whole_by_default(site: Site) -> None:
    """Ollama's bodies, at paths without `/api`."""
    said = (await site.post("/chat", {"model": "parrot", "messages": HI})).json()
    assert "one two three" in said["message"]["content"]
    assert said["done"] is True
    whole = (await site.post("/generate", {"model": "parrot", "prompt": "one two"})).json()
    assert "one two" in whole["response"]
    streamed = await site.post("/generate", {"model": "parrot", "prompt": "one two", "stream": True})
    parts = [json.loads(line) for line in streamed.body.splitlines()]
    assert "".join(part["response"] for part in parts) == whole["response"]


async def test_lists_and_vectors(site: Site) -> None:
    """As Ollama's."""
    assert (await site.get("/tags")).json() == (await site.get("/api/tags")).json()
    vectors = (await site.post("/embed", {"model": "parrot", "input": "ab"})).json()
    assert len(vectors["embeddings"]) == 1


async def test_its_fields_stand_beside_those_of_others(site: Site) -> None:
    """One answer for every client that asks there."""
    models = (await site.get("/models")).json()
    assert [model["name"] for model in models["text_models"]] == ["parrot", "tiny"]
    assert all(model["loaded"] for model in models["text_models"])
    assert models["object"] == "list"
    queue = (await site.get("/queue/status")).json()
    assert queue["active_workers"] == 1
    assert queue["workers"][0]["type"] == "llm"
    health = (await site.get("/health")).json()
    assert (health["status"], health["services"]["llm_worker"]) == ("ok", "ready")
    assert (await site.get("/v1/health")).json() == {"status": "ok"}


async def test_errors_are_ollamas(site: Site) -> None:
    """One string."""
    for path in ("/chat", "/generate", "/embed"):
        answer = await site.post(path, {"model": "nobody", "prompt": "x", "messages": HI, "input": "x"})
        assert (answer.status, list(answer.json())) == (404, ["error"])
    assert (await site.get("/generate")).status == 405
