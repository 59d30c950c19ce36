"""Background jobs over the wire: queued by one request, followed and fetched by others."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import aiohttp
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http.conftest import ANYTHING, Answer, Site, StartSite, bodies, until
from velesio.backends.base import ModelSpec
from velesio.config import KeySection, Limits, ServerSection
from velesio.errors import BadRequest
from velesio.http.background import jobs as background
from velesio.http.background.jobs import _Body
from velesio.http.forms import FORMS
from velesio.http.gateway import Gateway
from velesio.http.text import generation
from velesio.jobs import Failed, Image, JobState, Params

KEYS = (
    KeySection(name="a", token="key-a", tenant="one"),
    KeySection(name="b", token="key-b", tenant="two"),
    KeySection(name="c", token="key-c", tenant="one", models=("tiny",)),
)
SLOW = ModelSpec(name="slow", options={"slots": 1, "tokens_per_second": 100.0, "context": 100_000})
CHAT = {"url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "one two three"}]}}
NATIVE = {"url": "/completion", "body": {"prompt": "one two three"}}
FOREVER = {"url": "/completion", "body": {"prompt": "[[tokens 90000]] a b c"}}


class Told(NamedTuple):
    id: int
    event: str
    data: Any


async def told(content: aiohttp.StreamReader) -> AsyncIterator[Told]:
    """The events of a stream as they come; an event without an id has 0."""
    while block := await content.readuntil(b"\n\n"):
        if not block.startswith(b":"):
            fields = dict(line.split(": ", 1) for line in block.decode().strip().splitlines())
            yield Told(int(fields.get("id", 0)), fields["event"], json.loads(fields["data"]))


async def listen(site: Site, job: str, after: int = 0, most: int = 10**9) -> list[Told]:
    """What a client is told that leaves after `most` events."""
    headers = {"Last-Event-ID": str(after)} if after else {}
    async with site.client.get(f"{site.address}/v1/jobs/{job}/events", headers=headers) as response:
        if response.status == 204:
            return []
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        seen = []
        async for each in told(response.content):
            seen.append(each)
            if len(seen) == most:
                break
        return seen


async def queued(site: Site, body: Any, **headers: str) -> str:
    answer = await site.post("/v1/jobs", body, **headers)
    assert answer.status == 202, answer.body
    return str(answer.json()["id"])


async def ended(site: Site, job: str, **headers: str) -> dict[str, Any]:
    """The job, when it has ended."""
    for _ in range(500):
        found: dict[str, Any] = (await site.get(f"/v1/jobs/{job}", **headers)).json()
        if found["state"] in {"done", "failed", "cancelled"}:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(found)


def error_in(answer: Answer) -> tuple[int, str]:
    return answer.status, answer.json()["error"]["code"]


async def test_a_job_is_accepted_with_its_place(site: Site) -> None:
    """202, where to look, how many are ahead; then its state until it is done."""
    answer = await site.post("/v1/jobs", CHAT)
    job = answer.json()
    assert answer.status == 202
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["X-Velesio-Job-Id"] == job["id"]
    assert (job["object"], job["state"], job["model"], job["priority"]) == ("job", "queued", "parrot", "batch")
    assert (job["position"], job["eta"], job["error"]) == (0, None, None)
    assert job["deadline"] - job["created"] == pytest.approx(86400, abs=1)
    done = await ended(site, job["id"])
    assert (done["state"], done["attempts"], done["crashes"]) == ("done", 1, 0)
    assert done["created"] <= done["started"] <= done["ended"]
    assert done["created"] == pytest.approx(job["created"], abs=1)
    assert set(job) - set(done) == {"position", "eta"}


@pytest.mark.parametrize(
    ("url", "body"),
    [
        ("/v1/chat/completions", {**CHAT["body"], "max_tokens": 2}),
        ("/chat/completions", {**CHAT["body"], "stream": True}),
        ("/v1/completions", {"prompt": "one two three", "model": "bird", "user": None}),
        ("/completion", {"prompt": "one two three", "return_tokens": True, "n_predict": 2}),
        ("/completions", {"prompt": [1, 2], "response_fields": ["content", "timings/predicted_n"]}),
    ],
)
async def test_the_result_is_what_the_route_would_have_answered(site: Site, url: str, body: dict[str, Any]) -> None:
    """In the shape of the route that was named, called after the job."""
    job = await queued(site, {"url": url, "body": body})
    await ended(site, job)
    result = await site.get(f"/v1/jobs/{job}/result")
    direct = await site.post(url, {**body, "stream": False})
    assert (result.status, direct.status) == (200, 200)
    assert plain(result.json()) == plain(direct.json())
    if "id" in result.json():
        assert result.json()["id"].endswith(f"-{job}")
        assert direct.json()["id"].endswith(f"-{direct.headers['X-Velesio-Job-Id']}")


def plain(answer: dict[str, Any]) -> dict[str, Any]:
    """Without what differs from one time to the other."""
    settings = answer.get("generation_settings", {})
    same = {name: value for name, value in answer.items() if name not in {"id", "created", "timings", "id_slot"}}
    return {**same, "generation_settings": {**settings, "stream": False}} if settings else same


async def test_a_result_that_is_not_there_yet_says_when(start_site: StartSite) -> None:
    """409 with the state, the place and a time to wait; the same time goes with the state itself."""
    site = await start_site(specs=(SLOW,))
    running = await queued(site, FOREVER)
    await until_state(site, running, "running")
    waiting = await queued(site, {**NATIVE, "priority": "normal", "timeout": 60})
    answer = await site.get(f"/v1/jobs/{waiting}/result")
    assert error_in(answer) == (409, "job_unfinished")
    assert (answer.json()["error"]["state"], answer.json()["error"]["position"]) == ("queued", 0)
    assert answer.headers["Retry-After"] == "1"
    shown = await site.get(f"/v1/jobs/{waiting}")
    assert shown.headers["Retry-After"] == "1"
    assert shown.json()["deadline"] - shown.json()["created"] == pytest.approx(60, abs=1)
    for job in (running, waiting):
        assert (await site.ask("DELETE", f"/v1/jobs/{job}")).status in {200, 202}
        assert (await ended(site, job))["state"] == "cancelled"
        assert error_in(await site.get(f"/v1/jobs/{job}/result")) == (499, "cancelled")
    assert (await site.ask("DELETE", f"/v1/jobs/{job}")).status == 200


async def until_state(site: Site, job: str, state: str) -> None:
    for _ in range(500):
        if (await site.get(f"/v1/jobs/{job}")).json()["state"] == state:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(state)


async def test_a_job_that_has_ended_is_not_cancelled(site: Site) -> None:
    """409 and why."""
    job = await queued(site, CHAT)
    await ended(site, job)
    answer = await site.ask("DELETE", f"/v1/jobs/{job}")
    assert error_in(answer) == (409, "conflict")
    assert "it is done" in answer.json()["error"]["message"]


async def test_a_failed_job_tells_why_and_can_be_queued_again(site: Site) -> None:
    """The error is in its state, in its result and in its events; queued again it starts afresh under the same id."""
    job = await queued(site, {"url": "/completion", "body": {"prompt": "[[after 1 fail broken]] a b c"}})
    assert (await ended(site, job))["error"]["message"] == "broken"
    assert error_in(await site.get(f"/v1/jobs/{job}/result")) == (500, "job_failed")
    first = await listen(site, job)
    assert [each.event for each in first] == ["started", "delta", "failed"]
    assert first[-1].data["error"]["message"] == "broken"
    assert await listen(site, job, first[-1].id) == []
    again = await site.post(f"/v1/jobs/{job}/requeue", b"")
    assert (again.status, again.json()["id"], again.json()["error"]) == (202, job, None)
    await ended(site, job)
    second = await listen(site, job, first[-1].id)
    assert [each.event for each in second] == ["restarted", "started", "delta", "failed"]
    assert second[0].id > first[-1].id
    assert (await listen(site, job)) == second[1:]


async def test_only_a_failed_job_is_queued_again(site: Site) -> None:
    """409 and what it is."""
    job = await queued(site, CHAT)
    await ended(site, job)
    answer = await site.post(f"/v1/jobs/{job}/requeue", b"")
    assert error_in(answer) == (409, "conflict")
    assert "this one is done" in answer.json()["error"]["message"]


async def test_whoever_queues_a_job_again_is_charged_for_it(start_site: StartSite) -> None:
    """Its own client by its limits, as for a new request; an operator by none. What is used is the job's key's."""
    keys = [
        KeySection(name="a", token="key-a", limits=Limits(requests=2)),
        KeySection(name="boss", token="boss", scopes=("admin",)),
    ]
    site = await start_site(keys=keys)
    mine, boss = {"X_Api_Key": "key-a"}, {"X_Api_Key": "boss"}
    body = {"url": "/completion", "body": {"prompt": "[[fail broken]] a"}}
    job = (await site.post("/v1/jobs", body, **mine)).json()["id"]

    async def failed(times: int) -> None:
        async with asyncio.timeout(5):
            while (await usage())["failed"] < times:
                await asyncio.sleep(0.02)

    async def usage() -> dict[str, Any]:
        rows = (await site.get("/usage?key=a", **boss)).json()["data"]
        return rows[0] if rows else {"failed": 0}

    await failed(1)
    again = await site.post(f"/v1/jobs/{job}/requeue", b"", **mine)
    assert (again.status, again.headers["X-RateLimit-Remaining-Requests"]) == (202, "0")
    await failed(2)
    refused = await site.post(f"/v1/jobs/{job}/requeue", b"", **mine)
    assert error_in(refused) == (429, "rate_limited")
    assert (await site.get(f"/v1/jobs/{job}", **mine)).json()["state"] == "failed"
    assert (await site.post(f"/admin/jobs/{job}/requeue", b"", **boss)).status == 200
    await failed(3)
    row = await usage()
    assert (row["key"], row["requests"], row["failed"]) == ("a", 3, 3)


async def test_events_come_while_the_job_runs(start_site: StartSite) -> None:
    """A client that listens from the beginning and one that joins later are told the same, up to the result."""
    site = await start_site(specs=(SLOW,))
    job = await queued(site, {"url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "[[tokens 40]] a b"}]}})  # fmt: skip  # noqa: E501
    early = asyncio.create_task(listen(site, job))
    await until_state(site, job, "running")
    late = await listen(site, job)
    assert await early == late
    assert [each.event for each in late] == ["started", *["delta"] * 40, "completed"]
    text = "".join(each.data["text"] for each in late if each.event == "delta")
    assert late[-1].data == (await site.get(f"/v1/jobs/{job}/result")).json()
    assert late[-1].data["choices"][0]["message"]["content"] == text


async def test_a_client_that_comes_and_goes_sees_each_event_once(start_site: StartSite) -> None:
    """Whenever it leaves, while the job runs or later, at whatever event: coming back with the last id it has, it is
    told exactly the rest."""
    site = await start_site(specs=(SLOW,))
    dice = random.Random(7)
    job = await queued(site, {"url": "/completion", "body": {"prompt": "[[tokens 60]] alpha beta gamma"}})
    steady = asyncio.create_task(listen(site, job))
    seen: list[Told] = []
    while not seen or seen[-1].event != "completed":
        seen += await listen(site, job, seen[-1].id if seen else 0, dice.randint(1, 9))
    whole = await steady
    assert seen == whole
    assert [each.id for each in whole] == sorted({each.id for each in whole})
    for place, each in enumerate(whole):
        assert await listen(site, job, each.id) == whole[place + 1 :]


async def test_text_goes_on_from_any_character(site: Site) -> None:
    """An id between those of two events gives the rest of the piece."""
    job = await queued(site, NATIVE)
    await ended(site, job)
    [started, *deltas, _] = await listen(site, job)
    whole = "".join(each.data["text"] for each in deltas)
    for place in range(started.id, deltas[-1].id):
        rest = await listen(site, job, place)
        assert "".join(each.data["text"] for each in rest[:-1]) == whole[place - started.id :]


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "1" * 17, "²"])
async def test_a_wrong_event_id_is_refused(site: Site, given: str) -> None:
    """Not an id that any event has."""
    job = await queued(site, CHAT)
    answer = await site.get(f"/v1/jobs/{job}/events?after={given}")
    assert error_in(answer) == (400, "invalid_request")
    await ended(site, job)


async def test_a_client_that_leaves_does_not_end_the_job(start_site: StartSite) -> None:
    """Nobody listens any more, and the job is done all the same."""
    site = await start_site(specs=(SLOW,))
    job = await queued(site, {"url": "/completion", "body": {"prompt": "[[tokens 30]] a b"}})
    assert len(await listen(site, job, most=3)) == 3
    assert (await ended(site, job))["state"] == "done"


async def test_a_stream_ends_with_its_gateway_and_goes_on_at_another(start_site: StartSite) -> None:
    """A gateway that drains ends its streams with an error that has no id; the job stays, and its events with it."""
    site = await start_site(specs=(SLOW,))
    other = await start_site(specs=())
    job = await queued(site, {"url": "/completion", "body": {"prompt": "[[tokens 60]] a b"}})
    listening = asyncio.create_task(listen(site, job))
    await until(lambda: len(site.gateway.answers) == 1)
    await until_state(site, job, "running")
    await asyncio.sleep(0.1)
    await site.gateway.finish(0.0)
    *seen, error = await asyncio.wait_for(listening, 10)
    assert (error.id, error.event, error.data["error"]["code"]) == (0, "error", "shutting_down")
    assert error_in(await site.post("/v1/jobs", CHAT)) == (503, "shutting_down")
    seen += await listen(other, job, seen[-1].id)
    assert seen == await listen(other, job)
    assert [each.event for each in seen].count("completed") == 1


async def test_jobs_are_their_tenants_own(start_site: StartSite) -> None:
    """Another tenant is told the same as of an unknown job, whatever it wants; keys of one tenant share."""
    site = await start_site(keys=KEYS)
    job = await queued(site, CHAT, X_Api_Key="key-a")
    await ended(site, job, X_Api_Key="key-c")
    for method, path in PLACES:
        answer = await site.ask(method, f"/v1/jobs/{job}{path}", X_Api_Key="key-b")
        assert error_in(answer) == (404, "job_not_found")
        assert "X-Velesio-Job-Id" not in answer.headers
        assert (await site.ask(method, f"/v1/jobs/{job}{path}")).status == 401
    assert (await site.get(f"/v1/jobs/{job}/result", X_Api_Key="key-a")).status == 200
    answer = await site.post("/v1/jobs", CHAT | {"body": {**CHAT["body"], "model": "parrot"}}, X_Api_Key="key-c")
    assert error_in(answer) == (403, "forbidden")


PLACES = [("GET", ""), ("GET", "/result"), ("GET", "/events"), ("DELETE", ""), ("POST", "/requeue")]


@pytest.mark.parametrize("job", ["unknown", "0" * 32, "%0d%0aX-Evil:%201", "%ff", "a" * 65, "..%2f..", "%00"])
async def test_an_unknown_job_is_not_found(site: Site, job: str) -> None:
    """Whatever stands in its place."""
    for method, path in PLACES:
        answer = await site.ask(method, f"/v1/jobs/{job}{path}")
        assert error_in(answer) == (404, "job_not_found")


@pytest.mark.parametrize(
    ("body", "param", "said"),
    [
        ({}, "url", "is required"),
        ({"url": "/completion"}, "body", "is required"),
        ({"url": "/v1/chat/completion", "body": {}}, "url", "did you mean '/v1/chat/completions'"),
        ({"url": "/nowhere", "body": {}}, "url", "expected one of /v1/chat/completions"),
        ({"url": 1, "body": {}}, "url", "expected a string"),
        ({"url": "/completion", "body": []}, "body", "expected an object"),
        (CHAT | {"body": {**CHAT["body"], "session_id": "s"}}, "body.session_id", "waited for"),
        (CHAT | {"hook": "x"}, "hook", "known are url, body, priority, timeout, webhook"),
        (CHAT | {"webhook": "https://example.org"}, "webhook", "this server's webhooks.hosts does not name it"),
        (CHAT | {"priority": "urgent"}, "priority", "expected one of interactive, normal, batch"),
        (CHAT | {"timeout": -1}, "timeout", "expected up to 86400 seconds"),
        (CHAT | {"timeout": 86401}, "timeout", "server.background_timeout"),
        ({"url": "/completion", "body": {"prompt": ["a", "b"]}}, "body", "asks for 2 answers"),
        ({"url": "/completion", "body": {"prompt": "a", "n": 3}}, "body", "asks for 3 answers"),
        ({"url": "/completion", "body": {}}, "prompt", "is required"),
        ({"url": "/completion", "body": {"prompt": "a", "temperature": "hot"}}, "temperature", "expected a number"),
        ({"url": "/v1/completions", "body": {"prompt": "a", "model": "crow"}}, "model", "no model is called 'crow'|does not exist"),  # noqa: E501
    ],
)  # fmt: skip
async def test_mistakes_are_named(site: Site, body: Any, param: str, said: str) -> None:
    """The field, and what would be right; nothing is queued."""
    answer = await site.post("/v1/jobs", body)
    error = answer.json()["error"]
    assert answer.status in {400, 404}
    assert error["param"] == param
    assert any(words in error["message"] for words in said.split("|")), error
    assert "X-Velesio-Job-Id" not in answer.headers


PROMPTS = {
    "prompt": st.sampled_from(["a", [1, 2], ["a", "b"], [["a", 1]]]) | ANYTHING,
    "messages": st.just([{"role": "user", "content": "a"}]) | ANYTHING,
}


NEEDED = {"url": st.sampled_from(["x", *FORMS]), "body": ANYTHING | bodies([generation.Body], **PROMPTS)}


@given(bodies([_Body], **NEEDED) | st.fixed_dictionaries(NEEDED))
def test_any_body_is_read_or_refused(body: dict[str, Any]) -> None:
    """Whatever JSON comes, a job comes of it or a refusal that names a field; what is kept of it can be read again."""
    asked = outcome(body)
    if isinstance(asked, BadRequest):
        assert asked.param
        return
    assert 0 < asked.seconds <= 60
    [again] = FORMS[asked.origin.url].read(asked.origin.raw()).params
    assert drawn(again) == drawn(asked.params)


def drawn(params: Params) -> Params:
    """Without the seed that A1111's API draws when it reads that it shall."""
    return msgspec.structs.replace(params, seed=0) if isinstance(params, Image) else params


