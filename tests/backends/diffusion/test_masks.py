"""Masks, resizing, outpainting geometry and pasting."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from velesio.backends.diffusion import masks
from velesio.backends.diffusion.masks import Box


def spot(height: int, width: int, box: Box) -> np.ndarray:
    mask = np.zeros((height, width), np.float32)
    mask[box.area] = 1
    return mask


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_a_mask_is_brightness_or_transparency():
    """White is made anew; where a picture has transparency, that counts and not its colours."""
    gray = Image.new("L", (2, 1))
    gray.putdata([0, 255])
    assert masks.of_picture(gray).tolist() == [[0, 1]]
    assert masks.of_picture(gray, invert=True).tolist() == [[1, 0]]
    clear = Image.new("RGBA", (2, 1))
    clear.putdata([(255, 255, 255, 0), (0, 0, 0, 255)])
    assert masks.of_picture(clear).tolist() == [[0, 1]]
    opaque = Image.new("RGBA", (2, 1))
    opaque.putdata([(255, 255, 255, 255), (0, 0, 0, 255)])
    assert masks.of_picture(opaque).tolist() == [[1, 0]]


@pytest.mark.parametrize(("deviation", "count"), [(4, 21), (1, 7), (0.5, 3), (8, 41)])
def test_the_kernel_has_the_published_width_and_sums_to_one(deviation, count):
    """2 · int(2.5 · deviation + 0.5) + 1 weights."""
    kernel = masks.gaussian(deviation)
    assert len(kernel) == count
    assert kernel.sum() == pytest.approx(1, abs=1e-6)
    assert (kernel == kernel[::-1]).all()


def test_blurring_one_axis_leaves_the_other():
    """Across only: rows stay what they are; 0 and 0 change nothing; far from the border nothing changes."""
    mask = spot(40, 40, Box(10, 10, 30, 30))
    assert (masks.blurred(mask, 0, 0) == mask).all()
    across = masks.blurred(mask, 2, 0)
    assert (across[:10] == 0).all()
    assert across[20, 12] < 1 == pytest.approx(across[20, 20], abs=1e-5)
    both = masks.blurred(mask, 3, 3)
    assert (both[:2] == 0).all()
    assert both[20, 20] == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(both, both.T, atol=1e-6)


@pytest.mark.parametrize(
    ("box", "size", "padding", "expected"),
    [
        (Box(20, 20, 40, 40), (64, 64), 0, Box(20, 20, 40, 40)),
        (Box(20, 20, 40, 40), (64, 64), 8, Box(12, 12, 48, 48)),
        (Box(0, 0, 10, 10), (64, 64), 8, Box(0, 0, 18, 18)),
        (Box(30, 40, 50, 50), (64, 64), 0, Box(30, 35, 50, 55)),
        (Box(90, 40, 100, 80), (64, 64), 0, Box(60, 40, 100, 80)),
        (Box(40, 40, 60, 60), (128, 64), 0, Box(30, 40, 70, 60)),
        (Box(0, 0, 100, 10), (64, 64), 0, Box(0, 0, 100, 100)),
    ],
)
def test_only_masked_takes_the_box_with_padding_in_the_shape_of_what_is_drawn(box, size, padding, expected):
    """Inside the picture; grown on both sides, and to one side at the picture's border."""
    assert masks.only_masked(spot(100, 100, box), *size, padding) == expected


@given(
    st.integers(1, 60), st.integers(1, 60), st.integers(0, 59), st.integers(0, 59),
    st.integers(8, 64), st.integers(8, 64), st.integers(0, 40),
)  # fmt: skip
def test_the_drawn_part_always_holds_the_mask_and_lies_inside(height, width, y, x, wide, tall, padding):
    """For any mask, size and padding."""
    mask = np.zeros((height, width), np.float32)
    mask[y % height, x % width] = 1
    box = masks.only_masked(mask, wide, tall, padding)
    assert 0 <= box.left <= x % width < box.right <= width
    assert 0 <= box.top <= y % height < box.bottom <= height


def test_an_empty_mask_has_no_box():
    """Nothing to draw."""
    assert masks.bounds(np.zeros((4, 4), np.float32)) is None
    assert masks.only_masked(np.zeros((4, 4), np.float32), 8, 8, 2) is None


def test_filling_spreads_the_colours_around():
    """What is known stays to the byte; a hole in one colour gets that colour; between two colours it lies between."""
    one = np.full((33, 47, 3), (10, 200, 30), np.uint8)
    hole = spot(33, 47, Box(5, 5, 40, 30))
    spoiled = one.copy()
    spoiled[hole > 0] = 255
    assert np.abs(masks.filled(spoiled, hole).astype(int) - one).max() <= 1
    two = np.zeros((32, 64, 3), np.uint8)
    two[:, 32:] = 200
    gap = spot(32, 64, Box(16, 0, 48, 32))
    result = masks.filled(two, gap)
    assert (result[gap == 0] == two[gap == 0]).all()
    row = result[16, :, 0].astype(int)
    assert row[18] < row[32] < row[45]
    everything = np.ones((32, 64), np.float32)
    assert (masks.filled(two, everything) == two).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5))
