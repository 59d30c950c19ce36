"""Given pictures: what is behind them, what enlarges them, and what of a mask is shown."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pil

from tests.backends.diffusion import tiny
from tests.backends.diffusion.conftest import Studio
from velesio.jobs import Inpaint


def mask(left: int = 16, top: int = 16, right: int = 40, bottom: int = 40) -> bytes:
    shown = np.zeros((64, 64), np.uint8)
    shown[top:bottom, left:right] = 255
    return tiny.png(shown)


def rings(size: int = 64) -> bytes:
    across, down = np.meshgrid(np.arange(size), np.arange(size))
    return tiny.png(np.stack([across * 255 // size, down * 255 // size, (across + down) * 127 // size], axis=2))


def clear() -> bytes:
    """A picture that is red at the left and transparent at the right."""
    pixels = np.zeros((64, 64, 4), np.uint8)
    pixels[:, :32] = (255, 0, 0, 255)
    return tiny.png(pixels)


def test_the_background_shows_through(studio: Studio) -> None:
    """A picture on a colour is drawn as one whose transparent part has that colour."""
    for colour, numbers in (("#ffffff", (255, 255, 255)), ("#003366", (0, 51, 102)), ("black", (0, 0, 0))):
        filled = np.full((64, 64, 3), numbers, np.uint8)
        filled[:, :32] = (255, 0, 0)
        wanted = studio.picture(init=(tiny.png(filled),), denoising=0.2)
        assert np.abs(studio.picture(init=(clear(),), denoising=0.2, background=colour) - wanted).max() == 0
    assert "no colour 'blurple'" in studio.refusal(init=(clear(),), background="blurple").message


def test_a_small_picture_is_enlarged_by_what_is_asked_for(studio: Studio) -> None:
    """Nearest gives what a picture enlarged so gives; a large one is left alone; unknown ones are named."""
    small = rings(16)
    blocks = tiny.png(tiny.pixels(small).repeat(4, axis=0).repeat(4, axis=1))
    fields: dict[str, Any] = {"denoising": 0.2}
    nearest = studio.picture(init=(small,), upscaler="Nearest", **fields)
    assert (nearest == studio.picture(init=(blocks,), **fields)).all()
    assert (nearest != studio.picture(init=(small,), **fields)).any()
    assert (studio.picture(init=(small,), upscaler="None", **fields) == studio.picture(init=(small,), **fields)).all()
    assert (
        studio.picture(init=(rings(),), upscaler="Nearest", **fields) == studio.picture(init=(rings(),), **fields)
    ).all()
    assert "Nearest" in studio.refusal(init=(small,), upscaler="Nearst").message
    assert "latents" in studio.refusal(init=(small,), upscaler="Latent").message


@pytest.mark.parametrize("only_masked", [False, True])
def test_masks_come_with_the_pictures(studio: Studio, only_masked: bool) -> None:
    """White where all is new, black where nothing is; what was made is opaque inside and transparent outside."""
    plain = Inpaint(mask(), blur_x=2, blur_y=2, only_masked=only_masked)
    assert studio.result(init=(rings(),), inpaint=plain).masks == ()
    wanted = Inpaint(mask(), blur_x=2, blur_y=2, only_masked=only_masked, show=True, show_inside=True)
    result = studio.result(init=(rings(),), inpaint=wanted, batch=2)
    assert len(result.masks) == 4
    for number, file in enumerate(result.pictures):
        shade, inside = (np.asarray(Pil.open(io.BytesIO(each))) for each in result.masks[2 * number :][:2])
        assert (shade.shape, inside.shape) == ((64, 64, 3), (64, 64, 4))
        assert (shade[22:34, 22:34] == 255).all()
        assert shade[:8].max() == 0
        assert (inside[..., 3] == shade[..., 0]).all()
        assert (inside[22:34, 22:34, :3] == tiny.pixels(file)[22:34, 22:34]).all()


@pytest.mark.parametrize("only_masked", [False, True])
def test_without_overlay_all_that_was_drawn_is_seen(studio: Studio, only_masked: bool) -> None:
    """The given picture's own pixels are left only where nothing was drawn at all; inside the mask nothing changes."""
    given = tiny.pixels(rings())
    overlaid, bare = (
        studio.picture(
            init=(rings(),), inpaint=Inpaint(mask(), 1, 1, only_masked=only_masked, padding=4, overlay=overlay)
        )
        for overlay in (True, False)
    )
    assert (overlaid[:6] == given[:6]).all()
    assert (overlaid[20:36, 20:36] == bare[20:36, 20:36]).all()
    assert (bare[:6] == given[:6]).all() == only_masked
    assert (bare != overlaid).any()