def outcome(body: dict[str, Any]) -> background.Asked | BadRequest:
    try:
        return background.read(body, 60.0)
    except BadRequest as error:
        return error


async def test_a_direct_answer_has_a_state_but_no_result_to_fetch(site: Site) -> None:
    """Its asker was answered; that it was done can be seen."""
    answer = await site.post("/completion", {"prompt": "a b"})
    job = answer.headers["X-Velesio-Job-Id"]
    assert (await site.get(f"/v1/jobs/{job}")).json()["state"] == "done"
    for path in ("result", "events"):
        refusal = await site.get(f"/v1/jobs/{job}/{path}")
        assert error_in(refusal) == (404, "job_not_found")
        assert "its asker was answered" in refusal.json()["error"]["message"]


async def test_a_model_that_nobody_serves_is_refused(start_site: StartSite) -> None:
    """503, as everywhere."""
    site = await start_site(specs=())
    assert error_in(await site.post("/v1/jobs", CHAT)) == (503, "no_worker")


async def test_a_full_queue_refuses_with_place_and_time(start_site: StartSite, broker: Any) -> None:
    """503 and 429 tell the position, the expected wait and when to come back."""
    site = await start_site(specs=(SLOW,), server=ServerSection(background_timeout=30.0))
    jobs = [await queued(site, FOREVER)]
    await until_state(site, jobs[0], "running")  # the others wait: as many as a tenant may have
    jobs += [await queued(site, FOREVER) for _ in range(100)]
    answer = await site.post("/v1/jobs", FOREVER)
    assert error_in(answer) == (429, "tenant_queue_full")
    assert answer.json()["error"]["position"] == 100
    assert "eta" in answer.json()["error"]
    assert int(answer.headers["Retry-After"]) >= 1
    for job in jobs:
        await site.ask("DELETE", f"/v1/jobs/{job}")
    for job in jobs:
        await ended(site, job)


