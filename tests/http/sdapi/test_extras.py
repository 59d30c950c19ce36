"""A1111's extras and ControlNet's detection over the real queue, with an echo worker that gives the right sizes."""

import base64
from typing import Any

import pytest

from tests.http.conftest import Site, StartSite
from velesio.backends.base import ModelSpec
from velesio.backends.echo.image_asides import size_of
from velesio.backends.echo.picture import draw
from velesio.config import ServerSection
from velesio.errors import BadRequest, Unprocessable
from velesio.http.sdapi.controlnet import detection, with_units
from velesio.http.sdapi.extras import BATCH, FIELDS, SINGLE, read
from velesio.http.sdapi.fields import COMMON
from velesio.jobs import Detect, Enlarge

SPECS = (ModelSpec(name="painter", options={"capability": "image"}),)
FILE = draw("a fox", 1, 16, 8)
OTHER = draw("a cat", 1, 8, 8)
PICTURE, SECOND = base64.b64encode(FILE).decode(), base64.b64encode(OTHER).decode()
GIVEN: dict[str, dict[str, Any]] = {SINGLE: {"image": PICTURE}, BATCH: {"imageList": [{"data": PICTURE, "name": "a"}]}}
CHANGED: dict[str, Any] = {
    "resize_mode": 1, "upscaling_resize": 3, "upscaling_resize_w": 64, "upscaling_resize_h": 64,
    "upscaling_crop": False, "upscaler_1": "Lanczos", "upscaler_2": "Nearest", "extras_upscaler_2_visibility": 0.5,
    "image": SECOND, "imageList": [{"data": SECOND}], "override_settings": {"ESRGAN_tile": 64},
}  # fmt: skip
"""A value that asks for something, by field."""
SIZED = {"resize_mode": 1}


@pytest.fixture
async def studio(start_site: StartSite) -> Site:
    return await start_site(specs=SPECS)


def files(answer: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(each, validate=True) for each in answer.get("images", [answer.get("image", "")])]


@pytest.mark.parametrize(("path", "name"), [(path, name) for path, fields in FIELDS.items() for name in fields])
def test_a_field_does_what_its_row_says(path: str, name: str) -> None:
    """What is honoured changes the job, what has no effect does not, what is refused is named."""
    fate = FIELDS[path][name].fate
    base = GIVEN[path] | (SIZED if name in {"upscaling_resize_w", "upscaling_resize_h"} else {})
    if fate == "honoured":
        assert read(path, base | {name: CHANGED[name]}).params != read(path, base).params
    elif fate == "no effect":
        value = True if FIELDS[path][name].type is bool else 0.5
        assert read(path, base | {name: value}).params == read(path, base).params
    else:
        with pytest.raises(BadRequest, match=name):
            read(path, base | {name: 0.5})


def test_what_clients_send_that_want_nothing() -> None:
    """webuiapi's defaults, numbers as texts, what is null."""
    sent = {
        "resize_mode": 0, "show_extras_results": True, "gfpgan_visibility": 0, "codeformer_visibility": "0",
        "codeformer_weight": 0, "upscaling_resize": "2", "upscaler_1": None, "upscaler_2": "None",
        "upscale_first": False, "image": f"data:image/png;base64,{PICTURE}",
    }  # fmt: skip
    assert read(SINGLE, sent).params == [Enlarge(pictures=(FILE,))]


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        (SINGLE, {}, 422, [{"loc": ["body", "image"], "msg": "field required", "type": "value_error.missing"}]),
        (SINGLE, {"image": ""}, 400, "Invalid encoded image"),
        (SINGLE, {"image": PICTURE, "resize_mode": 2}, 400, "Field 'resize_mode'"),
        (SINGLE, {"image": PICTURE, "upscaler_1": "Sharp"}, 400, "could not find upscaler named 'Sharp'"),
        (SINGLE, {"image": PICTURE, "gfpgan_visibility": 1}, 501, "Field 'gfpgan_visibility'"),
        (SINGLE, {"image": base64.b64encode(b"no picture").decode(), "upscaler_1": "Lanczos"}, 400, "this is no whole"),
        (BATCH, {"imageList": []}, 400, "Field 'imageList'"),
        (BATCH, {"imageList": [{"name": "a"}]}, 400, "Field 'imageList[0].data'"),
        ("/controlnet/detect", {"controlnet_input_images": [PICTURE], "controlnet_module": "depth"}, 422, "Module not"),
        ("/controlnet/detect", {}, 422, "No image selected"),
        ("/controlnet/render_openpose_json", [], 501, "poses are not drawn"),
        ("/controlnet/txt2img", {"controlnet_units": [1]}, 422, "controlnet_units"),
    ],
)
async def test_refusals_have_their_shape(studio: Site, path: str, body: Any, status: int, said: Any) -> None:
    """Naming the field as the client knows it."""
    answer = await studio.post(path, body)
    assert answer.status == status, answer.body
    detail = answer.json()["detail"]
    assert detail == said if isinstance(said, list) else detail.startswith(said)