def test_filling_never_touches_what_is_known(height, width, seed):
    """For any size, odd ones too, and any mask."""
    image = picture(height, width, seed)
    mask = (np.random.default_rng(seed).random((height, width)) > 0.5).astype(np.float32)
    assert (masks.filled(image, mask)[mask == 0] == image[mask == 0]).all()


def test_pasting_keeps_what_the_mask_does_not_touch():
    """Mask 0: the old byte; mask 1: the new one; between: between. A box puts a small drawing in its place."""
    old, new = picture(32, 32), picture(32, 32, 1)
    mask = masks.blurred(spot(32, 32, Box(12, 12, 20, 20)), 2, 2)
    result = masks.pasted(old, new, mask)
    assert (result[mask == 0] == old[mask == 0]).all()
    box = Box(8, 8, 24, 24)
    part = masks.pasted(old, picture(64, 64, 2), spot(32, 32, box), box)
    assert (part[:8] == old[:8]).all()
    assert (part[box.area] != old[box.area]).any()


@pytest.mark.parametrize("mode", ["stretch", "crop", "fill"])
@pytest.mark.parametrize("size", [(20, 20), (40, 10), (10, 40), (7, 13)])
def test_every_resize_mode_reaches_the_size(mode, size):
    """Any shape from any other."""
    assert masks.resized(picture(16, 24), *size, mode).shape == (size[1], size[0], 3)


def test_resize_modes_differ_in_what_they_keep():
    """Crop cuts the middle out, fill continues the border, latent leaves the picture."""
    image = np.zeros((10, 20, 3), np.uint8)
    image[:, :10], image[:, 10:] = 50, 200
    assert set(np.unique(masks.resized(image, 10, 10, "crop")[:, [0, -1]])) == {50, 200}
    wide = masks.resized(image, 40, 10, "fill")
    assert (wide[:, :14] == 50).all()
    assert (wide[:, -14:] == 200).all()
    assert masks.resized(image, 3, 3, "latent") is image


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ({"left": 64, "right": 0, "up": 0, "down": 0}, masks.Canvas(128, 64, Box(64, 0, 128, 64))),
        ({"left": 0, "right": 10, "up": 0, "down": 0}, masks.Canvas(80, 64, Box(0, 0, 64, 64))),
        ({"left": 10, "right": 0, "up": 0, "down": 0}, masks.Canvas(80, 64, Box(16, 0, 80, 64))),
        ({"left": 10, "right": 10, "up": 0, "down": 0}, masks.Canvas(96, 64, Box(16, 0, 80, 64))),
        ({"left": 0, "right": 0, "up": 16, "down": 16}, masks.Canvas(64, 96, Box(0, 16, 64, 80))),
    ],
)
def test_the_canvas_grows_where_it_was_asked_to(sides, expected):
    """Sides are multiples; what rounding adds goes to the sides that grow."""
    assert masks.canvas(64, 64, **sides, multiple=16) == expected


def test_outpainting_keeps_the_old_picture_away_from_the_seam():
    """The mask covers what is new and twice the blur of the old; the rest is the old picture to the byte."""
    old = picture(64, 64)
    place = masks.canvas(64, 64, left=32, right=0, up=0, down=32, multiple=8)
    enlarged, mask = masks.outpainted(old, place, blur=4)
    assert enlarged.shape == (96, 96, 3)
    assert (enlarged[place.old.area] == old).all()
    assert (mask[:, :32] == 1).all()
    assert (mask[:56, 40:] == 0).all()
    assert (mask[64:] == 1).all()
    assert (enlarged[10, :32] == old[10, 0]).all()
    small = masks.outpainted(picture(8, 8), masks.canvas(8, 8, left=8, right=8, up=0, down=0, multiple=8), blur=9)
    assert small[1].all()


def test_latents_begin_with_what_was_asked_for():
    """Noise or nothing under the mask, what is there elsewhere."""
    latent, noise = np.full((4, 8, 8), 2.0), np.full((4, 8, 8), -1.0)
    mask = masks.latent_mask(spot(64, 64, Box(0, 0, 32, 64)), 8, 8)
    assert mask.shape == (8, 8)
    assert masks.begun(latent, mask, noise, "noise")[0, 0].tolist() == [-1] * 4 + [2] * 4
    assert masks.begun(latent, mask, noise, "nothing")[0, 0].tolist() == [0] * 4 + [2] * 4
    assert masks.begun(latent, mask, noise, "original") is latent
    assert masks.latent_mask(spot(64, 64, Box(0, 0, 4, 64)), 8, 8)[0, 0] == pytest.approx(0.5)
