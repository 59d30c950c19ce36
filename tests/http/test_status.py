"""Health, metrics, the queue's state, the list of models and the front page."""

import asyncio
import json

import pytest

from tests.http.conftest import Site, StartSite, sample, until
from velesio.backends.base import ModelCard
from velesio.config import KeySection
from velesio.errors import BrokerUnavailable
from velesio.http.models import listing
from velesio.http.pages.site import first_request
from velesio.queue.broker import Broker


async def test_a_ready_gateway_says_so(site: Site) -> None:
    """To both methods, with the captured body; `/health` of the server's own port has the earlier server's as well."""
    for path, at in (("/v1/health", site.address), ("/v1/health", site.llamacpp), ("/health", site.llamacpp)):
        for method in ("GET", "POST"):
            response = await site.ask(method, path, at=at)
            assert (response.status, response.body.strip()) == (200, sample("health").strip())
    answer = (await site.get("/health")).json()
    assert (answer["status"], answer["services"]["llm_worker"]) == ("ok", "ready")
    assert (await site.get("/readyz")).json() == {"status": "ready"}
    assert (await site.get("/livez")).json() == {"status": "ok"}


async def test_without_a_model_it_is_alive_but_not_ready(start_site: StartSite) -> None:
    """`/health` in llama.cpp's words for a server that loads."""
    site = await start_site(specs=())
    assert (await site.get("/livez")).status == 200
    ready = await site.get("/readyz")
    assert (ready.status, ready.json()["reasons"]) == (503, ["no worker serves a model"])
    health = await site.get("/health")
    assert health.status == 503
    assert health.json() == {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}
    assert health.headers["Retry-After"] == "1"


async def test_without_its_broker_it_is_alive_but_not_ready(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is told; a broker that hangs is not waited for."""

    async def gone(self: Broker) -> bool:
        raise BrokerUnavailable

    async def hanging(self: Broker) -> bool:
        await asyncio.sleep(60)
        return True

    for ping in (gone, hanging):
        monkeypatch.setattr(Broker, "ping", ping)
        ready = await site.get("/readyz")
        assert (ready.status, ready.json()["reasons"]) == (503, ["the broker does not answer"])
    assert (await site.get("/livez")).status == 200


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version="),
        ("text/plain", "text/plain; version="),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text"),
    ],
)
async def test_metrics_in_the_scrapers_format(site: Site, accept: str, content_type: str) -> None:
    """Prometheus's text, or OpenMetrics where it is asked for."""
    await site.get("/livez")
    response = await site.get("/metrics", Accept=accept)
    assert response.headers["Content-Type"].startswith(content_type)
    assert b"velesio_requests_total" in response.body


async def test_the_queue_tells_what_it_holds(site: Site) -> None:
    """Counts by state, and who works on what."""
    await site.post("/completion", {"prompt": "one"})
    asking = asyncio.create_task(site.post("/completion", {"prompt": "[[sleep 0.05]][[tokens 1000]]one"}))
    assert site.worker is not None
    await until(lambda: site.worker.facts()["jobs"])
    status = (await site.get("/queue/status")).json()
    assert (status["active"], status["pending"], status["depth"], status["completed"]) == (1, 0, 0, 1)
    (worker,) = status["workers"]
    assert sorted(worker["models"]) == ["parrot", "tiny"]
    (model,) = [model for model in status["models"] if model["model"] == "parrot"]
    assert model["running"] == 1
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


def test_the_list_of_models_has_the_keys_of_the_sample() -> None:
    """In their order, in both of its parts."""
    meta = {
        "vocab_type": 2,
        "n_vocab": 49152,
        "n_ctx": 2048,
        "n_ctx_train": 8192,
        "n_embd": 576,
        "n_params": 134515008,
        "size": 96576768,
        "ftype": "Q4_1",
    }
    card = ModelCard(
        name="smollm2",
        backend="llama",
        capability="text",
        context=2048,
        created=1795409893,
        meta=meta | {"chat_template": "x"},
    )
    ours, captured = listing([card]), json.loads(sample("models"))
    assert list(ours) == list(captured)
    for part in ("models", "data"):
        assert list(ours[part][0])[: len(captured[part][0])] == list(captured[part][0])
    assert ours["models"][0]["details"] | {"quantization_level": ""} == captured["models"][0]["details"]
    found = {name: ours["data"][0][name] for name in captured["data"][0]}
    assert found | {"owned_by": "llamacpp", "aliases": ["smollm2"]} == captured["data"][0]


async def test_the_front_page_for_programs(site: Site) -> None:
    """JSON with what runs and a request that works."""
    about = (await site.get("/")).json()
    assert about["status"] == "ready"
    assert [model["name"] for model in about["models"]] == ["parrot", "tiny"]
    assert about["try"].startswith(f"curl -N {site.address}/completion")


def test_the_first_request_names_a_key_where_one_is_needed() -> None:
    """As a header."""
    assert "Authorization" not in first_request("http://x", keyed=False)
    assert "-H 'Authorization: Bearer KEY'" in first_request("http://x", keyed=True)


async def test_metrics_that_name_others_are_for_administrators(start_site: StartSite) -> None:
    """Of tenants, where they are told of; and of models that a key may not use."""
    keys = [
        KeySection(name="game", token="game"),
        KeySection(name="narrow", token="narrow", models=("tiny",)),
        KeySection(name="boss", token="boss", scopes=("admin",)),
    ]
    for tenants, expected in ((False, [200, 403, 200]), (True, [403, 403, 200])):
        site = await start_site(keys=keys, specs=(), tell_tenants=tenants)
        assert [(await site.get("/metrics", X_Api_Key=key.token)).status for key in keys] == expected
