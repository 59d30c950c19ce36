"""Routes that A1111's web page has beside the API, what of the API is refused, and the earlier server's pictures."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from tests.http.conftest import Site, StartSite
from velesio.backends.base import ModelSpec
from velesio.config import KeySection, Limits, LimitsSection, SdapiSection, ServerSection
from velesio.http.sdapi.defaults import DEFAULTS

SPECS = (ModelSpec(name="painter", options={"capability": "image"}), ModelSpec(name="parrot"))
SMALL = {"prompt": "a fox", "seed": 7, "steps": 2, "width": 16, "height": 16}


@pytest.fixture
async def studio(start_site: StartSite) -> Site:
    return await start_site(specs=SPECS)


async def test_who_answers(studio: Site) -> None:
    """Clients that look for A1111's web page find that it is there, and empty; nothing tells paths or keys."""
    assert isinstance((await studio.get("/app_id")).json()["app_id"], int)
    assert (await studio.get("/info")).json() == {"named_endpoints": {}, "unnamed_endpoints": {}}
    config = (await studio.get("/config")).json()
    assert (config["components"], config["app_id"]) == ([], (await studio.get("/app_id")).json()["app_id"])
    told = (await studio.get("/internal/sysinfo")).json()
    assert told == (await studio.get("/internal/sysinfo-download")).json()
    assert told["Checkpoints"] == 1
    hints = (await studio.get("/internal/quicksettings-hint")).json()
    assert [each["name"] for each in hints] == list(DEFAULTS)
    assert (await studio.get("/internal/profile-startup")).json()["uptime"] > 0


async def test_cards(studio: Site) -> None:
    """Of what is there; what is not is 404 with the names of the pages."""
    card = await studio.get("/sd_extra_networks/get-single-card?page=checkpoints&name=painter")
    assert 'data-name="painter"' in card.json()["html"]
    assert (await studio.get("/sd_extra_networks/metadata?page=checkpoints&item=painter")).json() == {}
    for address, said in {
        "get-single-card?page=checkpoints&name=parrot": "no 'parrot' on the page 'checkpoints'",
        "metadata?page=lora&item=ink": "no 'ink' on the page 'lora'",
        "metadata?page=hypernets": "checkpoints, lora",
        "thumb?filename=painter.png": "no pictures",
        "cover-images?page=lora": "no pictures",
    }.items():
        missing = await studio.get(f"/sd_extra_networks/{address}")
        assert missing.status == 404
        assert missing.json()["error"] == "HTTPException"
        assert said in missing.json()["detail"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/sdapi/v1/create/embedding", "embeddings are not trained"),
        ("/sdapi/v1/create/hypernetwork", "hypernetworks are not trained"),
        ("/sdapi/v1/train/embedding", "embeddings are not trained"),
        ("/sdapi/v1/train/hypernetwork", "hypernetworks are not trained"),
        ("/sdapi/v1/server-kill", "the server is not stopped"),
        ("/sdapi/v1/server-restart", "the server is not stopped"),
        ("/sdapi/v1/server-stop", "the server is not stopped"),
        ("/sdapi/v1/interrogate", "no model here describes pictures"),
    ],
)
async def test_what_is_refused_says_why(studio: Site, path: str, said: str) -> None:
    """501, with what to do instead; the server goes on."""
    answer = await studio.post(path, {"name": "x", "image": ""})
    assert answer.status == 501
    assert answer.json()["detail"].startswith(said)


async def test_styles_are_listed_and_applied(start_site: StartSite, tmp_path: Path) -> None:
    """From the file beside the models; an unknown one changes nothing."""
    (tmp_path / "styles.csv").write_text("name,prompt,negative_prompt\nink,ink drawing of {prompt},colour\n")
    site = await start_site(specs=SPECS, server=ServerSection(models_dir=tmp_path))
    listed = (await site.get("/sdapi/v1/prompt-styles")).json()
    assert listed == [{"name": "ink", "prompt": "ink drawing of {prompt}", "negative_prompt": "colour"}]
    styled = (await site.post("/sdapi/v1/txt2img", SMALL | {"styles": ["ink", "nobody"]})).json()
    spelled = SMALL | {"prompt": "ink drawing of a fox", "negative_prompt": "colour"}
    assert styled["images"] == (await site.post("/sdapi/v1/txt2img", spelled)).json()["images"]
    info = json.loads(styled["info"])
    assert (info["prompt"], info["styles"]) == ("ink drawing of a fox", ["ink", "nobody"])
    assert styled["parameters"]["prompt"] == "a fox"


async def test_leniency_is_an_option(start_site: StartSite) -> None:
    """Of the server, and of each request."""
    site = await start_site(specs=SPECS, sdapi=SdapiSection(lenient=True))
    assert site.gateway.sdapi.lenient
    drawn = (await site.post("/sdapi/v1/txt2img", SMALL | {"sampler_name": "Foo"})).json()
    assert len(drawn["images"]) == 1
    assert "lenient" not in drawn["parameters"]


def files(answer: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(each, validate=True) for each in answer["images"]]