async def test_a_failure_that_waits_for_another_attempt_is_not_the_end(site: Site) -> None:
    """While attempts are left the job has no error; its result is not there yet."""
    job = await queued(site, {"url": "/completion", "body": {"prompt": "[[retry again]] a"}})
    await until_state(site, job, "scheduled")
    shown = (await site.get(f"/v1/jobs/{job}")).json()
    assert (shown["error"], shown["position"]) == (None, None)
    assert 0 <= shown["eta"] <= 1
    assert error_in(await site.get(f"/v1/jobs/{job}/result")) == (409, "job_unfinished")
    await site.ask("DELETE", f"/v1/jobs/{job}")


async def test_two_gateways_know_the_same_jobs(start_site: StartSite) -> None:
    """Queued at one, fetched at the other."""
    one, two = await start_site(), await start_site(specs=())
    job = await queued(one, CHAT)
    assert [each.event for each in await listen(two, job)][-1] == "completed"
    assert (await two.get(f"/v1/jobs/{job}/result")).json() == (await one.get(f"/v1/jobs/{job}/result")).json()


async def test_an_expired_log_gives_the_end_and_its_text(site: Site) -> None:
    """What the log does not hold any more comes with the result, from the client's place on."""
    job = await queued(site, NATIVE)
    await ended(site, job)
    whole = await listen(site, job)
    await drop_log(site.gateway, job)
    rest = await listen(site, job, whole[1].id)
    assert "".join(each.data["text"] for each in rest[:-1]) == "".join(each.data["text"] for each in whole[2:-1])
    assert rest[-1] == whole[-1]
    assert await listen(site, job, whole[-1].id) == []


