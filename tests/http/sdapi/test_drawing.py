"""A1111's API over the real queue, with an echo worker that draws."""

import asyncio
import base64
import json
from typing import Any

import pytest

from tests.http.conftest import Site, StartSite, until
from velesio.backends.base import ModelSpec
from velesio.config import KeySection
from velesio.http.sdapi.live import LIVE, Live
from velesio.jobs import JobState

SPECS = (
    ModelSpec(name="painter", aliases=("art",), options={"capability": "image", "slots": 16}),
    ModelSpec(name="sketcher", options={"capability": "image"}),
    ModelSpec(name="parrot"),
)
KEYS = tuple(KeySection(name=f"key{number}", token=f"token-{number}-0123456789") for number in range(8))
SMALL = {"prompt": "a fox", "seed": 7, "steps": 4, "width": 16, "height": 16}
SLOW = SMALL | {"prompt": "a fox [[sleep 30]]"}


@pytest.fixture
async def studio(start_site: StartSite) -> Site:
    return await start_site(specs=SPECS)


def bearer(number: int) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS[number].token}"}


def live_of(site: Site) -> Live:
    """What the gateway answers now."""
    return site.app[LIVE]


def files(answer: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(each, validate=True) for each in answer["images"]]


async def test_a_text_becomes_a_picture(studio: Site) -> None:
    """Raw base64, the request after defaults, `info` as JSON in a text, and the job's id in a header."""
    answer = await studio.post("/sdapi/v1/txt2img", SMALL)
    assert answer.status == 200
    assert len(answer.headers["X-Velesio-Job-Id"]) == 32
    assert float(answer.headers["X-Process-Time"]) > 0
    whole = answer.json()
    assert whole.keys() == {"images", "parameters", "info"}
    [file] = files(whole)
    assert file.startswith(b"\x89PNG")
    assert whole["parameters"]["seed"] == 7
    assert whole["parameters"]["cfg_scale"] == 7.0
    info = json.loads(whole["info"])
    assert len(info) == 32
    assert (info["seed"], info["all_seeds"], info["width"], info["sd_model_name"]) == (7, [7], 16, "painter")


async def test_an_empty_body_draws_at_random(studio: Site) -> None:
    """`{}` is a request: the echo keeps -1, `info` tells the seed that was drawn."""
    whole = (await studio.post("/sdapi/v1/txt2img", {"width": 16, "height": 16})).json()
    assert whole["parameters"]["seed"] == -1
    assert json.loads(whole["info"])["seed"] >= 0


async def test_iterations_are_consecutive_seeds(studio: Site) -> None:
    """Two times three pictures are those that single requests with the next seeds give."""
    whole = (await studio.post("/sdapi/v1/txt2img", SMALL | {"batch_size": 3, "n_iter": 2})).json()
    assert json.loads(whole["info"])["all_seeds"] == [7, 8, 9, 10, 11, 12]
    named = await studio.post("/sdapi/v1/txt2img", SMALL | {"batch_size": 3, "n_iter": 2}, X_Conversation_Id="one")
    assert named.json()["images"] == whole["images"]
    for index, file in enumerate(files(whole)):
        one = (await studio.post("/sdapi/v1/txt2img", SMALL | {"seed": 7 + index})).json()
        assert files(one) == [file]


async def test_img2img_depends_on_its_picture(studio: Site) -> None:
    """As base64 or as a data address; `parameters` does not send it back unless it is asked to."""
    [first] = (await studio.post("/sdapi/v1/txt2img", SMALL)).json()["images"]
    body = SMALL | {"init_images": [first], "mask": first}
    plain = (await studio.post("/sdapi/v1/img2img", body)).json()
    data = (await studio.post("/sdapi/v1/img2img", body | {"init_images": [f"data:image/png;base64,{first}"]})).json()
    assert files(plain) == files(data)
    assert files(plain) != files({"images": [first]})
    assert plain["parameters"]["init_images"] is None
    assert plain["parameters"]["mask"] is None
    whole = (await studio.post("/sdapi/v1/img2img", body | {"include_init_images": True})).json()
    assert whole["parameters"]["init_images"] == [first]


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("txt2img", {"steps": "many"}, 422, [{"loc": ["body", "steps"], "msg": "value is not a valid integer",
                                             "type": "type_error.integer"}]),
        ("txt2img", {"sampler_index": None}, 422, [{"loc": ["body", "sampler_index"],
                                                    "msg": "none is not an allowed value",
                                                    "type": "type_error.none.not_allowed"}]),
        ("txt2img", {"n_iter": 101}, 400, "Field 'n_iter'"),
        ("txt2img", {"restore_faces": True}, 501, "Field 'restore_faces'"),
        ("txt2img", {"script_name": "dream"}, 422, "Script 'dream' not found"),
        ("txt2img", {"alwayson_scripts": {"ADetailer": {"args": [True]}}}, 422, "always on script ADetailer not found"),
        ("txt2img", {"override_settings": {"sd_model_checkpoint": "nobody"}}, 404, "The model 'nobody' does not exist"),
        ("img2img", {}, 404, "Init image not found"),
        ("img2img", {"init_images": ["%%%"]}, 400, "Invalid encoded image"),
        ("img2img", {"init_images": ["http://127.0.0.1/"]}, 400, "Field 'init_images[0]': Requests not allowed"),
        ("interrogate", {"image": ""}, 501, "no model here describes pictures"),
        ("options", {"nonsense": 1}, 400, "there is no option 'nonsense'"),
    ],
)  # fmt: skip
async def test_refusals_have_their_shape(studio: Site, path: str, body: Any, status: int, detail: Any) -> None:
    """A list of places for wrong types, else the four keys of A1111's errors."""
    answer = await studio.post(f"/sdapi/v1/{path}", body)
    assert answer.status == status, answer.body
    if isinstance(detail, list):
        assert answer.json() == {"detail": detail}
    else:
        assert answer.json().keys() >= {"error", "detail", "body", "errors"}
        assert answer.json()["detail"].startswith(detail)