async def test_a_matrix_and_its_sheet(studio: Site) -> None:
    """The sheet first, then each picture as it would be alone; each has its own prompt in `info`."""
    body = SMALL | {"prompt": "a fox|red", "script_name": "Prompt Matrix", "script_args": [False, True]}
    whole = (await studio.post("/sdapi/v1/txt2img", body)).json()
    sheet, plain, red = files(whole)
    assert sheet.startswith(b"\x89PNG")
    info = json.loads(whole["info"])
    assert info["index_of_first_image"] == 1
    assert info["all_prompts"] == ["a fox", "a fox, red"]
    assert info["all_seeds"] == [7, 8]
    assert len(info["infotexts"]) == 3
    for prompt, seed, file in (("a fox", 7, plain), ("a fox, red", 8, red)):
        alone = (await studio.post("/sdapi/v1/txt2img", SMALL | {"prompt": prompt, "seed": seed})).json()
        assert files(alone) == [file]


async def test_a_plot_and_its_sheets(studio: Site) -> None:
    """The whole, and what else was asked for."""
    args = ["Seed", "1-2", [], "Steps", "1,2", [], "CFG Scale", "3,4", [], True]
    body = SMALL | {"script_name": "x/y/z plot"}
    only = (await studio.post("/sdapi/v1/txt2img", body | {"script_args": [*args, False, False]})).json()
    assert len(only["images"]) == 1
    parts = (await studio.post("/sdapi/v1/txt2img", body | {"script_args": [*args, False, True]})).json()
    assert len(parts["images"]) == 3
    everything = (await studio.post("/sdapi/v1/txt2img", body | {"script_args": [*args, True, True]})).json()
    assert len(everything["images"]) == 11
    assert json.loads(everything["info"])["index_of_first_image"] == 3
    scripts = (await studio.get("/sdapi/v1/scripts")).json()
    assert {"prompt matrix", "x/y/z plot"} <= set(scripts["txt2img"])
    shown = (await studio.get("/sdapi/v1/script-info")).json()
    plot = next(each for each in shown if each["name"] == "x/y/z plot" and not each["is_img2img"])
    assert plot["args"][0]["choices"][1] == "Seed"
    assert len(plot["args"]) == 18


async def test_a_sheet_costs_nothing(start_site: StartSite) -> None:
    """A table of two pictures is one request of two; its sheet comes although nothing more is allowed."""
    key = KeySection(name="game", token="game", limits=Limits(requests=1, images=2))
    site = await start_site(specs=SPECS, keys=[key])
    body = SMALL | {"prompt": "a fox|red", "script_name": "prompt matrix"}
    whole = (await site.post("/sdapi/v1/txt2img", body, X_Api_Key="game")).json()
    assert len(whole["images"]) == 3
    assert "extra_comments" not in json.loads(whole["info"])
    assert (await site.post("/sdapi/v1/txt2img", SMALL, X_Api_Key="game")).status == 429


BOTH = (*SPECS, ModelSpec(name="sketcher", options={"capability": "image"}))
PLOT = SMALL | {"script_name": "x/y/z plot", "script_args": ["Checkpoint name", "painter, sketcher, painter"]}


async def test_a_plot_over_models_is_one_request_of_its_key(start_site: StartSite) -> None:
    """Whichever models it has."""
    key = KeySection(name="game", token="game", limits=Limits(requests=2))
    site = await start_site(specs=BOTH, keys=[key])
    assert len((await site.post("/sdapi/v1/txt2img", PLOT, X_Api_Key="game")).json()["images"]) == 1
    answers = [await site.post("/sdapi/v1/txt2img", SMALL, X_Api_Key="game") for _ in range(2)]
    assert [each.status for each in answers] == [200, 429]


async def test_a_plot_counts_for_each_of_its_models(start_site: StartSite) -> None:
    """Not only for the first one."""
    limits = LimitsSection(models={"sketcher": Limits(images=1)})
    site = await start_site(specs=BOTH, keys=[KeySection(name="game", token="game")], limits=limits)
    assert (await site.post("/sdapi/v1/txt2img", PLOT, X_Api_Key="game")).status == 200
    refused = await site.post("/sdapi/v1/txt2img", PLOT, X_Api_Key="game")
    assert (refused.status, "sketcher" in refused.json()["detail"]) == (429, True)
    assert (await site.post("/sdapi/v1/txt2img", SMALL, X_Api_Key="game")).status == 200


async def test_a_sheet_where_pictures_would_be_saved(studio: Site) -> None:
    """It comes first; a single picture has none."""
    saved = SMALL | {"save_images": True, "batch_size": 2}
    whole = (await studio.post("/sdapi/v1/txt2img", saved)).json()
    assert len(whole["images"]) == 3
    assert json.loads(whole["info"])["index_of_first_image"] == 1
    assert len((await studio.post("/sdapi/v1/txt2img", saved | {"batch_size": 1})).json()["images"]) == 1


async def test_the_earlier_servers_pictures(studio: Site) -> None:
    """Its fields and defaults, its answer, and A1111's `info`."""
    answer = await studio.post("/generate-image", SMALL | {"batch_size": 2, "unknown": 1})
    assert answer.status == 200
    body = answer.json()
    drawn = (await studio.post("/sdapi/v1/txt2img", SMALL | {"batch_size": 2})).json()
    assert body["image_base64"] == body["images"][0]
    assert body["images"] == drawn["images"]
    assert json.loads(body["info"])["all_seeds"] == [7, 8]
    missing = await studio.post("/generate-image", {})
    assert missing.status == 422
    assert missing.json()["detail"][0]["loc"] == ["body", "prompt"]
    short = await studio.post("/generate-image", {"prompt": "a fox", "width": 16, "height": 16})
    assert json.loads(short.json()["info"])["sampler_name"] == "DPM++ 2M Karras"
