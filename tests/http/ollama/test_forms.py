"""Ollama's routes in the background: what they would have answered, fetched later."""

import asyncio
from typing import Any

import pytest

from tests.http.conftest import Answer, Site, StartSite
from velesio.config import KeySection

MESSAGES = [{"role": "user", "content": "one two three"}]
WHEN = {"created_at", "total_duration", "load_duration", "prompt_eval_duration", "eval_duration", "context"}
"""What differs from answer to answer; and what takes another job to know."""


async def later(site: Site, url: str, body: dict[str, Any], **headers: str) -> Answer:
    """The result of a background job, or the refusal."""
    queued = await site.post("/v1/jobs", {"url": url, "body": body}, **headers)
    if queued.status != 202:
        return queued
    place = f"/v1/jobs/{queued.json()['id']}/result"
    async with asyncio.timeout(5):
        while (answer := await site.get(place, **headers)).status == 409:
            await asyncio.sleep(0.01)
    return answer


def told(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    return {name: value for name, value in answer.json().items() if name not in WHEN}


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/api/generate", {"prompt": "one two three", "options": {"num_predict": 2}}),
        ("/api/generate", {"prompt": "one two", "raw": True}),
        ("/api/chat", {"messages": MESSAGES, "keep_alive": "5m"}),
        ("/api/embed", {"input": ["one", "two three"]}),
        ("/api/embeddings", {"prompt": "one"}),
        ("/generate", {"prompt": "one two three"}),
        ("/chat", {"messages": MESSAGES}),
        ("/embed", {"input": "one"}),
    ],
)
@pytest.mark.parametrize("model", ["parrot", "parrot:latest"])
async def test_the_answer_is_the_same_later(site: Site, url: str, body: dict[str, Any], model: str) -> None:
    """But for its times; the model is called as the client calls it."""
    asked = {"model": model, "stream": False} | body
    now = told(await site.post(url, asked))
    assert told(await later(site, url, asked)) == now
    assert now.get("model", model) == model
    assert told(await later(site, url, {"model": model} | body)) == now  # streams are for those who wait


@pytest.mark.parametrize(
    ("url", "body", "status", "words"),
    [
        ("/api/generate", {"model": "parrot", "prompt": "a", "context": [1, 2]}, 400, "body.context"),
        ("/api/generate", {"model": "parrot"}, 400, "asks for 0 answers"),
        ("/api/chat", {"model": "parrot", "messages": MESSAGES, "think": True}, 400, "does not support thinking"),
        ("/api/chat", {"model": "nobody", "messages": MESSAGES}, 404, "nobody"),
        ("/api/chat", {"messages": MESSAGES}, 400, "model"),
        ("/api/chat", {"model": "tiny", "messages": [{"role": "user", "content": "a " * 50}]}, 400, "context size"),
    ],
)
async def test_what_cannot_be_answered_later_says_why(
    site: Site, url: str, body: dict[str, Any], status: int, words: str
) -> None:
    """At once, or where the model has to be asked, in the result: nothing is cut that is too long."""
    answer = await later(site, url, body)
    assert (answer.status, words in answer.body.decode()) == (status, True), answer.body


async def test_a_tenant_of_several_says_nothing_of_when_its_model_goes(start_site: StartSite) -> None:
    """As where it waits for the answer."""
    site = await start_site(keys=[KeySection(name=name, token=name, tenant=name) for name in ("one", "two")])
    body = {"model": "parrot", "messages": MESSAGES, "keep_alive": 0}
    assert (await later(site, "/api/chat", body, X_Api_Key="one")).status == 200
    assert site.worker is not None
    assert site.worker.residency.states()["parrot"].expires_at is None
