"""webuiapi, the Python client of A1111's API, and Unity's sequence, against a real server with a checkpoint of random
weights: what it draws is looked at pixel by pixel."""

import asyncio
import base64
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
import webuiapi
from PIL import Image as Pil

from tests.backends.diffusion import tiny
from tests.clients.drawing import drawing
from tests.end_to_end.process import Server
from velesio.backends.diffusion import esrgan
from velesio.pictures import infotext, picture_text

SIZE: dict[str, Any] = {"width": 64, "height": 64, "steps": 4, "seed": 7}


def furnish(folder: Path) -> None:
    """Files that requests may name."""
    tiny.furnish(folder)
    torch.manual_seed(2)
    tiny.save(
        folder / "upscalers" / "sharp.safetensors",
        esrgan.Compact(features=8, layers=2, scale=2, channels=3).state_dict(),
    )
    (folder / "styles.csv").write_text("name,prompt,negative_prompt\nink,ink drawing of {prompt},colour\n")


@pytest.fixture(scope="module")
def painting() -> Iterator[Server]:
    """A server with one model that draws, and files that requests may name."""
    with drawing("backends.diffusion.native=64", furnish=furnish) as server:
        yield server


@pytest.fixture
def api(painting: Server) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(host="127.0.0.1", port=int(painting.url.rpartition(":")[2]), sampler="Euler a", steps=4)


def pixels(image: Pil.Image) -> Any:
    return np.asarray(image.convert("RGB")).astype(int)


def test_txt2img(api: webuiapi.WebUIApi) -> None:
    """The same seed is the same picture, another one another; a batch is the single pictures."""
    one, again = api.txt2img(prompt="a fox", **SIZE), api.txt2img(prompt="a fox", **SIZE)
    assert one.image.size == (64, 64)
    assert np.abs(pixels(one.image) - pixels(again.image)).max() <= 1
    several = api.txt2img(prompt="a fox", **SIZE, batch_size=2, n_iter=2)
    assert several.info["all_seeds"] == [7, 8, 9, 10]
    for seed, image in zip(several.info["all_seeds"], several.images, strict=True):
        alone = api.txt2img(prompt="a fox", **(SIZE | {"seed": seed}))
        assert np.abs(pixels(alone.image) - pixels(image)).max() <= 1
    assert np.abs(pixels(several.images[0]) - pixels(several.images[1])).max() > 1
    larger = api.txt2img(prompt="a fox", **SIZE, enable_hr=True, hr_upscaler=webuiapi.HiResUpscaler.Latent, hr_scale=2)
    assert larger.image.size == (128, 128)


def test_img2img(api: webuiapi.WebUIApi) -> None:
    """What lies outside the mask stays as it was; no denoising hardly changes anything."""
    grey = Pil.new("RGB", (64, 64), (128, 128, 128))
    mask = Pil.new("L", (64, 64), 0)
    mask.paste(255, (0, 0, 32, 64))
    made = api.img2img(
        images=[grey], mask_image=mask, mask_blur=0, inpaint_full_res=False, inpainting_fill=1, prompt="a fox",
        denoising_strength=0.9, **SIZE,
    )  # fmt: skip
    assert (pixels(made.image)[:, 40:] == 128).all()
    assert (pixels(made.image)[:, :24] != 128).any()
    assert made.parameters["init_images"] is None


def test_a_pictures_text_makes_it_again(api: webuiapi.WebUIApi, painting: Server) -> None:
    """PNG, png-info, the same request from its parameters, and from the text alone: the same picture."""
    sent = {"prompt": "a (red:1.2) fox", "negative_prompt": "dogs", "sampler_name": "DPM++ 2M", "scheduler": "Karras",
            "cfg_scale": 4.5, "subseed": 3, "subseed_strength": 0.25}  # fmt: skip
    first = requests.post(f"{painting.url}/sdapi/v1/txt2img", json=sent | SIZE, timeout=60).json()
    file = base64.b64decode(first["images"][0])
    image = Pil.open(io.BytesIO(file))
    told = api.png_info(image).info
    assert told == picture_text.read(file).info
    found = requests.post(f"{painting.url}/sdapi/v1/png-info", json={"image": first["images"][0]}, timeout=60).json()
    parameters = found["parameters"]
    assert (parameters["Prompt"], parameters["Size-1"], parameters["Sampler"]) == ("a (red:1.2) fox", "64", "DPM++ 2M")
    assert infotext.parse(told).with_defaults() == parameters
    again = requests.post(f"{painting.url}/sdapi/v1/txt2img", json={"infotext": told}, timeout=60).json()
    assert np.abs(tiny.pixels(base64.b64decode(again["images"][0])).astype(int) - pixels(image)).max() <= 1


