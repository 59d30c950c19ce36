"""Jobs of a request: cost, refusals before headers, cancellation, shutdown."""

import asyncio
import json

import aiohttp
import pytest

from tests.http.conftest import SPECS, Site, StartSite, counted, until
from velesio.config import ServerSection
from velesio.errors import JobCancelled, WorkerLost
from velesio.http.access.costs import cost_of
from velesio.http.dispatch import Answers, error_of
from velesio.jobs import (
    Cancelled,
    Chat,
    Completed,
    Completion,
    Delta,
    Event,
    Failed,
    Hires,
    Image,
    Job,
    JobState,
    Params,
    Started,
    TextResult,
)

FOREVER = "[[sleep 0.02]][[tokens 100000]]one two"


@pytest.mark.parametrize(
    ("params", "cost"),
    [
        (Completion("x" * 4000, max_tokens=1000), 2.0),
        (Completion([1] * 500, max_tokens=500), 1.0),
        (Completion("", max_tokens=0), 0.001),
        (Completion("", max_tokens=-1), 0.256),
        (Chat([{"role": "user", "content": "x" * 4000}], max_tokens=0), 1.0),
        (Image("x", width=512, height=512, steps=20), 5.24288),
        (Image("x", width=512, height=512, steps=20, batch=2, hires=Hires(2.0, steps=10)), 31.45728),
    ],
)
def test_cost(params: Params, cost: float) -> None:
    """Thousands of tokens, prompt and answer together; megapixel-steps."""
    assert cost_of(params) == pytest.approx(cost)


class Script:
    """A watch of fixed batches."""

    def __init__(self, *batches: list[Event]) -> None:
        self._batches = iter(batches)

    def __aiter__(self) -> "Script":
        return self

    async def __anext__(self) -> list[Event]:
        for batch in self._batches:
            return batch
        raise StopAsyncIteration


def answers(*watches: Script) -> Answers:
    jobs = [Job.new("parrot", Completion("x")) for _ in watches]
    return Answers(jobs, watches, {index: job.id for index, job in enumerate(jobs)}, 0.0)  # type: ignore[arg-type]


async def test_text_that_comes_with_a_failure_is_delivered_before_it() -> None:
    """Both in one batch: first the text, then the error."""
    given = answers(Script([Started(1), Delta("a"), Failed("worker_lost", "gone")]))
    assert await anext(given) == [(0, Started(1)), (0, Delta("a"))]
    for _ in range(2):
        with pytest.raises(WorkerLost, match="gone"):
            await anext(given)


async def test_a_failure_in_the_first_batch_is_a_refusal() -> None:
    """Nothing was sent yet, so the text with it need not be."""
    with pytest.raises(WorkerLost):
        await answers(Script([Started(1), Delta("a"), Failed("worker_lost", "gone")])).begin()
    with pytest.raises(JobCancelled, match="by the operator"):
        await answers(Script([Cancelled("by the operator")])).begin()


async def test_the_first_batch_is_not_lost() -> None:
    """What `begin` waited for comes with the iteration."""
    given = answers(Script([Started(1)], [Delta("a")], [Completed(TextResult("a"))]))
    await given.begin()
    assert [event async for batch in given for _, event in batch] == [
        Started(1),
        Delta("a"),
        Completed(TextResult("a")),
    ]
    assert given.results == {0: TextResult("a")}


async def test_watches_are_merged_in_their_own_order() -> None:
    """Each job's events keep their order, and come with its index."""
    scripts = [Script([Delta(f"{job}a")], [Delta(f"{job}b"), Completed(TextResult(f"{job}ab"))]) for job in range(3)]
    given = answers(*scripts)
    events = [numbered async for batch in given for numbered in batch]
    await given.close()
    for job in range(3):
        assert [event for index, event in events if index == job] == [
            Delta(f"{job}a"),
            Delta(f"{job}b"),
            Completed(TextResult(f"{job}ab")),
        ]


