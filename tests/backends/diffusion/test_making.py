"""What a request asks for shows in its pixels: given pictures, masks, second passes, seeds."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image as Pil

from tests.backends.diffusion import tiny
from tests.backends.diffusion.conftest import Studio, found
from velesio.jobs import Hires, Image, Inpaint, Loopback, Mosaic, Outpaint, Solving, Variation
from velesio.pictures import infotext, picture_text


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


def test_texture_is_no_border_drawn_out(studio: Studio, given: bytes) -> None:
    """Outpainting with texture keeps the old pixels as well, and draws something else around them."""
    plain = Outpaint(left=16, blur=2)
    one = studio.picture(init=(given,), outpaint=plain, denoising=0.1)
    other = studio.picture(init=(given,), outpaint=msgspec.structs.replace(plain, content="texture"), denoising=0.1)
    assert (other[:, 27:] == one[:, 27:]).all()
    assert np.abs(other[:, :12] - one[:, :12]).mean() > 10


def test_loops_go_on_from_what_was_drawn(studio: Studio, given: bytes) -> None:
    """Each loop is the img2img of the picture before it, with the next seed, at a strength on the way to the last."""
    result = studio.result(init=(given,), denoising=0.2, loopback=Loopback(3, 0.6), batch=2)
    assert (len(result.pictures), result.seeds) == (6, (3, 4, 5, 6, 7, 8))
    strengths = [infotext.parse(text).parameters["Denoising strength"] for text in result.infotexts]
    assert strengths == ["0.2", "0.4", "0.6"] * 2
    first = studio.result(init=(given,), denoising=0.2)
    second = studio.result(init=first.pictures, denoising=0.4, seed=4)
    third = studio.result(init=second.pictures, denoising=0.6, seed=5)
    for made, wanted in zip(result.pictures[:3], (first, second, third), strict=True):
        assert tiny.difference(made, wanted.pictures[0]) <= 1


@pytest.mark.parametrize(("curve", "strength"), [("linear", "0.5"), ("aggressive", "0.7071"), ("lazy", "0.2929")])
def test_curves_of_loops(studio: Studio, given: bytes, curve: str, strength: str) -> None:
    """In the middle half of the change is done, or more, or less."""
    result = studio.result(init=(given,), steps=1, denoising=0.0, loopback=Loopback(3, 1.0, curve))
    assert infotext.parse(result.infotexts[1]).parameters["Denoising strength"] == strength


def test_loops_keep_what_the_mask_keeps(studio: Studio, given: bytes) -> None:
    """After any number of loops the pixels outside mask and blur are the given ones."""
    fields = {"init": (given,), "inpaint": Inpaint(mask(), blur_x=2, blur_y=2), "loopback": Loopback(3)}
    last = tiny.pixels(studio.result(**fields).pictures[-1])
    same = (last == tiny.pixels(given)).all(axis=2)
    assert same[:9].all()
    assert same[:, 47:].all()
    assert not same[20:36, 20:36].any()


def test_a_mosaic_is_its_tiles(studio: Studio, given: bytes) -> None:
    """The enlarged picture is drawn again tile by tile: away from the seams each is the img2img of its part, with
    seeds that count up; the tiles of a picture share their steps."""
    result = studio.result(init=(given,), denoising=0.5, mosaic=Mosaic(scale=1.5, overlap=16, upscaler="Nearest"))
    assert (result.width, result.height, len(result.pictures)) == (96, 96, 1)
    whole = np.asarray(Pil.fromarray(tiny.pixels(given).astype(np.uint8)).resize((96, 96), Pil.Resampling.NEAREST))
    drawn = tiny.pixels(result.pictures[0])
    for number, (top, left) in enumerate([(0, 0), (0, 32), (32, 0), (32, 32)]):
        part = tiny.png(whole[top : top + 64, left : left + 64])
        tile = studio.picture(init=(part,), denoising=0.5, seed=3 + number)
        inner = slice(0, 32) if top == 0 else slice(32, 64), slice(0, 32) if left == 0 else slice(32, 64)
        shown = drawn[top : top + 64, left : left + 64]
        assert np.abs(shown[inner] - tile[inner]).max() <= 1
    assert "SD upscale overlap: 16" in result.infotexts[0]


@pytest.mark.parametrize(
    "fields",
    [
        {"loopback": Loopback()},
        {"loopback": Loopback(), "init": (b"x",), "outpaint": Outpaint(left=8)},
        {"loopback": Loopback(denoising=2.0), "init": (b"x",)},
        {"loopback": Loopback(loops=1000), "init": (b"x",)},
        {"mosaic": Mosaic()},
        {"mosaic": Mosaic(scale=0.0), "init": (b"x",)},
        {"mosaic": Mosaic(), "init": (b"x",), "inpaint": Inpaint(b"x")},
        {"mosaic": Mosaic(upscaler="Latent"), "init": (b"x",)},
        {"mosaic": Mosaic(upscaler="Lanzcos"), "init": (b"x",)},
    ],
)
def test_rounds_that_cannot_be_are_refused(studio: Studio, fields: dict[str, Any]) -> None:
    """Before anything is drawn."""
    assert studio.refusal(**fields).code == "invalid_request"


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


def test_a_checkpoint_that_names_itself_goes_on(studio: Studio) -> None:
    """With its ending and a hash too, as A1111's clients have it."""
    plain, own = studio.picture(hires=Hires(1.5)), studio.subject.card.name
    for name in (own, f"{own}.safetensors [0123456789]"):
        assert (studio.picture(hires=Hires(1.5, checkpoint=name)) == plain).all()


