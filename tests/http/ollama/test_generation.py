"""Ollama's routes over a socket."""

import asyncio
import json
import time
from datetime import datetime
from typing import Any

import pytest

from tests.http.conftest import Answer, Site, StartSite
from velesio.config import KeySection, ServerSection
from velesio.states import overall

HI = [{"role": "user", "content": "one two three"}]
UNSAID = {"created_at", "total_duration", "load_duration", "prompt_eval_duration", "eval_duration"}


def lines(answer: Answer) -> list[Any]:
    """A stream's lines; none of them is empty."""
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    assert answer.body.endswith(b"\n")
    return [json.loads(line) for line in answer.body.removesuffix(b"\n").split(b"\n")]


def said(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name not in UNSAID}


async def test_a_stream_is_the_default(site: Site) -> None:
    """Its lines make up the answer without streaming."""
    body = {"model": "parrot:latest", "prompt": "one two three"}
    streamed = lines(await site.post("/api/generate", body))
    whole = (await site.post("/api/generate", body | {"stream": False})).json()
    assert "".join(line["response"] for line in streamed) == whole["response"]
    assert said(streamed[-1] | {"response": whole["response"]}) == said(whole)
    assert whole["model"] == "parrot:latest"
    assert all(whole[name] >= 0 for name in UNSAID - {"created_at"})
    assert datetime.fromisoformat(whole["created_at"][:26]).year > 2000


async def test_a_context_is_told_where_there_is_one(site: Site) -> None:
    """Not for a prompt that the client has put together itself."""
    body = {"model": "parrot", "prompt": "one", "stream": False}
    context = (await site.post("/api/generate", body)).json()["context"]
    assert all(isinstance(token, int) for token in context)
    assert len(context) > 3
    assert (await site.post("/api/generate", body | {"context": context})).status == 200
    assert lines(await site.post("/api/generate", body | {"stream": True}))[-1]["context"] == context
    assert "context" not in (await site.post("/api/generate", body | {"raw": True})).json()


async def test_a_chat(site: Site) -> None:
    """The text stands in a message; nothing is said of a context."""
    body = {"model": "parrot", "messages": HI}
    streamed = lines(await site.post("/api/chat", body))
    whole = (await site.post("/api/chat", body | {"stream": False})).json()
    assert "".join(line["message"]["content"] for line in streamed) == whole["message"]["content"]
    assert "one two three" in whole["message"]["content"]
    assert "context" not in whole


@pytest.mark.parametrize("stream", [True, False])
async def test_what_is_too_long_is_cut(site: Site, stream: bool) -> None:
    """A conversation loses messages, a prompt its middle; not if the client forbids it."""
    long = [*HI, {"role": "assistant", "content": "four"}, {"role": "user", "content": "word " * 20}]
    body = {"model": "tiny", "messages": long, "stream": stream, "options": {"num_predict": 1}}
    assert (await site.post("/api/chat", body)).status == 200
    prompt = {"model": "tiny", "prompt": "word " * 20, "stream": stream, "options": {"num_predict": 1}, "raw": True}
    assert (await site.post("/api/generate", prompt)).status == 200
    for path, one in (("/api/chat", body), ("/api/generate", prompt)):
        refused = await site.post(path, one | {"truncate": False})
        assert refused.status == 400
        assert "context" in refused.json()["error"]


async def test_models_are_loaded_and_unloaded(site: Site) -> None:
    """By a request without a prompt; `/api/ps` tells until when they stay."""

    async def running() -> dict[str, Any]:
        found = (await site.get("/api/ps")).json()["models"]
        return {model["name"]: model["expires_at"] for model in found}

    gone = (await site.post("/api/generate", {"model": "parrot", "keep_alive": 0, "stream": False})).json()
    assert (gone["done"], gone["done_reason"], gone["response"]) == (True, "unload", "")
    assert "parrot:latest" not in await running()
    (loaded,) = lines(await site.post("/api/chat", {"model": "parrot", "messages": [], "keep_alive": "10m"}))
    assert (loaded["done_reason"], loaded["message"]["content"]) == ("load", "")
    until = datetime.fromisoformat((await running())["parrot:latest"][:19] + "+00:00").timestamp()
    assert 500 < until - time.time() < 610


