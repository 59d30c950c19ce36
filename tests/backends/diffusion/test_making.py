"""What a request asks for shows in its pixels: given pictures, masks, second passes, seeds."""

from pathlib import Path

import numpy as np
import pytest

from tests.backends.diffusion import tiny
from tests.backends.diffusion.conftest import Studio, found
from velesio import infotext, picture_text
from velesio.jobs import Hires, Image, Inpaint, Outpaint, Variation


def mask(left: int = 16, top: int = 16, right: int = 40, bottom: int = 40, size: int = 64) -> bytes:
    shown = np.zeros((size, size), np.uint8)
    shown[top:bottom, left:right] = 255
    return tiny.png(shown)


@pytest.fixture(scope="module")
def given() -> bytes:
    """A picture to begin with."""
    across, down = np.meshgrid(np.arange(64), np.arange(64))
    return tiny.png(np.stack([across * 4, down * 4, (across + down) * 2], axis=2))


def changed(studio: Studio, given: bytes, **fields: object) -> np.ndarray:
    """The largest difference of each pixel from the given picture."""
    return np.abs(studio.picture(init=(given,), **fields) - tiny.pixels(given)).max(axis=2)


def test_more_strength_runs_more_steps(studio: Studio, given: bytes) -> None:
    """`int(steps * strength) + 1` steps; exactly `steps` where that is asked for."""
    for strength, exact, steps in [(0.3, False, 4), (0.9, False, 10), (1.0, False, 10), (0.5, True, 10)]:
        result = studio.result(init=(given,), steps=10, denoising=strength, exact_steps=exact)
        assert f"Denoising strength: {strength}" in result.infotexts[0]
        work = studio.start(Image("a fox", init=(given,), steps=10, denoising=strength, exact_steps=exact), stream=True)
        studio.finish(work)
        totals = {event.total for event in studio.of(work) if hasattr(event, "total")}
        assert totals == {steps}


@pytest.mark.parametrize("content", ["fill", "original", "noise", "nothing"])
@pytest.mark.parametrize("only_masked", [False, True])
def test_inpainting_changes_nothing_outside(studio: Studio, given: bytes, content: str, only_masked: bool) -> None:
    """Pixels beyond mask and blur are the given picture's own; those inside are not."""
    inpaint = Inpaint(mask(), blur_x=2, blur_y=2, content=content, only_masked=only_masked, padding=4)
    difference = changed(studio, given, inpaint=inpaint)
    reach = 2 * 2.5 + 1
    rows, columns = np.nonzero(difference)
    assert min(rows.min(), columns.min()) >= 16 - reach
    assert max(rows.max(), columns.max()) < 40 + reach
    assert difference[20:36, 20:36].mean() > 5


def test_masked_contents_differ(studio: Studio, given: bytes) -> None:
    """Each kind of content gives another picture."""
    pictures = [
        studio.picture(init=(given,), inpaint=Inpaint(mask(), content=content))
        for content in ("fill", "original", "noise", "nothing")
    ]
    for number, one in enumerate(pictures):
        for other in pictures[number + 1 :]:
            assert np.abs(one - other).max() > 0


def test_an_inverted_mask_keeps_the_inside(studio: Studio, given: bytes) -> None:
    """What was white is kept."""
    difference = changed(studio, given, inpaint=Inpaint(mask(), blur_x=1, blur_y=1, invert=True))
    assert difference[22:34, 22:34].max() == 0
    assert difference[:8].mean() > 5


def test_a_blank_mask_redraws_everything(studio: Studio, given: bytes) -> None:
    """As if there were none, and the result says so."""
    blank = studio.result(init=(given,), inpaint=Inpaint(mask(0, 0, 0, 0)))
    assert blank.notes == ("the mask is blank",)
    assert (tiny.pixels(blank.pictures[0]) == studio.picture(init=(given,))).all()


def test_outpainting_keeps_the_old_pixels(studio: Studio, given: bytes) -> None:
    """Beyond twice the blur from the seam the old picture stands where it was put, on a canvas of whole latents."""
    found = studio.picture(init=(given,), outpaint=Outpaint(left=16, right=20, down=8, blur=2))
    assert found.shape == (72, 104, 3)
    old = tiny.pixels(given)[20:40, 12:52]
    places = [left for left in range(41) if (found[20:40, left + 12 : left + 52] == old).all()]
    assert len(places) == 1
    assert 16 <= places[0] <= 20