async def test_unknown_addresses_are_told_as_by_its_framework(studio: Site) -> None:
    """404 and 405 have a `detail` alone."""
    missing = await studio.get("/sdapi/v1/nothing")
    assert (missing.status, missing.json()) == (404, {"detail": "Not Found"})
    wrong = await studio.get("/sdapi/v1/txt2img")
    assert (wrong.status, wrong.json()) == (405, {"detail": "Method Not Allowed"})


LISTS = (
    "sd-models", "sd-vae", "samplers", "schedulers", "upscalers", "latent-upscale-modes", "loras", "embeddings",
    "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles", "scripts", "script-info", "extensions",
    "cmd-flags", "memory", "options", "progress",
)  # fmt: skip


@pytest.mark.parametrize("name", LISTS)
async def test_lists_answer(studio: Site, name: str) -> None:
    """Each is JSON of the type that clients expect."""
    answer = await studio.get(f"/sdapi/v1/{name}")
    assert answer.status == 200
    objects = {"embeddings", "scripts", "cmd-flags", "memory", "options", "progress"}
    assert isinstance(answer.json(), dict if name in objects else list)


async def test_models_are_listed_and_chosen_by_any_name(studio: Site) -> None:
    """Text models are not among them; what is chosen holds for later requests, and an override for one."""
    models = (await studio.get("/sdapi/v1/sd-models")).json()
    assert [each["model_name"] for each in models] == ["painter", "sketcher"]
    assert (await studio.get("/api/sd-models")).json() == models
    for name in ("sketcher", "Sketcher [0123456789]", "models/sketcher"):
        assert (await studio.post("/sdapi/v1/options", {"sd_model_checkpoint": name})).json() is None
        assert (await studio.get("/sdapi/v1/options")).json()["sd_model_checkpoint"] == "sketcher"
    drawn = (await studio.post("/sdapi/v1/txt2img", SMALL)).json()
    assert json.loads(drawn["info"])["sd_model_name"] == "sketcher"
    other = SMALL | {"override_settings": {"sd_model_checkpoint": "art"}}
    assert json.loads((await studio.post("/sdapi/v1/txt2img", other)).json()["info"])["sd_model_name"] == "painter"
    assert (await studio.get("/sdapi/v1/options")).json()["sd_model_checkpoint"] == "sketcher"
    await studio.post("/sdapi/v1/txt2img", other | {"override_settings_restore_afterwards": False})
    assert (await studio.get("/sdapi/v1/options")).json()["sd_model_checkpoint"] == "painter"


async def test_options_are_each_keys_own(start_site: StartSite) -> None:
    """What one key sets, another does not see; Bearer and Basic are the same key."""
    site = await start_site(specs=SPECS, keys=KEYS)
    await site.post("/sdapi/v1/options", {"CLIP_stop_at_last_layers": "2"}, **bearer(0))
    basic = base64.b64encode(f"me:{KEYS[0].token}".encode()).decode()
    mine = (await site.get("/sdapi/v1/options", Authorization=f"Basic {basic}")).json()
    assert mine["CLIP_stop_at_last_layers"] == 2
    assert (await site.get("/sdapi/v1/options", **bearer(1))).json()["CLIP_stop_at_last_layers"] == 1
    drawn = (await site.post("/sdapi/v1/txt2img", SMALL, **bearer(0))).json()
    assert json.loads(drawn["info"])["clip_skip"] == 2
    assert (await site.get("/sdapi/v1/options")).status == 401


