"""A1111's pictures in the background: agent scheduler's tasks, `/v1/jobs`, idempotency keys."""

import asyncio
import base64
import json
from typing import Any

import pytest

from tests.http.conftest import Site, StartSite, until
from velesio.backends.base import ModelSpec
from velesio.backends.echo.picture import draw
from velesio.config import KeySection
from velesio.http.sdapi.live import LIVE

SPECS = (
    ModelSpec(name="painter", options={"capability": "image", "slots": 1}),
    ModelSpec(name="sketcher", options={"capability": "image"}),
    ModelSpec(name="parrot"),
)
KEYS = tuple(KeySection(name=name, token=f"{name}-0123456789abcdef", tenant=name) for name in ("red", "blue"))
RED, BLUE = ({"Authorization": f"Bearer {key.token}"} for key in KEYS)
SMALL = {"prompt": "a fox", "seed": 7, "steps": 4, "width": 16, "height": 16}
SLOW = SMALL | {"prompt": "a fox [[sleep 30]]"}
ROOT = "/agent-scheduler/v1"
PICTURE = base64.b64encode(draw("a fox", 1, 16, 8)).decode()


@pytest.fixture
async def studio(start_site: StartSite) -> Site:
    return await start_site(specs=SPECS)


async def ended(site: Site, task: str, **headers: str) -> dict[str, Any]:
    """What is told of a task once it has ended."""
    async with asyncio.timeout(10):
        while True:
            shown = (await site.get(f"/v1/jobs/{task}", **headers)).json()
            if shown["state"] in {"done", "failed", "cancelled"}:
                return dict(shown)
            await asyncio.sleep(0.01)


async def queued(site: Site, kind: str, body: Any, **headers: str) -> str:
    answer = await site.post(f"{ROOT}/queue/{kind}", body, **headers)
    assert answer.status == 200, answer.body
    task: str = answer.json()["task_id"]
    return task


async def test_a_task_draws_what_its_route_would(studio: Site) -> None:
    """All iterations as one; results with texts; the same job stands in `/v1/jobs`, in A1111's shape."""
    body = SMALL | {"batch_size": 2, "n_iter": 2}
    task = await queued(studio, "txt2img", body | {"checkpoint": "sketcher"})
    assert (await ended(studio, task))["model"] == "sketcher"
    direct = (await studio.post("/sdapi/v1/txt2img", body)).json()
    found = (await studio.get(f"{ROOT}/task/{task}/results")).json()
    assert found["success"]
    assert [each["image"].partition(",")[2] for each in found["data"]] == direct["images"]
    whole = (await studio.get(f"/v1/jobs/{task}/result")).json()
    assert whole["images"] == direct["images"]
    info = json.loads(whole["info"])
    assert (info["all_seeds"], info["sd_model_name"]) == ([7, 8, 9, 10], "sketcher")
    shown = (await studio.get(f"{ROOT}/task/{task}")).json()["data"]
    assert (shown["status"], shown["type"], shown["params"]["prompt"]) == ("done", "txt2img", "a fox")
    assert (await studio.get(f"{ROOT}/task/{task}/position")).json()["data"] == {"status": "done", "position": None}
    history = (await studio.get(f"{ROOT}/history?status=done")).json()
    assert [each["id"] for each in history["tasks"]] == [task]
    assert (await studio.get(f"{ROOT}/history?status=failed")).json() == {"tasks": [], "total": 0}


