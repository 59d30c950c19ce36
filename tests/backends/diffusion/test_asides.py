"""Jobs that hold no slot: pictures enlarged, shown as a ControlNet is shown them, put on a sheet."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import ImageFont

from tests.backends.diffusion import tiny
from tests.backends.diffusion.conftest import Studio
from velesio.backends.diffusion import enlarging, esrgan, sheet
from velesio.backends.diffusion.sizes import Size
from velesio.jobs import Cancelled, Completed, Detect, Enlarge, Failed, Image, ImageResult, Progress, Sheet
from velesio.pictures import picture_text

RANDOM = np.random.default_rng(3)
PICTURE = tiny.png(RANDOM.integers(0, 255, (24, 40, 3)))
HALVES = np.zeros((32, 64, 3), dtype=np.uint8)
HALVES[:, 32:] = 255


def result_of(studio: Studio, params: Any) -> ImageResult:
    final = studio.run(params)
    assert isinstance(final, Completed), final
    assert isinstance(final.result, ImageResult)
    return final.result


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"scale": 2.0}, (80, 48)),
        ({"scale": 1.5}, (56, 32)),
        ({"scale": 0.1}, (4, 2)),
        ({"width": 64, "height": 64}, (64, 64)),
        ({"width": 64, "height": 64, "crop": False}, (107, 64)),
    ],
)
def test_sizes(studio: Studio, fields: dict[str, Any], size: tuple[int, int]) -> None:
    """By a factor in multiples of 8, or covering a size, cut or not."""
    result = result_of(studio, Enlarge(pictures=(PICTURE,), upscaler="Lanczos", **fields))
    assert (result.width, result.height) == size
    assert tiny.pixels(result.pictures[0]).shape == (size[1], size[0], 3)


def test_the_middle_is_what_a_cut_leaves(studio: Studio) -> None:
    """Of black and white halves, both are left; their border is in the middle."""
    [file] = result_of(studio, Enlarge(pictures=(tiny.png(HALVES),), upscaler="Nearest", width=64, height=64)).pictures
    made = tiny.pixels(file)
    assert (made[:, :32] == 0).all()
    assert (made[:, 32:] == 255).all()


def test_two_upscalers_are_mixed(studio: Studio) -> None:
    """Each pixel is the two results' mean by the share."""
    nearest, lanczos, mixed = (
        tiny.pixels(result_of(studio, Enlarge(pictures=(PICTURE,), **fields)).pictures[0])
        for fields in (
            {"upscaler": "Nearest"},
            {"upscaler": "Lanczos"},
            {"upscaler": "Nearest", "second": "lanczos", "share": 0.25},
        )
    )
    assert np.abs(nearest - lanczos).max() > 8
    assert np.abs(nearest * 0.75 + lanczos * 0.25 - mixed).max() <= 0.5


def test_no_upscaler_leaves_the_picture(studio: Studio) -> None:
    """As A1111's None does, whatever the size; its text stays."""
    given = picture_text.png_with(PICTURE, {"parameters": "a fox\nSteps: 1"})
    result = result_of(studio, Enlarge(pictures=(given,), scale=4.0))
    assert tiny.difference(result.pictures[0], PICTURE) == 0
    assert picture_text.read(result.pictures[0]) == ("a fox\nSteps: 1", {})


def test_what_was_done_stands_in_the_file(studio: Studio) -> None:
    """Under A1111's keyword, beside the text that the picture had."""
    given = picture_text.png_with(PICTURE, {"parameters": "a fox\nSteps: 1"})
    result = result_of(studio, Enlarge(pictures=(given, PICTURE), upscaler="Lanczos", width=16, height=16))
    said = "Postprocess upscale to: 16x16, Postprocess crop to: 16x16, Postprocess upscaler: Lanczos"
    assert picture_text.read(result.pictures[0]) == ("a fox\nSteps: 1", {"postprocessing": said})
    assert picture_text.read(result.pictures[1]) == ("", {"postprocessing": said})
    assert result.infotexts == (said, said)


def test_networks_enlarge(studio: Studio, furnished: Any) -> None:
    """A file of `upscalers/`, by its name in any case; it is not what Lanczos makes."""
    path = furnished / "upscalers" / "sharp.safetensors"
    torch.manual_seed(2)
    network = esrgan.Compact(features=8, layers=2, scale=2, channels=3)
    tiny.save(path, network.state_dict())
    shelf = studio.engine._models.library.upscalers.files  # type: ignore[attr-defined]  # as if it had been there
    shelf["sharp"] = path
    try:
        by_network = result_of(studio, Enlarge(pictures=(PICTURE,), upscaler="SHARP", tile=16, overlap=4)).pictures[0]
        by_arithmetic = result_of(studio, Enlarge(pictures=(PICTURE,), upscaler="Lanczos")).pictures[0]
    finally:
        del shelf["sharp"]
        path.unlink()
    assert tiny.pixels(by_network).shape == tiny.pixels(by_arithmetic).shape
    assert tiny.difference(by_network, by_arithmetic) > 8


