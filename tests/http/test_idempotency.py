"""The same request again finds what became of it the first time."""

import asyncio
import json
from typing import Any

import pytest

from tests.http.conftest import Answer, Site, StartSite, events_of, until
from velesio.backends.base import ModelSpec
from velesio.config import KeySection
from velesio.http.idempotency import HEADER
from velesio.jobs import JobState

SLOW = ModelSpec(name="slow", options={"slots": 4, "tokens_per_second": 100.0, "context": 100_000})
RANDOM = {"messages": [{"role": "user", "content": "one two three"}]}
LONG = {"prompt": "[[tokens 40]] a b c"}


def key(name: str = "k") -> dict[str, str]:
    return {"Idempotency_Key": name}


async def jobs_done(site: Site) -> int:
    """How many jobs there were."""
    return sum(model.done for model in (await site.gateway.queue.status()).models)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", RANDOM),
        ("/v1/completions", {"prompt": "one two three"}),
        ("/completion", {"prompt": "one two three", "n_predict": 2}),
    ],
)
async def test_the_same_request_gets_the_same_answer(site: Site, path: str, body: dict[str, Any]) -> None:
    """Byte for byte, from one job; the answer says that it is the earlier one."""
    first = await site.post(path, body, **key())
    again = await site.post(path, dict(reversed(body.items())), **key('"k"'))
    assert (first.status, again.status) == (200, 200)
    assert first.body == again.body
    assert first.headers["X-Velesio-Job-Id"] == again.headers["X-Velesio-Job-Id"]
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    assert await jobs_done(site) == 1


@pytest.mark.parametrize(("path", "body"), [("/v1/chat/completions", RANDOM), ("/completion", {"prompt": "a b c"})])
async def test_a_stream_is_told_again(site: Site, path: str, body: dict[str, Any]) -> None:
    """The same events, and after them the same end."""
    asked = {**body, "stream": True}
    first, again = [await site.post(path, asked, **key()) for _ in range(2)]
    assert events_of(first.body) == events_of(again.body)
    assert again.headers["Idempotent-Replayed"] == "true"


async def test_another_request_under_the_key_is_refused(site: Site) -> None:
    """422 for any difference: another field, another route; another key is another request."""
    first = await site.post("/v1/completions", {"prompt": "a b"}, **key())
    assert first.status == 200
    for path, body in (
        ("/v1/completions", {"prompt": "a c"}),
        ("/v1/completions", {"prompt": "a b", "stream": True}),
        ("/v1/completions", {"prompt": "a b", "user": "me"}),
        ("/completion", {"prompt": "a b"}),
        ("/v1/jobs", {"url": "/v1/completions", "body": {"prompt": "a b"}}),
    ):
        answer = await site.post(path, body, **key())
        assert answer.status == 422
        assert answer.json()["error"]["message"] == "The idempotency key was used with another request."
    other = await site.post("/v1/completions", {"prompt": "a b"}, **key("k2"))
    assert other.json()["id"] != first.json()["id"]


async def test_keys_are_a_tenants_own(start_site: StartSite) -> None:
    """Two tenants with the same key have nothing to do with each other; two keys of one tenant share."""
    tenants = {"a": "one", "b": "two", "c": "one"}
    site = await start_site(
        keys=[KeySection(name=name, token=f"key-{name}", tenant=tenant) for name, tenant in tenants.items()]
    )
    answers = {
        name: (await site.post("/v1/chat/completions", RANDOM, X_Api_Key=f"key-{name}", **key())).json()["id"]
        for name in tenants
    }
    assert answers["a"] == answers["c"] != answers["b"]