def test_a_refiner_takes_over(studio: Studio) -> None:
    """From the part of the steps on that was asked for; at 1 never."""
    plain = studio.picture()
    assert (studio.picture(refiner="other", refiner_at=1.0) == plain).all()
    early, late = (np.abs(studio.picture(refiner="other", refiner_at=at) - plain).mean() for at in (0.2, 0.9))
    assert early > late >= 0


def test_a_refiner_takes_over_by_steps(studio: Studio) -> None:
    """The second of four steps is a third of the noise's times, and a quarter of the steps."""
    fields: dict[str, Any] = {"refiner": "other", "steps": 4}
    by_noise, by_steps = (studio.result(**fields, refiner_at=0.3, refiner_by_steps=each) for each in (False, True))
    assert tiny.difference(by_noise.pictures[0], by_steps.pictures[0]) > 0
    assert "Refiner switch by sampling steps: True" in by_steps.infotexts[0]
    whole = studio.picture(**fields, refiner_at=0.0, refiner_by_steps=True)
    assert (whole == studio.picture(**fields, refiner_at=0.0)).all()


def test_in_which_pass_a_refiner_takes_over(studio: Studio) -> None:
    """The second one by itself, the first one, or both: four pictures with the one that has none."""
    fields: dict[str, Any] = {"hires": Hires(1.5, denoising=0.5), "refiner_at": 0.2}
    passes = ("first", "second", "both")
    made = [
        studio.picture(**fields),
        *(studio.picture(**fields, refiner="other", refiner_passes=one) for one in passes),
    ]
    for number, one in enumerate(made):
        assert all((one != other).any() for other in made[number + 1 :])
    assert (studio.picture(**fields, refiner="other") == made[2]).all()
    lone = studio.picture(refiner="other", refiner_at=0.2)
    assert (studio.picture(refiner="other", refiner_at=0.2, refiner_passes="first") == lone).all()


SOLVING = [
    ("Euler", Solving(s_min_uncond=20.0), Solving(s_min_uncond=20.0, s_min_uncond_all=True)),
    ("UniPC", Solving(), Solving(uni_pc_skip="time_quadratic")),
    ("UniPC", Solving(), Solving(uni_pc_skip="logSNR")),
    ("Euler", Solving(), Solving(zero_terminal_snr=True)),
    ("Euler", Solving(), Solving(half_alphas=True)),
    ("DPM++ 2M", Solving(), Solving(whole_timesteps=True)),
    ("DPM++ 2M", Solving(), Solving(old_karras=True)),
    ("Euler Beta", Solving(), Solving(beta_alpha=0.9)),
    ("Euler Beta", Solving(), Solving(beta_beta=0.9)),
    ("UniPC", Solving(), Solving(uni_pc_order=1)),
]


@pytest.mark.parametrize(("sampler", "one", "other"), SOLVING)
def test_what_is_turned_in_solvers_shows(studio: Studio, sampler: str, one: Solving, other: Solving) -> None:
    """In what the model is asked, so that the picture is another one."""
    plain, turned = (_steps(studio, sampler=sampler, solving=each) for each in (one, other))
    assert plain != turned


def test_the_old_schedule_is_karras_alone(studio: Studio) -> None:
    """Others run as they do."""
    plain, turned = (_steps(studio, solving=each) for each in (Solving(), Solving(old_karras=True)))
    assert plain == turned


def _steps(studio: Studio, **fields: Any) -> list[tuple[float, ...]]:
    """Latents, noise and time of each row of each call that draws a picture."""
    seen: list[tuple[float, ...]] = []
    networks = studio.engine._models.own
    whole = networks.predict

    def predict(rows: Any, **more: Any) -> Any:
        seen.append(tuple(value for row in rows for value in (float(row.x.sum()), row.sigma, row.time)))
        return whole(rows, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "predict", predict)
        studio.result(**({"steps": 6} | fields))
    return seen


def test_old_timing_of_edits_counts_in_the_second_pass(studio: Studio) -> None:
    """A fraction is one of each pass: the second one has the edit, too."""
    asked: dict[str, Any] = {"prompt": "a [fox:owl:0.5]", "hires": Hires(1.5, denoising=0.6)}
    now, before = (studio.result(**asked, old_edits=each) for each in (False, True))
    assert tiny.difference(now.pictures[0], before.pictures[0]) > 0
    assert "Old prompt editing timelines: True" in before.infotexts[0]


def test_facts_that_are_not_told(studio: Studio) -> None:
    """They are left out by name; with all of them left out a file has no text, but the result has."""
    found = studio.result(untold=("Model", "Version"))
    assert picture_text.read(found.pictures[0]).info == found.infotexts[0]
    assert not {"Model", "Version"} & infotext.parse(found.infotexts[0]).parameters.keys()
    assert "Model hash" in infotext.parse(found.infotexts[0]).parameters
    bare = studio.result(untold=("*",))
    assert picture_text.read(bare.pictures[0]).info == ""
    assert "Model" in infotext.parse(bare.infotexts[0]).parameters


def test_webp_files_may_lose_nothing(studio: Studio) -> None:
    """The same pixels as of a PNG, and more bytes than of one that loses some."""
    png, exact, rough = (
        studio.result(form=form, quality=50, lossless=lossless).pictures[0]
        for form, lossless in (("png", False), ("webp", True), ("webp", False))
    )
    assert exact[8:12] == rough[8:12] == b"WEBP"
    assert tiny.difference(png, exact) == 0
    assert tiny.difference(png, rough) > 0


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