async def test_tasks_wait_in_their_order(studio: Site) -> None:
    """One runs, the others wait; deleted, cleared and finished ones are not among them."""
    running = await queued(studio, "txt2img", SLOW)
    async with asyncio.timeout(10):
        while (await studio.get(f"{ROOT}/queue")).json()["current_task_id"] != running:
            await asyncio.sleep(0.01)
    waiting = [await queued(studio, "img2img", SMALL | {"init_images": [PICTURE]}) for _ in range(3)]
    queue = (await studio.get(f"{ROOT}/queue")).json()
    assert [each["id"] for each in queue["pending_tasks"]] == waiting
    assert "init_images" not in queue["pending_tasks"][0]["params"]
    assert (queue["total_pending_tasks"], queue["paused"]) == (3, False)
    paged = (await studio.get(f"{ROOT}/queue?limit=1&offset=1")).json()
    assert [each["id"] for each in paged["pending_tasks"]] == waiting[1:2]
    place = (await studio.get(f"{ROOT}/task/{waiting[1]}/position")).json()["data"]
    assert place["status"] == "pending"
    early = await studio.get(f"{ROOT}/task/{waiting[1]}/results")
    assert early.status == 409
    assert (await studio.ask("DELETE", f"{ROOT}/task/{waiting[0]}")).json()["success"]
    assert (await studio.post(f"{ROOT}/queue/resume", b"")).json()["success"]
    assert (await studio.post(f"{ROOT}/queue/clear", b"")).json()["success"]
    assert (await studio.get(f"{ROOT}/queue")).json()["total_pending_tasks"] == 0
    await studio.ask("DELETE", f"{ROOT}/task/{running}")
    assert (await ended(studio, running))["state"] == "cancelled"
    stopped = await studio.get(f"{ROOT}/task/{running}/results")
    assert stopped.json()["detail"].startswith("the job was cancelled")


async def test_a_task_is_done_again(studio: Site) -> None:
    """One that is done by a new one, one that failed by itself; one that has not ended is refused."""
    task = await queued(studio, "txt2img", SMALL)
    await ended(studio, task)
    again = (await studio.post(f"{ROOT}/task/{task}/requeue", b"")).json()["task_id"]
    assert again != task
    await ended(studio, again)
    [one, other] = [(await studio.get(f"{ROOT}/task/{each}/results")).json() for each in (task, again)]
    assert one == other
    slow = await queued(studio, "txt2img", SLOW)
    refused = await studio.post(f"{ROOT}/task/{slow}/requeue", b"")
    assert refused.status == 409
    await studio.ask("DELETE", f"{ROOT}/task/{slow}")
    await ended(studio, slow)


async def test_a_tenants_tasks_are_its_own(start_site: StartSite) -> None:
    """To everybody else they do not exist; neither are texts among them."""
    site = await start_site(specs=SPECS, keys=KEYS)
    task = await queued(site, "txt2img", SMALL, **RED)
    await ended(site, task, **RED)
    text = await site.post("/v1/jobs", {"url": "/completion", "body": {"prompt": "a"}}, **RED)
    await ended(site, text.json()["id"], **RED)
    assert (await site.get(f"{ROOT}/history", **RED)).json()["total"] == 1
    assert (await site.get(f"{ROOT}/history", **BLUE)).json()["total"] == 0
    for method, path in (("GET", ""), ("GET", "/position"), ("GET", "/results"), ("DELETE", ""), ("POST", "/requeue")):
        assert (await site.ask(method, f"{ROOT}/task/{task}{path}", **BLUE)).status == 404
    assert (await site.get(f"{ROOT}/task/{text.json()['id']}", **RED)).status == 404
    assert (await site.get(f"{ROOT}/queue")).status == 401


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/queue/pause", b"", 501, "jobs are served by fair shares"),
        ("POST", "/task/x/run", b"", 501, "jobs are served by fair shares"),
        ("POST", "/task/x/move/y", b"", 501, "jobs are served by fair shares"),
        ("POST", "/task/x/bookmark", b"", 501, "jobs are served by fair shares"),
        ("GET", "/task/nobody", b"", 404, "there is no task 'nobody'"),
        ("GET", "/task/nobody/results?zip=true", b"", 501, "pictures are not sent as an archive"),
        ("POST", "/queue/txt2img", {"steps": "many"}, 422, None),
        ("POST", "/queue/txt2img", {"override_settings": 5}, 422, "override_settings"),
        ("POST", "/queue/txt2img", {"checkpoint": "nobody"}, 404, "The model 'nobody' does not exist"),
        ("POST", "/queue/txt2img", {"script_name": "prompt matrix"}, 501, "what draws a sheet"),
        ("POST", "/queue/img2img", {}, 404, "Init image not found"),
        ("GET", "/queue?limit=many", b"", 422, None),
    ],
)
async def test_refusals_have_their_shape(
    studio: Site, method: str, path: str, body: Any, status: int, said: str | None
) -> None:
    """That of A1111's API, since it is its extension."""
    answer = await studio.ask(method, f"{ROOT}{path}", body)
    assert answer.status == status, answer.body
    if said is not None:
        assert answer.json()["detail"].startswith(said)


