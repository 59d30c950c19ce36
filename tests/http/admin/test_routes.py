"""The administration's routes, over a socket, with real workers behind the queue."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest

from tests.http.conftest import Site, StartSite, until
from velesio.config import KeySection
from velesio.http.monitoring.dashboard import changes
from velesio.jobs import Completion, Job
from velesio.queue.audit import Audit


@asynccontextmanager
async def feed(site: Site) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
    """The live feed's events, with their names."""

    async def events(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
        while True:
            text = (await response.content.readuntil(b"\n\n")).decode()
            if text.startswith("event: "):
                name, data = text.strip().split("\n")
                yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))

    async with site.client.get(f"{site.address}/admin/events") as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        yield events(response)


def merged(document: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """As docs/admin.md tells readers to."""
    new = {point["at"]: point for point in change.pop("series", {"points": []})["points"]}
    old = {point["at"]: point for point in document["series"]["points"]}
    points = [point for _, point in sorted((old | new).items())]
    return document | change | {"series": {"step": 10, "points": points}}


async def test_a_feed_tells_the_whole_and_then_what_changes(site: Site) -> None:
    """Whoever follows the changes has what a snapshot tells; a job is seen with its rates."""
    async with feed(site) as events, feed(site) as others:
        name, document = await anext(events)
        assert name == "snapshot"
        assert document.keys() == {"at", "queue", "models", "workers", "jobs", "rates", "series"}
        assert (await anext(others))[0] == "snapshot"
        assert (await site.post("/completion", {"prompt": "a b c", "n_predict": 3})).status == 200
        async with asyncio.timeout(10):
            while not document["jobs"]["ended"] or not document["rates"]["done"]:
                name, change = await anext(events)
                assert name == "change"
                document = merged(document, change)
        assert (await anext(others))[0] == "change"
    now = (await site.get("/admin/overview")).json()
    [job] = document["jobs"]["ended"]
    assert job == now["jobs"]["ended"][0]
    assert (job["state"], job["model"], job["tenant"]) == ("done", "parrot", "default")
    assert job["queued"] <= job["started"] <= job["first_text"] <= job["ended"]
    [model] = [model for model in document["models"] if model["name"] == "parrot"]
    assert (model["state"], model["completed"], model["rates"]["done"]) == ("loaded", 1, 1)
    assert sum(point["tokens_per_s"] for point in document["series"]["points"]) == pytest.approx(0.3)
    [worker] = document["workers"]
    assert worker["memory"]["resident"] > worker["memory"]["used"] > 0
    told = (await site.get("/admin/series?model=parrot")).json()
    assert [point["done"] for point in told["points"]] == [1]
    assert (await site.get("/admin/series?model=tiny")).json()["points"] == []


async def test_watchers_share_one_look(site: Site) -> None:
    """The broker is asked once for all of them, and not at all when nobody watches."""
    lookout = site.gateway.lookout
    async with feed(site) as one, feed(site) as two:
        await anext(one), await anext(two)
        looks = lookout._looks
        await anext(one), await anext(two)
        assert lookout._looks == looks + 1
    await until(lambda: lookout._looking is None)


def test_changes_lead_from_one_document_to_the_next() -> None:
    """What is as it was is left out; of the series only new points are told."""
    one, two = {"at": 1, "done": 1}, {"at": 11, "done": 2}
    before = {"at": 0.0, "queue": {"a": 1}, "jobs": {}, "series": {"step": 10, "points": [one]}}
    after = {"at": 1.0, "queue": {"a": 2}, "jobs": {}, "series": {"step": 10, "points": [one, two]}}
    assert changes(before, after) == {"at": 1.0, "queue": {"a": 2}, "series": {"step": 10, "points": [two]}}
    assert changes(before, before | {"series": {"step": 10, "points": []}}) == {"at": 0.0}


async def test_only_administrators(start_site: StartSite) -> None:
    """Every route below /admin asks for the scope."""
    keys = [KeySection(name="boss", token="boss", scopes=("admin",)), KeySection(name="user", token="user")]
    site = await start_site(keys=keys, specs=())
    for path in ("/admin/overview", "/admin/events", "/admin/workers", "/admin/models", "/admin/queue", "/admin/jobs"):
        assert (await site.get(path)).status == 401
        assert (await site.get(path, X_Api_Key="user")).status == 403
        if path != "/admin/events":
            assert (await site.get(path, X_Api_Key="boss")).status == 200


async def test_workers_rest_go_on_and_are_found_by_name(site: Site) -> None:
    """Orders reach them; what they are told shows in the list."""
    [told] = (await site.get("/admin/workers")).json()["workers"]
    assert (told["name"], told["state"], told["slots"]) == ("tester", "ready", 12)
    assert told["states"]["parrot"]["state"] == "loaded"
    assert (await site.get(f"/admin/workers/{told['id']}")).json()["name"] == "tester"
    for order, state in (("quiet", "quiet"), ("resume", "ready"), ("drain", "quiet")):
        answer = await site.post(f"/admin/workers/tester/{order}", b"")
        assert (answer.status, answer.json()) == (200, {"order": order, "workers": [told["id"]]})
        await until(lambda state=state: [each.state for each in site.gateway.registry.workers()] == [state])
    changes = await Audit(site.gateway.broker).recent()
    assert [(each.actor, each.action) for each in changes] == [
        ("local", f"worker.{order}") for order in ("drain", "resume", "quiet")
    ]
    unknown = await site.post("/admin/workers/nobody/drain", b"")
    assert (unknown.status, unknown.json()["error"]["code"]) == (404, "not_found")
    assert told["id"] in unknown.json()["error"]["message"]


async def test_models_are_loaded_pinned_and_unloaded(site: Site) -> None:
    """Who waits is told the states that came of it; a name that nobody knows is refused with those nearby."""

    async def ordered(order: str, **body: Any) -> Any:
        answer = await site.post(f"/admin/models/{order}", {"model": "bird", "wait": True, **body})
        assert answer.status == 200, answer.body
        assert answer.json()["model"] == "parrot"
        [state] = answer.json()["states"].values() or [{}]
        return state

    assert (await ordered("unload"))["state"] == "unloaded"
    assert (await ordered("load", keep_alive=60))["expires_at"] is not None
    pinned = await ordered("pin")
    assert (pinned["state"], pinned["pinned"], pinned["expires_at"]) == ("loaded", True, None)
    listed = {each["name"]: each for each in (await site.get("/admin/models")).json()["models"]}
    assert listed["parrot"]["bytes"] > 0
    assert not (await ordered("unpin"))["pinned"]
    assert not (await ordered("unload"))["pinned"]
    unknown = await site.post("/admin/models/load", {"model": "parot"})
    assert (unknown.status, "parrot" in unknown.json()["error"]["message"]) == (404, True)
    assert (await site.post("/admin/models/load", {})).status == 400


async def queued(site: Site, count: int, **fields: Any) -> list[str]:
    """Jobs that nobody waits for."""
    jobs = [Job.new("parrot", Completion(prompt=f"{number}"), **fields) for number in range(count)]
    for job in jobs:
        await site.gateway.queue.enqueue(job)
    return [job.id for job in jobs]


async def test_a_queue_stops_is_emptied_and_goes_on(site: Site) -> None:
    """Paused: jobs wait and show so; purged: those of the filter are gone; resumed: the rest are done."""
    paused = await site.post("/admin/queue/pause", {"model": "bird"})
    assert paused.json() == {"model": "parrot", "paused": True, "changed": True}
    assert not (await site.post("/admin/queue/pause", {"model": "parrot"})).json()["changed"]
    mine, others = await queued(site, 2, tenant="mine"), await queued(site, 1, tenant="others")
    status = (await site.get("/admin/queue")).json()
    assert (status["waiting"], status["models"][0]["waiting"]["normal"], status["paused"]) == (3, 3, None)
    assert status["models"][0]["paused"] == pytest.approx(await site.gateway.queue.now(), abs=60)
    waiting = (await site.get(f"/admin/jobs/{others[0]}")).json()
    assert (waiting["position"], [each["event"] for each in waiting["timeline"]]) == (1, ["queued"])  # fair
    looked = await site.post("/admin/queue/purge", {"tenant": "mine", "dry_run": True})
    assert looked.json() == {"matched": 2, "cancelled": 0, "forgotten": 0, "jobs": mine}
    assert (await site.post("/admin/queue/purge", {"tenant": "mine"})).json()["cancelled"] == 2
    assert (await site.post("/admin/queue/resume", {"model": "parrot"})).json()["changed"]

    async def state() -> str:
        return str((await site.get(f"/admin/jobs/{others[0]}")).json()["state"])

    async with asyncio.timeout(5):
        while await state() != "done":
            await asyncio.sleep(0.01)
    assert (await site.post("/admin/queue/pause", {"model": "dodo"})).status == 404
    assert (await site.post("/admin/queue/pause", b"")).json()["model"] is None
    assert (await site.post("/admin/queue/resume", b"")).json()["changed"]


async def test_jobs_are_told_queued_again_and_cancelled(site: Site) -> None:
    """A dead letter says why; what has ended cannot be cancelled, what has not failed not be queued again."""
    assert (await site.post("/completion", {"prompt": "[[fail why]] a b"})).status == 500
    [dead] = (await site.get("/admin/jobs?state=failed")).json()["jobs"]
    assert (dead["reason"], "traceback" in dead) == ("why", False)
    told = (await site.get(f"/admin/jobs/{dead['id']}")).json()
    assert [each["event"] for each in told["timeline"]] == ["queued", "leased", "failed"]
    await site.post("/admin/queue/pause", b"")
    again = await site.post("/admin/queue/requeue", {"model": "parrot"})
    assert again.json() == {"matched": 1, "requeued": 1, "jobs": [dead["id"]]}
    assert (await site.post(f"/admin/jobs/{dead['id']}/requeue", b"")).status == 409
    assert (await site.post(f"/admin/jobs/{dead['id']}/cancel", b"")).json()["state"] == "cancelled"
    assert (await site.post(f"/admin/jobs/{dead['id']}/cancel", b"")).status == 409
    assert (await site.get("/admin/jobs?limit=1&state=done&state=cancelled")).json()["jobs"][0]["id"] == dead["id"]
    assert (await site.get("/admin/jobs/unknown")).status == 404
    for query in ("state=lost", "limit=0", "limit=x"):
        assert (await site.get(f"/admin/jobs?{query}")).status == 400
    await site.post("/admin/queue/resume", b"")