async def test_each_key_sees_and_stops_its_own_requests(start_site: StartSite) -> None:
    """Eight at once: each finds one request, its own; two interrupt, and theirs alone end, with 200."""
    site = await start_site(specs=SPECS, keys=KEYS)
    asking = [
        asyncio.create_task(site.post("/sdapi/v1/txt2img", SLOW | {"force_task_id": f"task-{n}"}, **bearer(n)))
        for n in range(8)
    ]
    await until(lambda: sum(r.begun for n in range(8) for r in live_of(site).of(("default", f"key{n}"))) == 8)
    for number in range(8):
        progress = (await site.get("/sdapi/v1/progress", **bearer(number))).json()
        assert progress["state"]["job"] == f"task-{number}"
        assert progress["state"]["job_count"] == 1
        assert 0 < progress["progress"] <= 1
        own, other = [
            (await site.post("/internal/progress", {"id_task": f"task-{n}"}, **bearer(number))).json()
            for n in (number, (number + 1) % 8)
        ]
        assert (own["active"], other["active"]) == (True, False)
    for number in (2, 5):
        assert (await site.post("/sdapi/v1/interrupt", b"", **bearer(number))).json() == {}
    stopped = await asyncio.gather(asking[2], asking[5])
    assert [answer.status for answer in stopped] == [200, 200]
    assert [answer.json()["images"] for answer in stopped] == [[], []]
    assert not any(task.done() for n, task in enumerate(asking) if n not in {2, 5})
    idle = (await site.get("/sdapi/v1/progress", **bearer(2))).json()
    assert (idle["progress"], idle["state"]["job_count"]) == (0.0, 0)
    ended = (await site.post("/internal/progress", {"id_task": "task-2"}, **bearer(2))).json()
    assert (ended["completed"], ended["active"]) == (True, False)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    await until(lambda: not any(live_of(site).of(("default", f"key{n}")) for n in range(8)))


async def test_a_request_that_waits_knows_its_place(start_site: StartSite) -> None:
    """Its number, and of how many."""
    site = await start_site(specs=[ModelSpec(name="painter", options={"capability": "image", "slots": 1})])
    asking = []
    for number in range(3):
        body = SLOW | {"force_task_id": f"task-{number}"}
        asking.append(asyncio.create_task(site.post("/sdapi/v1/txt2img", body)))
        await until(lambda: len(live_of(site).of(("default", "local"))) == len(asking))
        if not number:
            await until(lambda: live_of(site).of(("default", "local"))[0].begun)

    async def told(number: int) -> Any:
        return (await site.post("/internal/progress", {"id_task": f"task-{number}"})).json()

    async with asyncio.timeout(5):
        while (await told(2))["textinfo"] != "In queue: 2/2":
            await asyncio.sleep(0.01)
    last, middle, first = [await told(number) for number in (2, 1, 0)]
    assert (last["queued"], middle["textinfo"], first["textinfo"]) == (True, "In queue: 1/2", None)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)


async def test_a_client_that_leaves_cancels(studio: Site) -> None:
    """Its job ends, and nothing of it is left."""
    asking = asyncio.create_task(studio.post("/sdapi/v1/txt2img", SLOW))
    await until(lambda: any(each.begun for each in live_of(studio).of(("default", "local"))))
    [running] = live_of(studio).of(("default", "local"))
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    await until(lambda: not live_of(studio).of(("default", "local")))
    record = None
    async with asyncio.timeout(5):
        while record is None or record.state is not JobState.CANCELLED:
            record = await studio.gateway.queue.record(running.rounds[0].job_id)
            await asyncio.sleep(0.01)


async def test_skip_ends_one_iteration(studio: Site) -> None:
    """The others are drawn."""
    asking = asyncio.create_task(studio.post("/sdapi/v1/txt2img", SMALL | {"prompt": "a fox [[sleep 1]]", "n_iter": 2}))
    await until(lambda: any(each.begun for each in live_of(studio).of(("default", "local"))))
    assert (await studio.post("/sdapi/v1/skip", b"")).json() is None
    whole = (await asking).json()
    assert len(whole["images"]) == 1
    assert json.loads(whole["info"])["all_seeds"] == [7, 8]


async def test_a_name_is_taken_once(studio: Site) -> None:
    """A second request with the id of one that runs is 409; another client of the same key may stop it by that id."""
    named = SLOW | {"force_task_id": "mine"}
    asking = asyncio.create_task(studio.post("/sdapi/v1/txt2img", named))
    await until(lambda: live_of(studio).of(("default", "local"), "mine"))
    assert (await studio.post("/sdapi/v1/txt2img", named)).status == 409
    pending = (await studio.get("/internal/pending-tasks")).json()
    assert pending["size"] == len(pending["tasks"])
    await until(lambda: live_of(studio).of(("default", "local"))[0].begun)
    await studio.post("/sdapi/v1/interrupt?id_task=other", b"")
    assert not asking.done()
    await studio.post("/sdapi/v1/interrupt?id_task=mine", b"")
    assert (await asking).status == 200


@pytest.mark.parametrize("what", ["checkpoints", "vae", "loras", "embeddings"])
async def test_refreshing_answers_null(studio: Site, what: str) -> None:
    """Clients read JSON."""
    answer = await studio.post(f"/sdapi/v1/refresh-{what}", b"")
    assert (answer.status, answer.json()) == (200, None)


async def test_models_are_unloaded_and_loaded(studio: Site) -> None:
    """The chosen one."""
    assert (await studio.post("/sdapi/v1/unload-checkpoint", b"")).json() == {}
    assert (await studio.post("/sdapi/v1/reload-checkpoint", b"")).json() == {}
    assert (await studio.get("/internal/ping")).json() == {}
