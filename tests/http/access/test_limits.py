"""Limits over HTTP: over two gateways with sockets of their own, exactly what is allowed is admitted."""

import asyncio
import contextlib
import resource
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.http.conftest import Site, StartSite, until
from velesio.backends.base import ModelSpec
from velesio.config import KeySection, Limits, LimitsSection, QueueSection, RedisSection
from velesio.http.access.limits import estimates, headers_of
from velesio.jobs import Completion, Image, Job
from velesio.queue.broker import Broker
from velesio.queue.limits import Line, Subject


@pytest.fixture
async def broker(broker: Broker, valkey_url: str) -> AsyncIterator[Broker]:
    """One that bears a crowd: clients and both gateways are one process here, which may take its time."""
    patient = await Broker.connect(RedisSection(url=valkey_url, timeout=30.0), QueueSection())
    yield patient
    await patient.close()


FREE = Limits(requests=0, concurrent=0)
MANY = 500
SPECS = (
    ModelSpec(name="slow", options={"slots": 100, "tokens_per_second": 0.01}),
    ModelSpec(name="quick"),
    ModelSpec(name="painter", options={"capability": "image", "slots": 16}),
)
SLOW = ("/v1/completions", {"model": "slow", "prompt": "a b c d", "max_tokens": 98})
QUICK = ("/v1/completions", {"model": "quick", "prompt": "a b c d", "max_tokens": 98})
PICTURE = ("/v1/images/generations", {"model": "painter", "prompt": "a", "size": "64x64"})


async def two(start_site: StartSite, **sections: Any) -> list[Site]:
    """Two gateways, one worker, one key without limits of its own."""
    keys = [KeySection(name="game", token="game", tenant="studio", limits=FREE)]
    limits = LimitsSection(**sections)
    return [await start_site(keys=keys, limits=limits, specs=specs) for specs in (SPECS, ())]