async def test_a_running_job_is_joined(start_site: StartSite) -> None:
    """Whoever asks again while the answer is being made gets all of it, at any gateway, with or without streaming."""
    site = await start_site(specs=(SLOW,))
    other = await start_site(specs=(SLOW,))
    streaming = {**LONG, "stream": True}
    first = asyncio.create_task(site.post("/completion", streaming, **key()))
    await until_running(site)
    second = asyncio.create_task(other.post("/completion", streaming, **key()))
    plain = [asyncio.create_task(each.post("/completion", LONG, **key("plain"))) for each in (site, other)]
    one, two = await first, await second
    assert two.headers["Idempotent-Replayed"] == "true"
    assert events_of(one.body) == events_of(two.body)
    three, four = [await each for each in plain]
    assert three.body == four.body
    text = "".join(json.loads(event)["content"] for event in events_of(one.body))
    assert three.json()["content"] == text
    assert await jobs_done(site) == 2


async def until_running(site: Site) -> str:
    for _ in range(500):
        if records := await site.gateway.queue.recent(JobState.RUNNING):
            return records[0].id
        await asyncio.sleep(0.01)
    raise AssertionError


async def test_a_client_that_leaves_finds_its_answer(start_site: StartSite) -> None:
    """The job goes on when its client has gone; asked again, all of it is there, and nothing was computed twice."""
    site = await start_site(specs=(SLOW,))
    leaving = asyncio.create_task(site.post("/completion", {**LONG, "stream": True}, **key()))
    job = await until_running(site)
    leaving.cancel()
    await until(lambda: not site.gateway.answers)
    again = await site.post("/completion", {**LONG, "stream": True}, **key())
    assert again.headers["X-Velesio-Job-Id"] == job
    assert json.loads(events_of(again.body)[-1])["tokens_predicted"] == 40
    assert await jobs_done(site) == 1


async def test_a_failure_is_told_again_until_it_is_queued_again(site: Site) -> None:
    """The key names the job, whatever becomes of it: an operator who queues it again mends the key too."""
    body = {"prompt": "[[fail why]] a b"}
    for _ in range(2):
        answer = await site.post("/v1/completions", body, **key())
        assert (answer.status, answer.json()["error"]["message"]) == (500, "why")
    job = answer.headers["X-Velesio-Job-Id"]
    assert (await site.post(f"/v1/jobs/{job}/requeue", b"")).status == 202
    await until_ended(site, job)
    record = await site.gateway.queue.record(job)
    assert record is not None
    assert record.life == 1


async def until_ended(site: Site, job: str) -> None:
    for _ in range(500):
        record = await site.gateway.queue.record(job)
        if record is not None and record.state.final:
            return
        await asyncio.sleep(0.01)
    raise AssertionError


async def test_a_refusal_binds_no_key(start_site: StartSite) -> None:
    """A request that was not accepted can be mended and sent again under its key."""
    site = await start_site()
    for body, status in (({"prompt": 1}, 400), ({"prompt": "a", "model": "crow"}, 404), ({"prompt": "a b"}, 200)):
        assert (await site.post("/v1/completions", body, **key())).status == status


async def test_several_answers_have_one_key(site: Site) -> None:
    """Prompts times choices: each of them is found again."""
    body = {"prompt": ["a b", "c d"], "n": 2}
    first, again = [await site.post("/v1/completions", body, **key()) for _ in range(2)]
    assert first.body == again.body
    assert len(first.json()["choices"]) == 4
    assert await jobs_done(site) == 4


async def test_an_answer_that_is_not_kept_any_more(site: Site) -> None:
    """A key outlives its answer: 409 says so, since nobody knows what the answer was."""
    first = await site.post("/v1/completions", {"prompt": "a b"}, **key())
    broker = site.gateway.broker
    await broker.command("DEL", broker.keys.job(first.headers["X-Velesio-Job-Id"]))
    answer = await site.post("/v1/completions", {"prompt": "a b"}, **key())
    assert (answer.status, answer.json()["error"]["code"]) == (409, "conflict")
    assert "use another key" in answer.json()["error"]["message"]


@pytest.mark.parametrize("given", ["", '""', "x" * 256, "k\u00e9", "a\tb"])
async def test_a_key_that_cannot_be_one_is_refused(site: Site, given: str) -> None:
    """1 to 255 printable ASCII characters."""
    answer = await site.post("/v1/completions", {"prompt": "a"}, **key(given))
    assert (answer.status, answer.json()["error"]["param"]) == (400, HEADER)