def test_lists(api: webuiapi.WebUIApi) -> None:
    """Each of the client's getters; what lies in the folders is in them."""
    assert "Euler a" in [each["name"] for each in api.get_samplers()]
    assert "karras" in [each["name"] for each in api.get_schedulers()]
    assert "DPM++ 2M" in api.util_get_sampler_names()
    assert {"tiny", "other"} <= {each["model_name"] for each in api.get_sd_models()}
    for getter in (
        api.get_sd_vae, api.get_upscalers, api.get_latent_upscale_modes, api.get_loras, api.get_hypernetworks,
        api.get_face_restorers, api.get_realesrgan_models, api.get_prompt_styles,
    ):  # fmt: skip
        assert isinstance(getter(), list)
    assert api.get_embeddings().keys() == {"loaded", "skipped"}
    assert api.get_memory()["ram"]["total"] > 0
    assert api.get_cmd_flags()["api"] is True
    assert api.get_scripts().keys() == {"txt2img", "img2img"}
    api.refresh_checkpoints()


def gradient(width: int = 48, height: int = 32) -> Pil.Image:
    """A picture that no upscaler can hide: brighter to the right, with one dark square."""
    values = np.tile(np.linspace(0, 255, width).astype(np.uint8), (height, 1))
    values[8:16, 8:16] = 0
    return Pil.fromarray(np.stack([values] * 3, axis=2))


def test_one_picture_is_enlarged(api: webuiapi.WebUIApi) -> None:
    """By a factor and to a size; each upscaler gives what it is to give."""
    given = gradient()
    same = api.extra_single_image(given)
    assert (pixels(same.image) == pixels(given)).all()
    nearest = api.extra_single_image(given, upscaling_resize=2, upscaler_1="Nearest")
    assert (pixels(nearest.image) == pixels(given).repeat(2, axis=0).repeat(2, axis=1)).all()
    assert nearest.info == "<p>Postprocess upscale by: 2, Postprocess upscaler: Nearest</p>"
    lanczos = api.extra_single_image(given, upscaling_resize=2, upscaler_1="Lanczos")
    wanted = given.resize((96, 64), Pil.Resampling.LANCZOS)
    assert (pixels(lanczos.image) == pixels(wanted)).all()
    mixed = api.extra_single_image(
        given, upscaling_resize=2, upscaler_1="Nearest", upscaler_2="Lanczos", extras_upscaler_2_visibility=0.5
    )
    mean = (pixels(nearest.image) + pixels(lanczos.image)) / 2
    assert np.abs(pixels(mixed.image) - mean).max() <= 0.5
    network = api.extra_single_image(given, upscaling_resize=2, upscaler_1="sharp")
    assert network.image.size == (96, 64)
    assert np.abs(pixels(network.image) - pixels(lanczos.image)).max() > 8
    cut = api.extra_single_image(
        given, resize_mode=1, upscaling_resize_w=64, upscaling_resize_h=64, upscaler_1="Nearest"
    )
    assert cut.image.size == (64, 64)
    assert (pixels(cut.image)[:, 32] == pixels(given)[0, 24]).all()


def test_several_pictures_are_enlarged(api: webuiapi.WebUIApi) -> None:
    """Each as it would be alone, in their order; what cannot be done is an error that says why."""
    given = [gradient(), gradient(16, 40)]
    made = api.extra_batch_images(given, upscaling_resize=2, upscaler_1="Lanczos")
    for one, image in zip(given, made.images, strict=True):
        alone = api.extra_single_image(one, upscaling_resize=2, upscaler_1="Lanczos")
        assert (pixels(image) == pixels(alone.image)).all()
    with pytest.raises(RuntimeError, match=r"could not find upscaler named .*Sharpest"):
        api.extra_single_image(given[0], upscaler_1="Sharpest")
    with pytest.raises(RuntimeError, match="501"):
        api.extra_single_image(given[0], gfpgan_visibility=1)
    with pytest.raises(RuntimeError, match="no model here describes pictures"):
        api.interrogate(given[0])


