"""The port where llama.cpp's clients look: the same routes with llama-server's own defaults."""

import asyncio
import re
from typing import Any

import pytest

from tests.http.conftest import Answer, Site, StartSite, until
from velesio.backends.base import ModelSpec
from velesio.config import KeySection

CHAT = {"messages": [{"role": "user", "content": "one two three"}]}


async def ask(site: Site, method: str, path: str, body: Any = b"", **headers: str) -> Answer:
    return await site.ask(method, path, body, at=site.llamacpp, **headers)


async def test_the_server_is_llamacpp_there_alone(site: Site) -> None:
    """Programs look at this header."""
    assert (await ask(site, "GET", "/health")).headers["Server"] == "llama.cpp"
    assert (await site.get("/health")).headers["Server"] == "velesio"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("GET", "/v1/chat/completions", b"", 404, "not_found_error"),
        ("PUT", "/v1/models", b"", 404, "not_found_error"),
        ("GET", "/completion", b"", 404, "not_found_error"),
        ("GET", "/nowhere", b"", 404, "not_found_error"),
        ("POST", "/v1/chat/completions", {}, 400, "invalid_request_error"),
        ("POST", "/v1/chat/completions", CHAT | {"model": "parot"}, 404, "not_found_error"),
    ],
)
async def test_refusals_are_llamacpps(site: Site, method: str, path: str, body: Any, status: int, kind: str) -> None:
    """OpenAI's routes too: the code is the status, and a wrong method is a path that is not there."""
    error = (await ask(site, method, path, body)).json()["error"]
    assert (error["code"], error["type"]) == (status, kind)
    assert "param" not in error


async def test_refusals_of_other_families_stay_their_own(site: Site) -> None:
    """Ollama's and Anthropic's clients read nothing else."""
    assert isinstance((await ask(site, "POST", "/api/chat", {"model": "parot"})).json()["error"], str)
    assert (await ask(site, "POST", "/v1/messages", {})).json()["type"] == "error"
    assert (await site.get("/v1/chat/completions")).status == 405


async def test_names_are_ignored_where_there_is_one_model(start_site: StartSite) -> None:
    """As in llama-server, which serves what it has to whoever asks for anything; elsewhere an unknown name is 404."""
    site = await start_site(specs=(ModelSpec(name="only"), ModelSpec(name="picture", options={"capability": "image"})))
    answer = await ask(site, "POST", "/v1/chat/completions", CHAT | {"model": "gpt-4o"})
    assert (answer.status, answer.json()["model"]) == (200, "only")
    assert (await site.post("/v1/chat/completions", CHAT | {"model": "gpt-4o"})).status == 404


async def test_props_and_models_are_there_without_a_key_on_loopback(site: Site) -> None:
    """What llama.cpp's clients ask first."""
    assert (await ask(site, "GET", "/props")).json()["total_slots"] == 8
    assert (await ask(site, "GET", "/models")).json()["data"][0]["id"] == "parrot"
    assert (await ask(site, "GET", "/health")).json()["status"] == "ok"


async def test_keys_count_there_too(start_site: StartSite) -> None:
    """As with `--api-key`."""
    site = await start_site(keys=[KeySection(name="k", token="s")])
    refused = await ask(site, "GET", "/props")
    assert (refused.status, refused.json()["error"]["type"]) == (401, "authentication_error")
    assert (await ask(site, "GET", "/props", X_Api_Key="s")).status == 200


def values(answer: Answer) -> dict[str, float]:
    """The samples of a page of metrics, each of which has its HELP and TYPE."""
    text = answer.body.decode()
    found = dict(re.findall(r"^(llamacpp:\w+) (\S+)$", text, re.MULTILINE))
    assert len(text.splitlines()) == 3 * len(found)
    for name in found:
        assert re.search(rf"^# HELP {name} \S.*\n# TYPE {name} (counter|gauge)\n{name} ", text, re.MULTILINE)
    return {name.removeprefix("llamacpp:"): float(value) for name, value in found.items()}


def announce(site: Site) -> None:
    """Has the worker tell at once what its next beat would."""
    assert site.worker is not None
    site.worker._leases.announce()


async def counted(site: Site, tokens: int, path: str = "/metrics") -> dict[str, float]:
    """The metrics, once the worker has told of so many tokens."""
    registry = site.gateway.registry

    def told() -> int:
        return sum(worker.counts(name).generated_tokens for worker in registry.workers() for name in ("parrot", "tiny"))

    await until(lambda: told() == tokens)
    return values(await ask(site, "GET", path))


async def test_metrics_have_llamacpps_names(site: Site) -> None:
    """Counters of what was computed; the rates are those since the last scrape."""
    answer = await ask(site, "GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    assert int(answer.headers["Process-Start-Time-Unix"]) > 1e9
    assert set(values(answer).values()) == {0.0}
    await ask(site, "POST", "/completion", {"prompt": "a b c", "n_predict": 3})
    await ask(site, "POST", "/completion", {"prompt": "a b", "n_predict": 2, "model": "tiny"})
    announce(site)
    found = await counted(site, 5)
    assert (found["prompt_tokens_total"], found["tokens_predicted_total"], found["n_tokens_max"]) == (5, 5, 6)
    assert found["tokens_predicted_seconds_total"] > 0
    assert found["predicted_tokens_seconds"] == pytest.approx(5 / found["tokens_predicted_seconds_total"], rel=1e-3)
    assert found["n_decode_total"] >= 5
    assert 0 < found["n_busy_slots_per_decode"] <= 2
    assert (found["requests_processing"], found["requests_deferred"]) == (0, 0)
    again = await counted(site, 5)
    assert (again["predicted_tokens_seconds"], again["tokens_predicted_total"]) == (0, 5)


async def test_metrics_of_one_model(site: Site) -> None:
    """`?model=` asks for llama.cpp's metrics at any port; without it, the server's own port has Velesio's."""
    await ask(site, "POST", "/completion", {"prompt": "a b", "n_predict": 2, "model": "tiny"})
    announce(site)
    assert (await counted(site, 2, "/metrics?model=bird"))["tokens_predicted_total"] == 0
    assert values(await site.get("/metrics?model=tiny"))["tokens_predicted_total"] == 2
    assert (await site.get("/metrics?model=tinny")).status == 404
    assert b"velesio_requests_total" in (await site.get("/metrics")).body


async def test_metrics_tell_of_jobs_that_run_and_wait(start_site: StartSite) -> None:
    """As the queue counts them."""
    site = await start_site(specs=(ModelSpec(name="slow", options={"slots": 1, "tokens_per_second": 1.0}),))
    asked = [asyncio.create_task(ask(site, "POST", "/completion", {"prompt": "a b c d e"})) for _ in range(3)]
    found: dict[str, float] = {}
    async with asyncio.timeout(5):
        while (found.get("requests_processing"), found.get("requests_deferred")) != (1, 2):
            found = values(await ask(site, "GET", "/metrics"))
    for task in asked:
        task.cancel()
    await asyncio.wait(asked)