@pytest.mark.parametrize(
    ("resize", "width", "height"), [("stretch", 96, 64), ("crop", 96, 64), ("fill", 96, 64), ("latent", 96, 64)]
)
def test_resize_modes(studio: Studio, given: bytes, resize: str, width: int, height: int) -> None:
    """Each brings the given picture to the size that was asked for, each its own way."""
    found = studio.picture(init=(given,), width=width, height=height, resize=resize, denoising=0.1)
    assert found.shape == (height, width, 3)


def test_resize_modes_differ(studio: Studio, given: bytes) -> None:
    """No two of them give the same picture."""
    pictures = [
        studio.picture(init=(given,), width=96, resize=resize).tobytes()
        for resize in ("stretch", "crop", "fill", "latent")
    ]
    assert len(set(pictures)) == 4


@pytest.mark.parametrize(
    ("hires", "size"),
    [
        (Hires(1.5, denoising=0.5), (96, 96)),
        (Hires(1.5, denoising=0.0), (96, 96)),
        (Hires(upscaler="Lanczos", scale=1.5), (96, 96)),
        (Hires(upscaler="Nearest", scale=1.5, steps=3), (96, 96)),
        (Hires(width=128), (128, 128)),
        (Hires(width=96, height=64), (96, 64)),
        (Hires(1.5, upscaler="Latent (bicubic antialiased)", sampler="DPM++ 2M Karras", cfg=3.0), (96, 96)),
    ],
)
def test_a_second_pass(studio: Studio, hires: Hires, size: tuple[int, int]) -> None:
    """The result has the second pass's size; the text names both."""
    result = studio.result(hires=hires)
    assert (result.width, result.height) == size
    assert tiny.pixels(result.pictures[0]).shape == (size[1], size[0], 3)
    told = infotext.parse(result.infotexts[0]).parameters
    assert (told["Size-1"], told["Hires upscaler"]) == ("64", hires.upscaler)


def test_another_prompt_and_checkpoint_in_the_second_pass(studio: Studio) -> None:
    """Both change the picture, and unknown checkpoints are refused."""
    plain = studio.picture(hires=Hires(1.5))
    for hires in (Hires(1.5, prompt="an owl"), Hires(1.5, checkpoint="other")):
        assert (studio.picture(hires=hires) != plain).any()
    assert "nope" in studio.refusal(hires=Hires(1.5, checkpoint="nope")).message


def test_a_refiner_takes_over(studio: Studio) -> None:
    """From the part of the steps on that was asked for; at 1 never."""
    plain = studio.picture()
    assert (studio.picture(refiner="other", refiner_at=1.0) == plain).all()
    early, late = (np.abs(studio.picture(refiner="other", refiner_at=at) - plain).mean() for at in (0.2, 0.9))
    assert early > late >= 0


def test_picture_i_has_seed_plus_i(studio: Studio) -> None:
    """A batch is so many single pictures; with a variation only the second seed counts on."""
    batch = studio.result(batch=3, seed=10)
    assert batch.seeds == (10, 11, 12)
    for number, file in enumerate(batch.pictures):
        assert tiny.difference(file, studio.result(seed=10 + number).pictures[0]) <= 1
    varied = studio.result(batch=2, seed=10, variation=Variation(20, 0.5))
    assert (varied.seeds, varied.subseeds) == ((10, 10), (20, 21))
    second = studio.result(seed=10, variation=Variation(21, 0.5))
    assert tiny.difference(varied.pictures[1], second.pictures[0]) <= 1


def test_a_variation_moves_from_one_seed_to_the_other(studio: Studio) -> None:
    """At strength 0 it is the first seed's picture, at 1 the second's, and between the two it lies nearer to either
    the less there is of the other."""
    first, second = studio.picture(seed=1), studio.picture(seed=2)
    assert (studio.picture(seed=1, variation=Variation(2, 0.0)) == first).all()
    assert np.abs(studio.picture(seed=1, variation=Variation(2, 1.0)) - second).max() <= 1
    little = np.abs(studio.picture(seed=1, variation=Variation(2, 0.1)) - first).mean()
    much = np.abs(studio.picture(seed=1, variation=Variation(2, 0.6)) - first).mean()
    assert 0 < little < much