def test_controlnet(api: webuiapi.WebUIApi) -> None:
    """What there is, what its preprocessors make, and that a unit changes the picture."""
    assert api.has_controlnet
    assert api.controlnet_version() == 3
    assert any(name.startswith("edges") for name in api.controlnet_model_list())
    assert {"none", "canny", "invert"} <= set(api.controlnet_module_list())
    given = gradient(64, 64)
    inverted = api.controlnet_detect([given, given], module="invert", processor_res=64)
    assert inverted.info == "Success"
    assert [(pixels(image) == 255 - pixels(given)).all() for image in inverted.images] == [True, True]
    unit = webuiapi.ControlNetUnit(image=given, module="canny", model="edges", processor_res=64)
    plain, steered = api.txt2img(prompt="a fox", **SIZE), api.txt2img(prompt="a fox", **SIZE, controlnet_units=[unit])
    assert np.abs(pixels(plain.image) - pixels(steered.image)).max() > 1
    assert len(steered.images) == 2
    shown = api.controlnet_detect([given], module="canny", processor_res=64, threshold_a=64, threshold_b=64)
    assert (pixels(steered.images[1]) == pixels(shown.image)).all()


def test_styles_and_scripts(api: webuiapi.WebUIApi) -> None:
    """A style is its text around the prompt; tables hold the pictures that single requests give."""
    assert [style["name"] for style in api.get_prompt_styles()] == ["ink"]
    styled = api.txt2img(prompt="a fox", styles=["ink"], **SIZE)
    spelled = api.txt2img(prompt="ink drawing of a fox", negative_prompt="colour", **SIZE)
    assert np.abs(pixels(styled.image) - pixels(spelled.image)).max() <= 1
    matrix = api.txt2img(prompt="a fox|red", script_name="prompt matrix", script_args=[], **SIZE)
    sheet, *singles = matrix.images
    for prompt, image in zip(("a fox", "a fox, red"), singles, strict=True):
        assert np.abs(pixels(api.txt2img(prompt=prompt, **SIZE).image) - pixels(image)).max() <= 1
    for number, image in enumerate(singles):
        left, top = 64 * number, sheet.height - 64
        assert (pixels(sheet.crop((left, top, left + 64, top + 64))) == pixels(image)).all()
    plot = api.txt2img(
        prompt="a fox", script_name="x/y/z plot", **SIZE,
        script_args=["Seed", "7,8", [], "CFG Scale", "2,7", [], "Nothing", "", [], False],
    )  # fmt: skip
    assert plot.image.size == (128, 128)
    other = api.txt2img(prompt="a fox", cfg_scale=7, **(SIZE | {"seed": 8}))
    assert np.abs(pixels(plot.image.crop((64, 64, 128, 128))) - pixels(other.image)).max() <= 1


async def test_futures(api: webuiapi.WebUIApi) -> None:
    """Several at once from one client: each is the picture that it would be alone."""
    seeds = (7, 8, 9)
    asked = [api.txt2img(prompt="a fox", **(SIZE | {"seed": seed}), use_async=True) for seed in seeds]
    made = await asyncio.gather(*asked)
    for seed, result in zip(seeds, made, strict=True):
        alone = api.txt2img(prompt="a fox", **(SIZE | {"seed": seed}))
        assert np.abs(pixels(alone.image) - pixels(result.image)).max() <= 1


def test_any_other_route(api: webuiapi.WebUIApi) -> None:
    """By the client's own way to it."""
    assert api.custom_get("internal/ping", baseurl=False) == {}
    assert api.custom_get("sd-models", baseurl=True) == api.get_sd_models()


def test_the_model_is_chosen(api: webuiapi.WebUIApi) -> None:
    """By the client's own search over titles; pictures of another model are others."""
    api.util_set_model("tiny")
    before = api.txt2img(prompt="a fox", **SIZE)
    assert before.info["sd_model_name"] == "tiny"
    api.util_set_model("other")
    assert "other" in api.util_get_current_model()
    after = api.txt2img(prompt="a fox", **SIZE)
    assert after.info["sd_model_name"] == "other"
    assert np.abs(pixels(before.image) - pixels(after.image)).max() > 1
    api.util_set_model("tiny")
    api.set_options({"CLIP_stop_at_last_layers": 2})
    assert api.txt2img(prompt="a fox", **SIZE).info["clip_skip"] == 2
    api.set_options({"CLIP_stop_at_last_layers": 1, "samples_format": "jpg"})
    assert api.txt2img(prompt="a fox", **SIZE).image.format == "JPEG"
    api.set_options({"samples_format": "png"})