async def test_two_keys_are_refused(site: Site) -> None:
    """Nobody could tell which one counts."""
    headers = [(HEADER, "a"), (HEADER, "b")]
    async with site.client.post(f"{site.address}/completion", json={"prompt": "a"}, headers=headers) as response:
        assert response.status == 400


async def test_an_answer_under_a_key_can_be_fetched_as_a_job(site: Site) -> None:
    """A client that has lost everything but the job's id finds its answer there."""
    first = await site.post("/v1/chat/completions", RANDOM, **key())
    job = first.headers["X-Velesio-Job-Id"]
    assert (await site.get(f"/v1/jobs/{job}/result")).json() == first.json()


async def test_a_background_job_is_queued_once(site: Site) -> None:
    """The same key gives the same job, as it stands; other things asked under it are refused."""
    body = {"url": "/v1/chat/completions", "body": RANDOM, "timeout": 60}
    first = await site.post("/v1/jobs", body, **key())
    await until_ended(site, first.json()["id"])
    again = await site.post("/v1/jobs", body, **key())
    assert (again.status, again.json()["id"], again.json()["state"]) == (202, first.json()["id"], "done")
    assert (first.headers.get("Idempotent-Replayed"), again.headers["Idempotent-Replayed"]) == (None, "true")
    assert (await site.post("/v1/jobs", {**body, "timeout": 61}, **key())).status == 422


async def test_many_at_once_are_one(start_site: StartSite) -> None:
    """However many clients ask at the same moment under one key, there is one job, and all get its answer."""
    sites = [await start_site(), await start_site()]
    answers: list[Answer] = await asyncio.gather(
        *(sites[number % 2].post("/v1/chat/completions", RANDOM, **key()) for number in range(20))
    )
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert sum("Idempotent-Replayed" not in answer.headers for answer in answers) == 1


@pytest.mark.parametrize("stream", [True, False])
async def test_a_job_that_began_anew(start_site: StartSite, stream: bool) -> None:
    """What was sent cannot be taken back, so a stream ends with an error; an answer as a whole just comes later."""
    options = {"slots": 4, "tokens_per_second": 100.0, "can_continue": False}
    site = await start_site(specs=[ModelSpec(name="forgetful", options=options)])
    asked = asyncio.create_task(site.post("/v1/completions", {**LONG, "stream": stream}, **key()))
    job = await until_running(site)
    broker = site.gateway.broker
    while len(await broker.command("XRANGE", broker.keys.output(job), "-", "+")) < 5:
        await asyncio.sleep(0.01)
    owner, attempt = await broker.command("HMGET", broker.keys.job(job), "wrk", "att")
    assert await broker.run("release", owner, job, attempt, 0) == b"OK"
    answer = await asyncio.wait_for(asked, 10)
    assert answer.status == 200
    if stream:
        assert json.loads(events_of(answer.body)[-2])["error"]["code"] == "worker_lost"
        await until_ended(site, job)
    else:
        assert answer.json()["usage"]["completion_tokens"] == 40


async def test_an_unanswered_enqueue_under_a_key_is_kept(site: Site) -> None:
    """If the broker took the job but its answer got lost, asking again with the key finds the job, not a cancel."""
    from velesio.errors import BrokerUnavailable

    broker = site.gateway.broker
    real = broker.run

    async def unanswered(name: str, *arguments: Any, **options: Any) -> Any:
        answer = await real(name, *arguments, **options)
        if name == "enqueue":
            raise BrokerUnavailable
        return answer

    broker.run = unanswered  # type: ignore[method-assign, assignment]
    assert (await site.post("/v1/completions", {"prompt": "a b"}, **key())).status == 503
    broker.run = real  # type: ignore[method-assign]
    assert not broker.doubtful
    again = await site.post("/v1/completions", {"prompt": "a b"}, **key())
    assert (again.status, again.headers["Idempotent-Replayed"]) == (200, "true")