async def test_one_and_several(studio: Site) -> None:
    """By a factor and to a size; what was done stands in `html_info`."""
    body = {"image": PICTURE, "upscaling_resize": 2, "upscaler_1": "Lanczos"}
    one = (await studio.post(SINGLE, body)).json()
    assert one.keys() == {"html_info", "image"}
    assert [size_of(file) for file in files(one)] == [(32, 16)]
    assert one["html_info"] == "<p>Postprocess upscale by: 2, Postprocess upscaler: Lanczos</p>"
    listed = [{"data": PICTURE, "name": "a.png"}, {"data": SECOND, "name": "b.png"}]
    sized = {"imageList": listed, "resize_mode": 1, "upscaling_resize_w": 24, "upscaling_resize_h": 20}
    answer = await studio.post(BATCH, sized | {"upscaler_1": "Nearest"})
    assert len(answer.headers["X-Velesio-Job-Id"]) == 32
    assert [size_of(file) for file in files(answer.json())] == [(24, 20), (24, 20)]
    plain = (await studio.post(BATCH, {"imageList": listed})).json()
    assert files(plain) == [FILE, OTHER]
    assert plain["html_info"] == ""


async def test_large_pictures_may_come(start_site: StartSite) -> None:
    """`server.max_image_body` counts, not the limit of texts."""
    site = await start_site(specs=SPECS, server=ServerSection(max_body=100, max_image_body=2000))
    assert (await site.post(SINGLE, {"image": PICTURE})).status == 200
    refused = await site.post(SINGLE, {"image": PICTURE, "upscaler_1": "x" * 2000})
    assert refused.status == 413
    assert "server.max_image_body" in refused.json()["detail"]


async def test_what_preprocessors_make(studio: Site) -> None:
    """Pictures, also under the name by which webuiapi sends them."""
    body = {"controlnet_module": "canny", "controlnet_threshold_a": 64, "controlnet_processor_res": 64}
    shown = (await studio.post("/controlnet/detect", body | {"controlnet_input_images": [PICTURE, SECOND]})).json()
    assert shown["info"] == "Success"
    assert [size_of(file) for file in files(shown)] == [(16, 8), (8, 8)]
    other = (await studio.post("/controlnet/detect", body | {"controlnet_images": [PICTURE, SECOND]})).json()
    assert files(other) == files(shown)


def test_a_detection_is_read() -> None:
    """-1 is the usual resolution; masks are one for each picture."""
    raw = {"controlnet_module": "Inpaint_Only", "controlnet_input_images": [PICTURE], "controlnet_masks": [SECOND]}
    assert detection(raw) == Detect(pictures=(FILE,), module="inpaint_only", masks=(OTHER,))
    with pytest.raises(Unprocessable, match="2 masks for 1 pictures"):
        detection(raw | {"controlnet_masks": [SECOND] * 2})


async def test_units_may_stand_in_the_body(studio: Site) -> None:
    """As the extension had it before; without any it is txt2img."""
    unit = {"model": "canny", "input_image": PICTURE}
    placed = with_units({"prompt": "x", "controlnet_units": [unit], "alwayson_scripts": {"other": {"args": []}}})
    assert placed == {
        "prompt": "x",
        "alwayson_scripts": {"other": {"args": []}, "ControlNet": {"args": [{"enabled": True} | unit]}},
    }
    small = {"prompt": "a fox", "seed": 7, "steps": 2, "width": 16, "height": 16}
    for kind, more in (("txt2img", {}), ("img2img", {"init_images": [PICTURE]})):
        drawn = (await studio.post(f"/controlnet/{kind}", small | more | {"controlnet_units": [unit]})).json()
        plain = (await studio.post(f"/sdapi/v1/{kind}", small | more)).json()
        assert files(drawn) == files(plain)


def test_common_fields_are_not_those_of_drawing() -> None:
    """Two tables: a name that both have means the same."""
    shared = {name for name in FIELDS[SINGLE] if name in COMMON}
    assert shared == {"override_settings"}
