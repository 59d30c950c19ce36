"""webuiapi's extras and scripts with the checkpoint that ships: what the pictures show, read from their pixels."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import webuiapi
from PIL import Image as Pil

from tests.end_to_end.process import Server, own_folder, running
from training.drawing import Scene, draw
from training.reading import read

SEEN: dict[str, Any] = {"width": 64, "height": 64, "steps": 12, "seed": 7, "cfg_scale": 4}


@pytest.fixture(scope="module")
def api() -> Iterator[webuiapi.WebUIApi]:
    """A client of a server with that model alone."""
    settings = ('worker.models=["velesio-demo"]',)
    with own_folder() as folder, running(Server("all", folder, *settings, env={"OMP_NUM_THREADS": "1"})) as server:
        yield webuiapi.WebUIApi(port=server.port, sampler="DPM++ 2M Karras")


@pytest.fixture(scope="module")
def circle(api: webuiapi.WebUIApi) -> Pil.Image:
    """What the model draws of a red circle."""
    image: Pil.Image = api.txt2img(prompt="a red circle", **SEEN).image.convert("RGB")
    assert shown(image) == ("circle", "red")
    return image


def pixels(image: Pil.Image) -> Any:
    return np.asarray(image.convert("RGB")).astype(int)


def shown(image: Pil.Image) -> tuple[str, str] | None:
    """Form and colour, seen at the model's own size."""
    small = image.convert("RGB").resize((64, 64), Pil.Resampling.LANCZOS)
    found = read(np.asarray(small))
    return None if found is None else (found.form, found.colour)


def apart(one: Pil.Image, other: Pil.Image) -> float:
    """Mean difference of pixels at the second one's size."""
    return float(np.abs(pixels(one.convert("RGB").resize(other.size, Pil.Resampling.LANCZOS)) - pixels(other)).mean())


def test_extras(api: webuiapi.WebUIApi, circle: Pil.Image) -> None:
    """Larger pictures show the same; cut to a size, the middle of what covers it; several are what each is alone."""
    large = api.extra_single_image(circle, upscaling_resize=4, upscaler_1="Lanczos").image
    assert (large.size, shown(large)) == ((256, 256), ("circle", "red"))
    sized: dict[str, Any] = {"resize_mode": 1, "upscaling_resize_w": 200, "upscaling_resize_h": 100}
    whole, cut = (
        api.extra_single_image(circle, **sized, upscaler_1="Lanczos", upscaling_crop=crop).image
        for crop in (False, True)
    )
    assert (whole.size, cut.size) == ((200, 200), (200, 100))
    assert (pixels(whole)[50:150] == pixels(cut)).all()
    star = draw(Scene("star", "blue"))
    both = api.extra_batch_images([circle, star], upscaling_resize=2, upscaler_1="Lanczos").images
    assert [shown(image) for image in both] == [("circle", "red"), ("star", "blue")]
    assert (pixels(both[0]) == pixels(api.extra_single_image(circle, upscaler_1="Lanczos").image)).all()


SOFT = 2 * 4 + 10
"""Pixels inside the old border that a blur of 4 reaches: twice itself, and as far as its Gaussian goes."""


@pytest.mark.parametrize(
    ("script", "args"),
    [
        ("poor man's outpainting", [32, 4, 0, ["left", "right"]]),
        ("outpainting mk2", ["", 32, 4, ["left", "right"], 1.0, 0.05]),
    ],
)
def test_outpainting(api: webuiapi.WebUIApi, circle: Pil.Image, script: str, args: list[Any]) -> None:
    """The given picture stands in the middle, pixel by pixel; what is around it goes on without an edge."""
    made = api.img2img(
        [circle], prompt="a red circle", script_name=script, script_args=args, denoising_strength=0.8, **SEEN
    ).image
    assert made.size == (128, 64)
    found, old = pixels(made), pixels(circle)
    assert (found[:, 32 + SOFT : 96 - SOFT] == old[:, SOFT : 64 - SOFT]).all()
    for column in (32, 96):
        step = np.abs(found[:, column - 1] - found[:, column]).mean()
        assert step < 25, (script, column, step)
    assert found[:, :24].std() > 0
    paper = old[:4].mean(axis=(0, 1))
    assert np.abs(np.median(found[:, :24], axis=(0, 1)) - paper).max() < 40


def test_loopback(api: webuiapi.WebUIApi, circle: Pil.Image) -> None:
    """The further it goes, the more the prompt is seen: from a red circle to a blue star."""
    made = api.img2img(
        [circle], prompt="a blue star", script_name="loopback", script_args=[4, 0.9, "Linear", "None"],
        denoising_strength=0.3, **SEEN,
    ).images  # fmt: skip
    assert len(made) == 4
    assert apart(made[0], circle) < apart(made[-1], circle)
    assert shown(made[-1]) == ("star", "blue")


def test_sd_upscale(api: webuiapi.WebUIApi, circle: Pil.Image) -> None:
    """Twice as large, drawn again in tiles; seen from afar the same picture, without lines where tiles meet."""
    made = api.img2img(
        [circle], prompt="a red circle", script_name="sd upscale", script_args=["", 16, "Lanczos", 2.0],
        denoising_strength=0.2, **SEEN,
    ).image  # fmt: skip
    assert (made.size, shown(made)) == ((128, 128), ("circle", "red"))
    assert apart(made, circle) < 25
    steps = np.abs(np.diff(pixels(made), axis=1)).mean(axis=(0, 2))
    assert steps[56:72].max() < 4 * np.median(steps) + 8


def test_prompt_matrix(api: webuiapi.WebUIApi) -> None:
    """Every selection of the parts has its picture, and its place on the sheet."""
    sheet, *singles = api.txt2img(
        prompt="a red circle|on a green background|night", script_name="prompt matrix",
        script_args=[False, False, "positive", "comma", 4], **SEEN,
    ).images  # fmt: skip
    assert len(singles) == 4
    backs = [pixels(image)[:3].mean(axis=(0, 1)) for image in singles]
    assert backs[1][1] > backs[1][0] + 40  # green
    assert backs[2].mean() < 80 < backs[0].mean()  # night, and paper
    for place, image in zip(((0, 0), (1, 0), (0, 1), (1, 1)), singles, strict=True):
        left = sheet.width - 2 * 64 - 4 + place[0] * 68
        top = sheet.height - 2 * 64 - 4 + place[1] * 68
        assert (pixels(sheet.crop((left, top, left + 64, top + 64))) == pixels(image)).all()


def test_xyz_plot(api: webuiapi.WebUIApi) -> None:
    """Each cell shows what its column says, each row has a seed of its own."""
    words = [("circle", "red"), ("star", "blue"), ("heart", "green")]
    sheet, *singles = api.txt2img(
        prompt="a red circle", script_name="x/y/z plot",
        script_args=["Prompt S/R", "red circle,blue star,green heart", [], "Seed", "1-2", [], "Nothing", "", [],
                     True, True, False, False, False, False, False, 4],
        **SEEN,
    ).images  # fmt: skip
    assert [shown(image) for image in singles] == words * 2
    assert sheet.width > 3 * 64 + 2 * 4
    assert (pixels(singles[0]) != pixels(singles[3])).any()
    cell = sheet.crop((sheet.width - 64, sheet.height - 64, sheet.width, sheet.height))
    assert (pixels(cell) == pixels(singles[-1])).all()
