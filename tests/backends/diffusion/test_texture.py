"""Noise that looks like a picture goes on."""

from typing import Any

import numpy as np

from velesio.backends.diffusion import texture
from velesio.backends.diffusion.masks import Box

OLD = Box(32, 0, 96, 64)


def canvas(shown: Any) -> Any:
    whole = np.zeros((64, 128, 3), np.uint8)
    whole[OLD.area] = shown
    return whole


def stripes() -> Any:
    """Four pixels dark, four bright, from top to bottom."""
    rows = np.where(np.arange(64) % 8 < 4, 40, 200)[:, None, None]
    return np.broadcast_to(rows + np.array([0, 10, -20]), (64, 64, 3)).clip(0, 255)


def test_the_old_picture_stays_and_the_colours_go_on() -> None:
    """Mean and deviation of each plane are those of the picture, whose own pixels are kept."""
    whole = canvas(stripes())
    made = texture.around(whole, OLD, detail=1.0, colours=0.05, seed=1)
    assert (made[OLD.area] == whole[OLD.area]).all()
    new = np.delete(made, np.s_[32:96], axis=1).astype(float)
    assert np.abs(new.mean(axis=(0, 1)) - stripes().mean(axis=(0, 1))).max() < 12
    assert np.abs(new.std(axis=(0, 1)) - stripes().std(axis=(0, 1))).max() < 25


def test_the_grain_is_the_pictures() -> None:
    """Stripes from top to bottom make stripes; with little of the spectrum there is finer grain."""

    def changes(detail: float) -> tuple[float, float]:
        new = texture.around(canvas(stripes()), OLD, detail=detail, colours=0.0, seed=2)[:, :32].astype(float)
        return np.abs(np.diff(new, axis=0)).mean(), np.abs(np.diff(new, axis=1)).mean()

    down, across = changes(1.0)
    assert down > 3 * across
    assert changes(0.2)[1] > 2 * across


def test_colours_vary_as_asked() -> None:
    """At 0 all planes go up and down together; at 1 each for itself; a seed gives the same again."""
    whole = canvas(np.random.default_rng(0).integers(0, 256, (64, 64, 1)))
    gray, coloured = (texture.around(whole, OLD, detail=0.5, colours=part, seed=3)[:, :32] for part in (0.0, 1.0))
    assert np.abs(gray[..., 0].astype(int) - gray[..., 1]).mean() < 3
    assert np.abs(coloured[..., 0].astype(int) - coloured[..., 1]).mean() > 20
    again = texture.around(whole, OLD, detail=0.5, colours=1.0, seed=3)
    assert (again[:, :32] == coloured).all()


def test_a_flat_picture_goes_on_flat() -> None:
    """Nothing is divided by its deviation of nothing."""
    made = texture.around(canvas(np.full((64, 64, 3), 77)), OLD, detail=1.0, colours=0.5, seed=4)
    assert (made == 77).all()