def test_progress_and_interrupt(api: webuiapi.WebUIApi) -> None:
    """Steps and previews while it draws; interrupted, it answers with what there is, and is ready again."""
    api.set_options({"show_progress_every_n_steps": 2})
    answers: list[Any] = []
    asking = threading.Thread(
        target=lambda: answers.append(api.txt2img(prompt="long", **(SIZE | {"steps": 150}), n_iter=20))
    )
    asking.start()
    end = time.monotonic() + 60
    seen = api.get_progress()
    while time.monotonic() < end and not seen["current_image"]:
        seen = api.get_progress()
    assert seen["current_image"]
    Pil.open(io.BytesIO(base64.b64decode(seen["current_image"]))).load()
    assert 0 < seen["progress"] <= 1
    assert seen["state"]["job_count"] == 20
    assert seen["state"]["sampling_steps"] == 150
    api.interrupt()
    asking.join(60)
    assert len(answers) == 1
    assert "" in answers[0].info["infotexts"]  # a preview stands for a picture that was stopped
    assert len(answers[0].images) == len(answers[0].info["infotexts"])
    api.util_wait_for_ready(check_interval=0.05)
    api.skip()


UNITY: dict[str, Any] = {
    "enable_hr": False, "denoising_strength": 0, "firstphase_width": 0, "firstphase_height": 0, "hr_scale": 2,
    "hr_upscaler": "", "hr_second_pass_steps": 0, "hr_resize_x": 0, "hr_resize_y": 0, "prompt": "a fox",
    "styles": [""], "seed": 7, "subseed": -1, "subseed_strength": 0, "seed_resize_from_h": -1,
    "seed_resize_from_w": -1, "sampler_name": "DPM++ 2M Karras", "sampler_index": "Euler", "batch_size": 1,
    "n_iter": 1, "steps": 4, "cfg_scale": 7, "width": 64, "height": 64, "restore_faces": False, "tiling": False,
    "negative_prompt": "", "eta": 0, "s_churn": 0, "s_tmax": 0, "s_tmin": 0, "s_noise": 1,
    "override_settings_restore_afterwards": True,
}  # fmt: skip
"""What Stable Diffusion's plug-in for Unity sends."""


def test_unitys_sequence(painting: Server) -> None:
    """Models, options before each picture, the picture, its `info`: of each number, flag and text that was sent there
    is one of the same type in `parameters`, since its reader cannot take null."""
    root = f"{painting.url}/sdapi/v1"
    name = requests.get(f"{root}/sd-models", timeout=60).json()[0]["model_name"]
    for _ in range(2):
        set_it = requests.post(f"{root}/options", json={"sd_model_checkpoint": name}, timeout=60)
        assert set_it.json() is None
        whole = requests.post(f"{root}/txt2img", json=UNITY, timeout=60).json()
        for key, value in UNITY.items():
            kinds = (int, float) if type(value) in {int, float} else (type(value),)
            assert isinstance(whole["parameters"][key], kinds), key
        info = json.loads(whole["info"])
        assert info["seed"] == 7
        assert all(info[key] is not None for key in ("width", "height", "subseed", "cfg_scale", "steps",
                                                     "denoising_strength", "restore_faces"))  # fmt: skip
        assert Pil.open(io.BytesIO(base64.b64decode(whole["images"][0], validate=True))).size == (64, 64)
    assert requests.get(f"{root}/progress", timeout=60).json()["progress"] == 0


def test_unity_polls_while_it_draws(painting: Server) -> None:
    """`progress` alone is read, as a number that is never null, at any time; what img2img sends with its nulls gives a
    picture of the given one."""
    root = f"{painting.url}/sdapi/v1"
    grey = base64.b64encode(tiny.png(np.full((64, 64, 3), 128))).decode()
    body = UNITY | {
        "init_images": [grey], "resize_mode": 0, "mask_blur": 4, "inpainting_fill": 0, "inpaint_full_res": True,
        "inpainting_mask_invert": 0, "initial_noise_multiplier": 1, "override_settings": None, "script_args": [],
        "include_init_images": True, "n_iter": 4, "steps": 100, "denoising_strength": 0.6,
    }  # fmt: skip
    answers: list[Any] = []
    asking = threading.Thread(
        target=lambda: answers.append(requests.post(f"{root}/img2img", json=body, timeout=120).json())
    )
    asking.start()
    seen = []
    while asking.is_alive():
        seen.append(requests.get(f"{root}/progress?skip_current_image=false", timeout=60).json()["progress"])
    asking.join()
    assert all(isinstance(each, float | int) and 0 <= each <= 1 for each in seen)
    [whole] = answers
    assert len(whole["images"]) == 4
    assert whole["parameters"]["init_images"] == [grey]
    assert json.loads(whole["info"])["denoising_strength"] == 0.6
    made = tiny.pixels(base64.b64decode(whole["images"][0], validate=True))
    assert (made != 128).any()