@asynccontextmanager
async def crowd(
    sites: Sequence[Site], path: str, body: Any, many: int = MANY
) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """So many requests at once, by turns at each gateway; those that go on at the end are left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:

        async def ask(site: Site) -> tuple[int, Mapping[str, str]]:
            async with client.post(site.address + path, json=body, headers={"X-Api-Key": "game"}) as response:
                await response.read()
                return response.status, response.headers

        tasks = [asyncio.create_task(ask(sites[number % len(sites)])) for number in range(many)]
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("sections", "asked", "allowed"),
    [
        ({"tenant": Limits(requests=60)}, SLOW, 60),
        ({"tenant": Limits(tokens=1000)}, SLOW, 10),
        ({"model": Limits(concurrent=25)}, SLOW, 25),
        ({"tenant": Limits(images=12)}, PICTURE, 12),
        ({"models": {"slow": Limits(gpu_seconds=7.0)}}, SLOW, 7),
        ({"tenant": Limits(month_tokens=500)}, SLOW, 5),
    ],
    ids=["requests", "tokens", "concurrent", "images", "gpu_seconds", "month"],
)
async def test_a_crowd_is_admitted_as_far_as_the_limit_goes(
    start_site: StartSite, sections: dict[str, Any], asked: tuple[str, Any], allowed: int
) -> None:
    """500 requests at once over two gateways: exactly so many get in; the others are told when to come back."""
    sites = await two(start_site, **sections)
    async with crowd(sites, *asked) as tasks:

        def refused() -> list[Any]:
            ended = [task.result() for task in tasks if task.done()]
            return [headers for status, headers in ended if status == 429]

        await until(lambda: len(refused()) >= MANY - allowed, within=60)
        for headers in refused():
            assert int(headers["Retry-After"]) >= 1
        statuses = {task.result()[0] for task in tasks if task.done()}
        assert statuses <= {429, 200}
        running = [task for task in tasks if not task.done()]
        drawn = sum(task.result()[0] == 200 for task in tasks if task.done())
        assert len(running) + drawn == allowed
        assert len(refused()) == MANY - allowed


async def test_places_are_free_when_clients_leave(start_site: StartSite) -> None:
    """Requests at a time: who leaves makes room, at every gateway."""
    sites = await two(start_site, tenant=Limits(concurrent=3))
    async with crowd(sites, *SLOW, many=3) as tasks:
        queue = sites[0].gateway.queue

        async def held() -> int:
            status = await queue.status()
            return sum(sum(model.waiting) + model.running for model in status.models)

        while await held() < 3:
            await asyncio.sleep(0.01)
        refusal = await sites[1].post(*QUICK, X_Api_Key="game")
        assert refusal.status == 429
        assert refusal.json()["error"]["code"] == "rate_limited"
        assert "3 requests at a time" in refusal.json()["error"]["message"]
        tasks[0].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[0]
        while (await sites[1].post(*QUICK, X_Api_Key="game")).status == 429:
            await asyncio.sleep(0.01)


async def test_an_answer_is_charged_with_what_it_used(start_site: StartSite) -> None:
    """The estimate (100 tokens) is charged at admission and told; what was really used counts when it is over."""
    [first, second] = await two(start_site, tenant=Limits(tokens=1000, requests=9))
    answer = await first.post(*QUICK, X_Api_Key="game")
    used = answer.json()["usage"]["total_tokens"]
    assert (answer.status, answer.headers["X-RateLimit-Remaining-Tokens"]) == (200, "900")
    assert 0 < used < 100
    answer = await second.post(*QUICK, X_Api_Key="game")
    assert int(answer.headers["X-RateLimit-Remaining-Tokens"]) == 1000 - used - 100
    assert answer.headers["X-RateLimit-Limit-Requests"] == "9"
    assert answer.headers["X-RateLimit-Remaining-Requests"] == "7"
    assert '"tenant-tokens";q=1000;w=60;qu="tokens"' in answer.headers["RateLimit-Policy"]
    assert f'"tenant-tokens";r={900 - used};t=' in answer.headers["RateLimit"]


async def test_a_request_that_is_refused_is_charged_nothing(start_site: StartSite) -> None:
    """Neither one that another limit keeps out, nor one that the queue does, nor one with several answers."""
    [site, _] = await two(start_site, tenant=Limits(requests=2), models={"quick": Limits(tokens=150)})
    path, body = QUICK
    assert (await site.post(path, body | {"n": 3}, X_Api_Key="game")).headers["X-RateLimit-Remaining-Requests"] == "1"
    root = site.gateway.broker.keys.root
    before = await site.gateway.broker.command("HGETALL", f"{root}rl:r:t:studio")
    await site.gateway.broker.command("HSET", f"{root}rl:t:m:quick", "99999999999", 150)
    refusal = await site.post(path, body, X_Api_Key="game")
    assert (refusal.status, refusal.headers["X-RateLimit-Remaining-Requests"]) == (429, "1")
    assert await site.gateway.broker.command("HGETALL", f"{root}rl:r:t:studio") == before


async def test_a_refusal_has_the_shape_of_its_family(start_site: StartSite) -> None:
    """429 in OpenAI's, Anthropic's, Ollama's, A1111's and llama.cpp's own words."""
    [site, _] = await two(start_site, tenant=Limits(requests=1))
    message = [{"role": "user", "content": "a"}]
    assert (await site.post(*QUICK, X_Api_Key="game")).status == 200
    asked = {
        "/v1/chat/completions": {"model": "quick", "messages": message},
        "/v1/messages": {"model": "quick", "messages": message, "max_tokens": 1},
        "/api/chat": {"model": "quick", "messages": message},
        "/completion": {"model": "quick", "prompt": "a"},
        "/sdapi/v1/txt2img": {"prompt": "a", "width": 64, "height": 64},
    }
    told = {path: await site.post(path, body, X_Api_Key="game") for path, body in asked.items()}
    assert {path: answer.status for path, answer in told.items()} == dict.fromkeys(asked, 429)
    assert told["/v1/chat/completions"].json()["error"]["type"] == "rate_limit_error"
    assert told["/v1/messages"].json()["error"]["type"] == "rate_limit_error"
    assert "1 requests a minute" in told["/api/chat"].json()["error"]
    assert told["/completion"].json()["error"]["type"] == "rate_limit_error"
    assert told["/sdapi/v1/txt2img"].json()["error"] == "HTTPException"
    assert all("Retry-After" in answer.headers for answer in told.values())