async def test_a_job_says_how_long_its_model_stays(site: Site) -> None:
    """Zero: it is unloaded after the answer, though it was loaded before."""
    registry = site.gateway.registry
    async with asyncio.timeout(60):  # for a test that fails; the registry tells of each change
        while overall(registry.states("parrot")).state != "loaded":
            await registry.changed(60)
        await site.post("/api/generate", {"model": "parrot", "prompt": "x", "keep_alive": 0, "stream": False})
        while overall(registry.states("parrot")).state == "loaded":
            await registry.changed(60)
    assert "parrot:latest" not in [model["name"] for model in (await site.get("/api/ps")).json()["models"]]


async def test_embeddings(site: Site) -> None:
    """One vector of length 1 for each text; the older form has one that is not normalized."""
    answer = (await site.post("/api/embed", {"model": "parrot", "input": ["ab", "abc"]})).json()
    assert list(answer) == ["model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"]
    assert answer["prompt_eval_count"] == 5
    assert [round(sum(value**2 for value in vector), 4) for vector in answer["embeddings"]] == [1, 1]
    one = (await site.post("/api/embed", {"model": "parrot", "input": "ab"})).json()
    assert one["embeddings"] == answer["embeddings"][:1]
    older = (await site.post("/api/embeddings", {"model": "parrot", "prompt": "ab"})).json()
    assert list(older) == ["embedding"]
    assert sum(older["embedding"]) == 2
    assert (await site.post("/api/embed", {"model": "parrot", "input": []})).json()["embeddings"] == []
    assert (await site.post("/api/embeddings", {"model": "parrot", "prompt": ""})).json() == {"embedding": []}


async def test_what_there_is(site: Site) -> None:
    """Lists and facts, by the name with or without a tag."""
    assert [model["name"] for model in (await site.get("/api/tags")).json()["models"]] == [
        "parrot:latest",
        "tiny:latest",
    ]
    for name in ("parrot", "parrot:latest", "bird"):
        shown = (await site.post("/api/show", {"model": name})).json()
        assert shown["model_info"][".context_length"] == 4096
    assert (await site.post("/api/show", {"name": "parrot"})).status == 200
    version = (await site.get("/api/version")).json()["version"]
    # What the pickiest of its clients asks for; they read three numbers.
    assert tuple(map(int, version.split("."))) >= (0, 13, 4)
    assert (await site.ask("HEAD", "/api/version")).status == 200
    assert (await site.ask("HEAD", "/api/tags")).status == 200


async def test_a_model_that_is_there_is_pulled_at_once(site: Site) -> None:
    """A stream by default; one that is not there never comes."""
    pulled = lines(await site.post("/api/pull", {"model": "parrot"}))
    assert pulled[-1] == {"status": "success"}
    assert (await site.post("/api/pull", {"model": "parrot", "stream": False})).json() == {"status": "success"}
    missing = await site.post("/api/pull", {"model": "llama3.2"})
    assert missing.status == 404
    assert "models_dir" in missing.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/api/push", {"model": "parrot"}, 501),
        ("POST", "/api/create", {"model": "new", "from": "parrot"}, 501),
        ("POST", "/api/copy", {"source": "parrot", "destination": "other"}, 501),
        ("POST", "/api/copy", {"source": "nobody", "destination": "other"}, 404),
        ("DELETE", "/api/delete", {"model": "parrot"}, 501),
        ("DELETE", "/api/delete", {"model": "nobody"}, 404),
        ("POST", "/api/blobs/sha256:00", b"x", 501),
        ("GET", "/api/blobs/sha256:00", b"", 404),
        ("POST", "/api/generate", {"model": "nobody", "prompt": "x"}, 404),
        ("POST", "/api/generate", {"prompt": "x"}, 400),
        ("POST", "/api/generate", {"model": "parrot", "prompt": "x", "think": True}, 400),
        ("POST", "/api/generate", {"model": "parrot", "prompt": "x", "images": ["aGk="]}, 501),
        ("POST", "/api/generate", {"model": "parrot", "prompt": "[[fail the model is ill]]", "stream": False}, 500),
        ("POST", "/api/chat", b"", 400),
        ("POST", "/api/chat", b"{", 400),
        ("POST", "/api/chat", {"model": "parrot", "messages": [5]}, 400),
        ("POST", "/api/embed", {"model": "parrot", "input": [""]}, 400),
        ("GET", "/api/chat", b"", 405),
        ("POST", "/api/tags", b"", 405),
        ("GET", "/api/nothing", b"", 404),
    ],
)
async def test_errors_are_one_string(site: Site, method: str, path: str, body: Any, status: int) -> None:
    """With the right status, before anything is streamed."""
    answer = await site.ask(method, path, body)
    assert answer.status == status
    assert list(answer.json()) == ["error"]
    assert len(answer.json()["error"]) > 10