async def test_what_a_client_has_set_counts_in_the_background(studio: Site) -> None:
    """When it is queued, whatever is set afterwards."""
    await studio.post("/sdapi/v1/options", {"sd_model_checkpoint": "sketcher", "CLIP_stop_at_last_layers": 2})
    job = (await studio.post("/v1/jobs", {"url": "/sdapi/v1/txt2img", "body": SMALL})).json()
    await studio.post("/sdapi/v1/options", {"sd_model_checkpoint": "painter", "CLIP_stop_at_last_layers": 1})
    assert (await ended(studio, job["id"]))["model"] == "sketcher"
    info = json.loads((await studio.get(f"/v1/jobs/{job['id']}/result")).json()["info"])
    assert (info["clip_skip"], info["sd_model_name"]) == (2, "sketcher")


async def test_extras_in_the_background(studio: Site) -> None:
    """One picture or several, as their routes answer."""
    body = {"image": PICTURE, "upscaler_1": "Lanczos"}
    job = (await studio.post("/v1/jobs", {"url": "/sdapi/v1/extra-single-image", "body": body})).json()
    await ended(studio, job["id"])
    direct = (await studio.post("/sdapi/v1/extra-single-image", body)).json()
    assert (await studio.get(f"/v1/jobs/{job['id']}/result")).json() == direct


async def test_previews_in_the_background_have_their_picture(studio: Site) -> None:
    """In base64, a few of each."""
    options = {"show_progress_every_n_steps": 1}
    body = SMALL | {"steps": 40, "override_settings": options}
    job = (await studio.post("/v1/jobs", {"url": "/sdapi/v1/txt2img", "body": body})).json()
    text = (await studio.get(f"/v1/jobs/{job['id']}/events")).body.decode()
    events = [dict(line.split(": ", 1) for line in each.split("\n")) for each in text.strip().split("\n\n")]
    previews = [json.loads(each["data"]) for each in events if each.get("event") == "preview"]
    assert [each["done"] for each in previews] == [10, 20, 30]
    assert all(base64.b64decode(each["b64_json"], validate=True).startswith(b"\x89PNG") for each in previews)
    assert events[-1]["event"] == "completed"
    assert len(json.loads(events[-1]["data"])["images"]) == 1


async def test_a_key_finds_the_pictures_again(studio: Site) -> None:
    """All iterations, though their seeds were drawn; another body under the key is refused."""
    body = {name: value for name, value in SMALL.items() if name != "seed"} | {"n_iter": 2}
    first = await studio.post("/sdapi/v1/txt2img", body, Idempotency_Key="one")
    again = await studio.post("/sdapi/v1/txt2img", body, Idempotency_Key="one")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json()["images"] == first.json()["images"]
    assert json.loads(again.json()["info"])["all_seeds"] == json.loads(first.json()["info"])["all_seeds"]
    other = await studio.post("/sdapi/v1/txt2img", body | {"steps": 5}, Idempotency_Key="one")
    assert other.status == 422
    extras = {"image": PICTURE, "upscaler_1": "Nearest"}
    one, two = [await studio.post("/sdapi/v1/extra-single-image", extras, Idempotency_Key="two") for _ in range(2)]
    assert two.headers["Idempotent-Replayed"] == "true"
    assert one.json() == two.json()


async def test_a_client_with_a_key_may_leave(studio: Site) -> None:
    """Its job goes on, and is found by the key or in `/v1/jobs`."""
    body = SMALL | {"prompt": "a fox [[sleep 0.5]]"}
    asking = asyncio.create_task(studio.post("/sdapi/v1/txt2img", body, Idempotency_Key="left"))
    await until(lambda: any(each.begun for each in studio.app[LIVE].of(("default", "local"))))
    [running] = studio.app[LIVE].of(("default", "local"))
    job = running.rounds[0].job_id
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert (await ended(studio, job))["state"] == "done"
    later = (await studio.get(f"/v1/jobs/{job}/result")).json()
    assert (await studio.post("/sdapi/v1/txt2img", body, Idempotency_Key="left")).json()["images"] == later["images"]