async def test_without_keys_there_are_no_limits_but_configured_ones(start_site: StartSite) -> None:
    """A loopback client is told of none, unless [limits.local] has some."""
    free = await start_site(specs=SPECS)
    for _ in range(65):
        answer = await free.post("/v1/completions", {"model": "quick", "prompt": "a", "max_tokens": 1})
        assert answer.status == 200
    assert not [name for name in answer.headers if "ratelimit" in name.lower()]
    bound = await start_site(specs=(), limits=LimitsSection(local=Limits(requests=1)))
    assert (await bound.post(*QUICK)).status == 200
    assert (await bound.post(*QUICK)).status == 429


async def test_background_jobs_hold_no_place(start_site: StartSite) -> None:
    """They count as requests, not among those that run at a time."""
    [site, _] = await two(start_site, tenant=Limits(concurrent=1, requests=3))
    body = {"url": SLOW[0], "body": SLOW[1]}
    answers = [await site.post("/v1/jobs", body, X_Api_Key="game") for _ in range(4)]
    assert [answer.status for answer in answers] == [202, 202, 202, 429]
    for answer in answers[:3]:
        await site.ask("DELETE", f"/v1/jobs/{answer.json()['id']}", X_Api_Key="game")


def test_a_request_too_large_for_a_limit_takes_all_of_it() -> None:
    """It is not refused for ever: its jobs share what the limit allows, and the request counts once."""
    jobs = [Job.new("m", Completion(prompt="", max_tokens=amount)) for amount in (300, 100)]
    subjects = (Subject("key", "k", Limits(tokens=100)),)
    first, second = estimates(jobs, subjects, 5).values()
    assert (first["t"], second["t"], first["T"], first["g"]) == (75, 25, 300, 5)
    assert (first["r"], second.get("r")) == (1, None)
    [picture] = estimates([Job.new("m", Image(prompt="", batch=4))], (), 5).values()
    assert picture == {"g": 5, "i": 4, "G": 5, "I": 4, "r": 1}


def test_headers_tell_the_tightest_limit_of_each_kind() -> None:
    """X-RateLimit-* have one value, the standard's fields all of them."""
    lines = [
        Line(subject="key", limit="requests", allowed=60, left=10, reset=12.3),
        Line(subject="tenant", limit="requests", allowed=600, left=5, reset=60),
        Line(subject="model", limit="gpu_seconds", allowed=2.5, left=0.25, reset=3601),
    ]
    assert headers_of(lines) == {
        "X-RateLimit-Limit-Requests": "600",
        "X-RateLimit-Remaining-Requests": "5",
        "X-RateLimit-Reset-Requests": "60",
        "X-RateLimit-Limit-Gpu-Seconds": "2.5",
        "X-RateLimit-Remaining-Gpu-Seconds": "0.25",
        "X-RateLimit-Reset-Gpu-Seconds": "3601",
        "RateLimit-Policy": '"key-requests";q=60;w=60, "tenant-requests";q=600;w=60, '
        '"model-gpu-seconds";q=2;w=86400;qu="seconds"',
        "RateLimit": '"key-requests";r=10;t=13, "tenant-requests";r=5;t=60, "model-gpu-seconds";r=0;t=3601',
    }
    assert headers_of([]) == {}