async def test_an_empty_body_is_called_missing(site: Site) -> None:
    """In Ollama's words."""
    assert (await site.post("/api/generate", b"")).json() == {"error": "missing request body"}


async def test_a_model_that_is_not_there_is_told_in_ollamas_words(site: Site) -> None:
    """Clients look for them to offer a pull."""
    answer = await site.post("/api/chat", {"model": "llama3.2", "messages": HI})
    assert answer.json()["error"].startswith("model 'llama3.2' not found")


async def test_an_error_within_a_stream_is_a_line(site: Site) -> None:
    """The last one."""
    body = {"model": "parrot", "prompt": "a b c [[after 2 fail oh]]"}
    last = lines(await site.post("/api/generate", body))[-1]
    assert list(last) == ["error"]
    assert "oh" in last["error"]


async def test_silence_is_filled_with_empty_parts(start_site: StartSite) -> None:
    """Never with blank lines, which clients cannot read."""
    site = await start_site(server=ServerSection(sse_ping_interval=0.02))
    parts = lines(
        await site.post("/api/chat", {"model": "parrot", "messages": [{**HI[0], "content": "[[sleep 0.1]] a"}]})
    )
    assert [part["message"]["content"] for part in parts].count("") > 1
    assert parts[-1]["done"] is True


async def test_a_client_that_leaves_cancels_its_job(site: Site) -> None:
    """The worker is free for others at once."""
    body = {"model": "parrot", "prompt": "[[sleep 0.05]] [[tokens 500]] a"}
    async with site.client.post(site.address + "/api/generate", json=body) as response:
        await response.content.readline()
    async with asyncio.timeout(5):
        while not (await site.get("/queue/status")).json()["cancelled"]:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("method", "headers", "greets"),
    [
        ("GET", {"User_Agent": "ollama-python/0.6.3"}, True),
        ("HEAD", {}, True),
        ("GET", {"User_Agent": "Mozilla/5.0", "Accept": "text/html"}, False),
        ("GET", {"User_Agent": "curl/8.5.0"}, False),
    ],
)
async def test_the_front_door(site: Site, method: str, headers: dict[str, str], greets: bool) -> None:
    """Ollama's clients are greeted as they expect, people are shown the page."""
    answer = await site.ask(method, "/", **headers)
    assert answer.status == 200
    assert (answer.body == b"Ollama is running") is (greets and method == "GET")
    assert answer.headers["Content-Type"].startswith("text/plain") is greets


async def test_keys_guard_models(start_site: StartSite) -> None:
    """A key sees and uses its own models only; nobody without one is told what there is."""
    site = await start_site(keys=[KeySection(name="game", token="one", models=["tiny"])])
    assert (await site.get("/api/tags")).status == 401
    bearer = {"Authorization": "Bearer one"}
    assert [model["name"] for model in (await site.get("/api/tags", **bearer)).json()["models"]] == ["tiny:latest"]
    refused = await site.post("/api/generate", {"model": "parrot", "keep_alive": 0}, **bearer)
    assert refused.status == 403
    assert list(refused.json()) == ["error"]