def test_seed_resize_keeps_the_middle(studio: Studio) -> None:
    """It changes the picture; at the picture's own size it changes nothing."""
    plain = studio.picture()
    assert (studio.picture(variation=Variation(from_width=64, from_height=64)) == plain).all()
    assert (studio.picture(variation=Variation(from_width=32, from_height=32)) != plain).any()


def test_a_drawn_seed_is_told(studio: Studio) -> None:
    """Where no seed was given, the result names the one that gives the same picture."""
    drawn = studio.result(seed=-1)
    again = studio.result(seed=drawn.seeds[0])
    assert tiny.difference(drawn.pictures[0], again.pictures[0]) == 0


def test_the_text_is_in_the_file(studio: Studio) -> None:
    """The PNG's `parameters` are the result's infotext, and name what was asked."""
    result = studio.result("a (fox:1.2)", negative_prompt="blur", sampler="DPM++ 2M", clip_skip=2, cfg=5.0)
    assert picture_text.read(result.pictures[0]).info == result.infotexts[0]
    told = infotext.parse(result.infotexts[0])
    assert (told.prompt, told.negative_prompt) == ("a (fox:1.2)", "blur")
    wanted = {"Steps": "5", "Sampler": "DPM++ 2M", "Schedule type": "Karras", "CFG scale": "5.0", "Seed": "3"}
    assert told.parameters.items() >= (wanted | {"Clip skip": "2", "Model": "tiny"}).items()
    assert len(told.parameters["Model hash"]) == 10


def test_prompts_count(studio: Studio) -> None:
    """Prompt, negative prompt, emphasis, composition, edits, alternation, chunks and clip skip each change the picture;
    at guidance 1 the negative prompt does not."""
    plain = studio.picture()
    for prompt, fields in [
        ("an owl", {}),
        ("a fox", {"negative_prompt": "blue"}),
        ("a (fox:1.9)", {}),
        ("a fox AND an owl :0.5", {}),
        ("a [fox:owl:2]", {}),
        ("a [fox|owl]", {}),
        ("a fox, " * 60, {}),
        ("a fox BREAK in snow", {}),
        ("a fox", {"clip_skip": 2}),
        ("a fox", {"tiling": True}),
        ("a fox", {"noise_source": "nv"}),
    ]:
        assert (studio.picture(prompt, **fields) != plain).any(), (prompt, fields)
    assert (studio.picture(cfg=1.0) == studio.picture(cfg=1.0, negative_prompt="blue")).all()
    assert (studio.picture(alone=True) == plain).all()


def test_tiled_pictures_have_no_seam(studio: Studio) -> None:
    """The step over the edge is like those inside; without tiling it is larger."""

    def seam(**fields: bool) -> float:
        found = studio.picture("x", steps=8, **fields).astype(float)
        return float(np.abs(found[:, 0] - found[:, -1]).mean() / np.abs(np.diff(found, axis=1)).mean())

    assert seam(tiling=True) < 1.3 < seam(tiling=False)


def test_vaes_can_be_swapped(studio: Studio, furnished: Path) -> None:
    """By name, by a file beside the checkpoint that nobody has to name, and not at all."""
    plain, soft = studio.picture(), studio.picture(vae="soft")
    assert (soft != plain).any()
    beside = furnished / "checkpoints" / "tiny.vae.safetensors"
    beside.write_bytes((furnished / "vae" / "soft.safetensors").read_bytes())
    try:
        assert (studio.picture() == soft).all()
        assert "VAE: tiny.vae.safetensors" in studio.result().infotexts[0]
        assert (studio.picture(vae="None") == plain).all()
        assert {card.name for card in found(furnished).models()} == {"tiny", "other"}
    finally:
        beside.unlink()
    assert (studio.picture() == plain).all()


def test_recolouring_brings_the_given_colours(studio: Studio, given: bytes) -> None:
    """The result's mean colour is the given picture's."""
    found = studio.picture(init=(given,), denoising=0.9, color_correction=True)
    assert np.abs(found.mean(axis=(0, 1)) - tiny.pixels(given).mean(axis=(0, 1))).max() < 12