async def drop_log(gateway: Gateway, job: str) -> None:
    await gateway.broker.command("DEL", gateway.broker.keys.output(job))


async def test_a_dead_letter_keeps_its_traceback_to_the_operators(site: Site) -> None:
    """Clients are told the error, not where in the program it came from."""
    job = await queued(site, {"url": "/completion", "body": {"prompt": "[[raise]] a"}})
    await ended(site, job)
    record = await site.gateway.queue.record(job)
    assert record is not None
    assert record.state is JobState.FAILED
    assert isinstance(record.result, Failed)
    for path in ("", "/result", "/events"):
        assert b"Traceback" not in (await site.get(f"/v1/jobs/{job}{path}")).body


async def test_anthropics_messages_are_answered_later(site: Site) -> None:
    """The result is a message as its own route gives it, called after the job."""
    body = {"messages": [{"role": "user", "content": "one two three"}], "max_tokens": 8, "model": "parrot"}
    job = await queued(site, {"url": "/v1/messages", "body": body})
    await ended(site, job)
    result = (await site.get(f"/v1/jobs/{job}/result")).json()
    direct = (await site.post("/v1/messages", body)).json()
    assert result["content"] == direct["content"]
    assert (result["type"], result["model"], job in result["id"]) == ("message", "parrot", True)
