"""Preprocessors that need no weights."""

import numpy as np
import pytest

from velesio.backends.diffusion import edges, preprocess
from velesio.errors import BadRequest


def square(side: int = 64) -> np.ndarray:
    image = np.full((side, side, 3), 240, np.uint8)
    image[side // 4 : -side // 4, side // 4 : -side // 4] = (180, 20, 20)
    return image


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("module", preprocess.PREPROCESSORS)
def test_every_preprocessor_makes_a_map_of_the_asked_resolution(module):
    """Bytes in three channels, the shorter side as asked; the same map each time; the input untouched."""
    picture = noise()
    before = picture.copy()
    made = preprocess.prepared(picture, module, resolution=96)
    assert made.shape == (96, 128, 3)
    assert made.dtype == np.uint8
    assert (made == preprocess.prepared(picture, module, resolution=96)).all()
    assert (picture == before).all()


def test_canny_finds_the_outline_of_a_square_as_a_closed_thin_line():
    """White only within a pixel of the border, on all four sides; nothing in flat parts."""
    made = preprocess.prepared(square(), "canny", resolution=64)[..., 0] > 0
    rows, columns = np.nonzero(made)
    distance = np.minimum(
        np.minimum(abs(rows - 15.5), abs(rows - 47.5)), np.minimum(abs(columns - 15.5), abs(columns - 47.5))
    )
    assert distance.max() <= 1
    assert made[30].sum() == made[:, 30].sum() == 2
    assert made[15:17, 18:46].any(axis=0).all()


def test_canny_drops_what_no_strong_edge_touches():
    """A faint step alone is nothing; as the continuation of a strong one it is kept."""
    faint = np.full((32, 64, 3), 100, np.uint8)
    faint[16:] = 135
    assert not preprocess.prepared(faint, "canny", resolution=32).any()
    faint[16:, 32:] = 220
    joined = preprocess.prepared(faint, "canny", resolution=32)[..., 0] > 0
    assert joined[:, 4].sum() == joined[:, 60].sum() == 1
    assert not preprocess.prepared(faint, "canny", resolution=32, a=255, b=255)[:, :30].any()


def test_thresholds_below_zero_mean_the_default_and_others_are_brought_into_limits():
    """-1 is what a client sends that does not care."""
    picture = noise()
    assert (preprocess.prepared(picture, "threshold") == preprocess.prepared(picture, "threshold", a=127)).all()
    assert (preprocess.prepared(picture, "threshold", a=999) == 0).all()


@pytest.mark.parametrize("module", ["scribble_xdog", "lineart_standard"])
def test_lines_appear_where_it_is_darker_than_around(module):
    """A dark stroke on white becomes a white one on black."""
    paper = np.full((64, 64, 3), 255, np.uint8)
    paper[30:34] = 0
    made = preprocess.prepared(paper, module, resolution=64)
    assert made[31].min() > 100
    assert made[:10].max() == 0


def test_invert_threshold_tile_and_recolor_do_what_they_say():
    """One picture, numbers by hand."""
    picture = square()
    assert preprocess.prepared(picture, "invert", resolution=64)[0, 0].tolist() == [15, 15, 15]
    assert preprocess.prepared(picture, "threshold", resolution=64)[[0, 32], [0, 32], 0].tolist() == [255, 0]
    assert preprocess.prepared(picture, "recolor_intensity", resolution=64)[32, 32].tolist() == [180] * 3
    assert preprocess.prepared(picture, "recolor_luminance", resolution=64)[32, 32, 0] == round(
        0.299 * 180 + 0.701 * 20
    )
    assert (preprocess.prepared(picture, "tile_resample", resolution=64, a=1) == picture).all()
    coarse = preprocess.prepared(noise(), "tile_resample", resolution=48, a=8)
    assert coarse.std() < noise().std() / 2


def test_shuffle_keeps_colours_and_moves_places():
    """No colour that the picture does not have."""
    picture = square()
    made = preprocess.prepared(picture, "shuffle", resolution=64)
    assert {tuple(pixel) for row in made for pixel in row} == {tuple(pixel) for row in picture for pixel in row}
    assert (made != picture).any()


def test_inpainting_hides_what_is_made_anew():
    """-1 under the mask for those preprocessors, colours from 0 to 1 elsewhere; others see all."""
    mask = np.zeros((48, 64), np.float32)
    mask[:10] = 1
    shown = noise()
    hidden = preprocess.hint(shown, "inpaint_only", mask)
    assert (hidden[:10] == -1).all()
    np.testing.assert_allclose(hidden[10:], shown[10:] / 255, atol=1e-6)
    assert preprocess.hint(shown, "canny", mask).min() >= 0


def test_an_unknown_name_is_refused_with_the_nearest():
    """So that a typing error is found at once."""
    with pytest.raises(BadRequest, match="canny"):
        preprocess.prepared(noise(), "cany")
    assert preprocess.named(" Canny ") is preprocess.PREPROCESSORS["canny"]


def test_long_weak_edges_are_followed_to_their_end():
    """A spiral of one pixel's width that is strong only at its begin is found whole."""
    weak = np.zeros((41, 41), bool)
    y = x = 0
    for length, (dy, dx) in zip(range(40, 0, -2), [(0, 1), (1, 0), (0, -1), (-1, 0)] * 5, strict=False):
        for _ in range(length):
            weak[y, x] = True
            y, x = y + dy, x + dx
    strong = np.zeros_like(weak)
    strong[0, 0] = True
    assert (edges._joined(weak, strong) == weak).all()