async def test_what_must_be_done_is_done_though_the_caller_is_cancelled(site: Site) -> None:
    """As often as it is cancelled."""
    go, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        done.set()

    caller = asyncio.create_task(site.gateway.see_through(work()))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert not done.is_set()
    go.set()
    await site.gateway.finish(1.0)
    assert done.is_set()


async def begin(site: Site, path: str = "/completion", prompt: str = FOREVER) -> aiohttp.ClientResponse:
    """A stream that has begun."""
    body = {"prompt": prompt, "stream": True, "messages": [{"role": "user", "content": prompt}]}
    response = await site.client.post(site.address + path, json=body)
    assert response.status == 200
    await response.content.readline()
    return response


def running(site: Site) -> list[str]:
    assert site.worker is not None
    return site.worker.facts()["jobs"]


async def waiting(site: Site) -> int:
    return sum(sum(model.waiting) for model in (await site.gateway.queue.status()).models)


@pytest.mark.parametrize("path", ["/completion", "/v1/chat/completions"])
async def test_a_reader_who_leaves_cancels_the_job(site: Site, path: str) -> None:
    """The worker's sequence is freed, the job's record says cancelled, the log's status is 499."""
    before = counted("velesio_requests_total", route=path, code="499")
    response = await begin(site, path)
    job_id = response.headers["X-Velesio-Job-Id"]
    assert running(site) == [job_id]
    response.close()
    await until(lambda: not running(site))
    record = await site.gateway.queue.record(job_id)
    assert record is not None
    assert record.state is JobState.CANCELLED
    assert counted("velesio_requests_total", route=path, code="499") == before + 1
    assert not site.gateway.answers


async def test_a_caller_who_leaves_cancels_the_job(site: Site) -> None:
    """Also when the answer is not streamed, and nothing was sent yet."""
    asking = asyncio.create_task(site.post("/completion", {"prompt": FOREVER}))
    await until(lambda: running(site))
    asking.cancel()
    await until(lambda: not running(site))
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_a_caller_who_leaves_the_queue_cancels_the_job(site: Site) -> None:
    """Jobs that wait are taken out, all of one request."""
    busy = [await begin(site) for _ in range(8)]
    asking = asyncio.create_task(site.post("/completion", {"prompt": ["a", "b", "c"]}))
    while await waiting(site) < 3:
        await asyncio.sleep(0.005)
    asking.cancel()
    while await waiting(site):
        await asyncio.sleep(0.005)
    for response in busy:
        response.close()
    await until(lambda: not running(site))


async def test_an_early_refusal_is_plain_json(site: Site) -> None:
    """Also where a stream was asked for: no header is sent before the first event."""
    for stream in (False, True):
        response = await site.post("/completion", {"prompt": "word " * 20, "model": "tiny", "stream": stream})
        assert response.status == 400
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        error = response.json()["error"]
        assert (error["type"], error["n_prompt_tokens"], error["n_ctx"]) == ("exceed_context_size_error", 21, 8)


async def test_a_failure_before_any_text_is_plain_json(site: Site) -> None:
    """When it comes with the first events."""
    response = await site.post("/completion", {"prompt": "[[fail broken]]one", "stream": False})
    assert response.status == 500
    assert response.json()["error"] == {"code": 500, "message": "broken", "type": "server_error"}


async def test_a_failure_in_a_stream_is_its_last_event(site: Site) -> None:
    """After the text that came before it."""
    response = await site.post("/completion", {"prompt": "[[after 2 fail broken]]one two three", "stream": True})
    *texts, last = response.events()
    assert response.status == 200
    assert "".join(event["content"] for event in texts) == "one two"
    assert last["error"] == {"code": 500, "message": "broken", "type": "server_error"}