@pytest.mark.parametrize(
    ("params", "said"),
    [
        (Enlarge(pictures=(PICTURE,), upscaler="Lanzcos"), "could not find upscaler named 'Lanzcos'; near to it: Lanc"),
        (Enlarge(pictures=(PICTURE,), upscaler="Latent"), "enlarges latents"),
        (Enlarge(pictures=(b"no",), upscaler="Lanczos"), "no whole picture file"),
        (Enlarge(pictures=(PICTURE,), upscaler="Lanczos", width=60000, height=60000), "max_enlarged"),
        (Enlarge(pictures=(PICTURE,), upscaler="Lanczos", scale=0.0), "scale is 0.0"),
        (Enlarge(pictures=(PICTURE,), upscaler="Lanczos", share=2.0), "share is 2.0"),
        (Detect(pictures=(PICTURE,), module="cany"), "did you mean canny"),
        (Detect(pictures=(PICTURE,), resolution=0), "resolution is 0"),
        (Sheet(pictures=(b"", b""), columns=1), "no picture to arrange"),
        (Sheet(pictures=(PICTURE,), columns=0), "a column or more"),
        (Sheet(pictures=(PICTURE,) * 2, columns=2, margin=4097), "margins"),
        (Sheet(pictures=(PICTURE,) * 4096, columns=4096, margin=4096), "may have"),
    ],
)
def test_refusals_name_what_would_be_right(studio: Studio, params: Any, said: str) -> None:
    """And harm nobody else."""
    final = studio.run(params)
    assert isinstance(final, Failed)
    assert final.code == "invalid_request"
    assert said in final.message


def test_maps(studio: Studio) -> None:
    """What the module makes; hidden parts are black."""
    inverted = result_of(studio, Detect(pictures=(tiny.png(HALVES),), module="invert", resolution=32)).pictures[0]
    assert (tiny.pixels(inverted) == 255 - HALVES).all()
    white = tiny.png(np.full((32, 64, 3), 255))
    masked = Detect(pictures=(white,), module="inpaint_only", resolution=32, masks=(tiny.png(HALVES),))
    shown = tiny.pixels(result_of(studio, masked).pictures[0])
    assert (shown[:, :30] == 255).all()
    assert (shown[:, 34:] == 0).all()


def test_a_sheet_has_every_picture_in_its_place(studio: Studio) -> None:
    """Row by row, with margins; a place without a picture stays white."""
    pictures = [tiny.png(np.full((16, 16, 3), shade)) for shade in (10, 60, 120)]
    result = result_of(studio, Sheet(pictures=(pictures[0], b"", *pictures[1:]), columns=2, margin=4))
    made = tiny.pixels(result.pictures[0])
    assert made.shape == (36, 36, 3)
    assert [int(made[y, x, 0]) for y, x in ((0, 0), (0, 20), (20, 0), (20, 20))] == [10, 255, 60, 120]
    assert (made[16:20] == 255).all()


def test_titles_have_room(studio: Studio) -> None:
    """Over the columns and beside the rows, in black, and nowhere over a picture."""
    pictures = tuple(tiny.png(np.full((64, 64, 3), 200)) for _ in range(2))
    result = result_of(studio, Sheet(pictures=pictures, columns=2, over=("Steps: 4", "Steps: 8"), beside=("Seed: 7",)))
    made = tiny.pixels(result.pictures[0])
    top, left = made.shape[0] - 64, made.shape[1] - 128
    assert top > 10
    assert left == 48
    assert (made[top:, left:] == 200).all()
    assert made[:top, left:].min() < 100
    assert made[top:, :left].min() < 100


def test_long_titles_are_wrapped() -> None:
    """No line is wider than its place; nothing is lost."""
    font = ImageFont.load_default(12)
    text = sheet.wrapped("a very long title with anextremelylongwordthatdoesnotfit", 60, font)
    assert all(font.getlength(line) <= 75 for line in text.split("\n"))
    assert text.replace("\n", "").replace(" ", "") == "averylongtitlewithanextremelylongwordthatdoesnotfit"


def test_covering_is_never_smaller() -> None:
    """Whatever the shapes are."""
    for given in (Size(3, 7), Size(100, 99), Size(640, 1)):
        size = enlarging.covering(given, Enlarge(pictures=(), width=13, height=29))
        assert size.width >= 13
        assert size.height >= 29


def test_pictures_go_on_meanwhile(studio: Studio) -> None:
    """An aside of many pictures and a picture being drawn share the steps; each ends as it would alone."""
    alone = studio.picture("a fox", steps=4)
    aside = studio.start(Enlarge(pictures=(PICTURE,) * 6, upscaler="Lanczos"), stream=True)
    drawn = studio.start(Image("a fox", steps=4, seed=3))
    studio.engine.step()
    assert not aside.finished
    enlarged, final = studio.finish(aside, drawn)
    assert isinstance(enlarged, Completed)
    assert isinstance(final, Completed)
    assert np.abs(tiny.pixels(final.result.pictures[0]) - alone).max() <= 1
    told = [event for event in studio.events[aside.job.id] if isinstance(event, Progress)]
    assert [event.done for event in told] == [1, 2, 3, 4, 5, 6]


def test_one_that_is_cancelled_ends(studio: Studio) -> None:
    """Between two of its pictures."""
    aside = studio.start(Enlarge(pictures=(PICTURE,) * 50, upscaler="Lanczos"))
    studio.engine.step()
    aside.cancelled = True
    [final] = studio.finish(aside)
    assert isinstance(final, Cancelled)


def test_unknown_samplers_are_passed_over_where_that_is_asked(studio: Studio) -> None:
    """As A1111 does: the first sampler, with its own schedule; a note says so."""
    lenient = studio.result(sampler="Foo a", schedule="bar", lenient=True)
    assert lenient.facts["Sampler"] == "DPM++ 2M"
    assert "no sampler is called 'Foo a'" in lenient.notes[0]
    assert tiny.difference(lenient.pictures[0], studio.result(sampler="DPM++ 2M").pictures[0]) <= 1
    kept = studio.result(sampler="Heun", schedule="bar", lenient=True)
    assert kept.facts["Sampler"] == "Heun"
    assert studio.result(sampler="Heun", lenient=True).notes == ()
    assert studio.refusal(sampler="Foo a").code == "invalid_request"