async def test_one_failed_prompt_fails_the_request_and_cancels_the_others(site: Site) -> None:
    """Nobody would get their answers."""
    response = await site.post("/completion", {"prompt": [FOREVER, "[[after 1 fail broken]]one two", FOREVER]})
    assert response.status == 500
    await until(lambda: not running(site))
    assert not site.gateway.answers


async def test_a_full_queue_refuses_and_takes_back(start_site: StartSite) -> None:
    """A list of prompts that does not fit leaves none of them behind."""
    site = await start_site()
    room = site.gateway.broker.settings.tenant_cap
    busy = [await begin(site) for _ in range(8)]
    first = asyncio.create_task(site.post("/completion", {"prompt": ["x"] * (room // 2)}))
    while await waiting(site) < room // 2:
        await asyncio.sleep(0.005)
    refused = await site.post("/completion", {"prompt": ["x"] * (room // 2 + 1)})
    assert refused.status == 429
    assert int(refused.headers["Retry-After"]) >= 1
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert await waiting(site) == room // 2
    for response in busy:
        response.close()
    assert (await first).status == 200


async def test_a_deadline_ends_the_wait(start_site: StartSite) -> None:
    """504, and the job is gone."""
    site = await start_site(server=ServerSection(request_timeout=0.2))
    response = await site.post("/completion", {"prompt": FOREVER})
    assert response.status == 504
    assert response.json()["error"]["type"] == "timeout_error"
    await until(lambda: not running(site))


async def test_a_drain_lets_answers_end(site: Site) -> None:
    """New jobs are refused, those under way go on."""
    response = await begin(site, prompt="[[sleep 0.02]][[tokens 10]]one two")
    finishing = asyncio.create_task(site.gateway.finish(10.0))
    await until(lambda: site.gateway.draining)
    refused = await site.post("/completion", {"prompt": "x"})
    assert refused.status == 503
    assert "shutting down" in refused.json()["error"]["message"]
    assert (await site.get("/readyz")).status == 503
    assert (await site.get("/livez")).status == 200
    rest = await response.content.read()
    assert json.loads(rest.strip().rpartition(b"data: ")[2])["stop"] is True
    await finishing


async def test_a_drain_that_takes_too_long_tells_why(site: Site) -> None:
    """The stream ends with an error, the call with 503, their jobs are cancelled."""
    stream = await begin(site)
    asking = asyncio.create_task(site.post("/completion", {"prompt": FOREVER}))
    await until(lambda: len(running(site)) == 2)
    await site.gateway.finish(0.05)
    last = json.loads((await stream.content.read()).strip().rpartition(b"data: ")[2])
    assert last["error"]["type"] == "unavailable_error"
    assert "shutting down" in last["error"]["message"]
    assert (await asking).status == 503
    await until(lambda: not running(site))
    assert not site.gateway.answers


async def test_times_to_tokens_are_measured(site: Site) -> None:
    """From the arrival to the first text, and between texts."""
    first = counted("velesio_time_to_first_token_seconds_count", model="parrot")
    between = counted("velesio_inter_token_seconds_count", model="parrot")
    total = counted("velesio_inter_token_seconds_sum", model="parrot")
    await site.post("/completion", {"prompt": "[[sleep 0.03]]a b c d", "stream": True})
    assert counted("velesio_time_to_first_token_seconds_count", model="parrot") == first + 1
    assert counted("velesio_inter_token_seconds_count", model="parrot") == between + 3
    assert counted("velesio_inter_token_seconds_sum", model="parrot") - total > 0.06


def test_the_specs_have_a_name_with_a_slash() -> None:
    """The tests of paths rely on it."""
    assert any("/" in alias for alias in SPECS[0].aliases)


def test_a_failure_names_the_field_at_fault() -> None:
    """Where the worker did; other details stay details."""
    error = error_of(Failed("invalid_request", "no such token", details={"param": "logit_bias", "n_vocab": 5}))
    assert (error.param, error.details) == ("logit_bias", {"n_vocab": 5})
    assert error_of(Failed("job_failed", "broken")).param is None
