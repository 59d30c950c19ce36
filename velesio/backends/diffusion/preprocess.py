"""Preprocessors: what a ControlNet is shown of a picture. Only those that need no weights; all are pure and repeatable.

Pictures and maps are uint8 arrays (height, width, 3).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from velesio.backends.diffusion import edges
from velesio.backends.diffusion.masks import Mask, Picture
from velesio.errors import BadRequest
from velesio.nearest import nearest, quoted

Hint = npt.NDArray[np.float32]
"""Shape (height, width, 3), 0 to 1; -1 where an inpainting ControlNet is to see nothing."""


class Slider(NamedTuple):
    """A number that a preprocessor takes."""

    name: str
    default: float
    low: float
    high: float
    step: float = 1.0


class Preprocessor(NamedTuple):
    """A way from pictures to maps."""

    run: Callable[[Picture, float, float], Picture]
    """Picture, first and second number to map."""
    sliders: tuple[Slider, ...] = ()
    masked: bool = False
    """Whether the part to be made anew is hidden."""


def prepared(picture: Picture, module: str, *, resolution: int = 512, a: float = -1.0, b: float = -1.0) -> Picture:
    """The map of a picture, at `resolution` pixels of its shorter side.

    Numbers below 0 mean the preprocessor's own; others are brought into its limits.

    Raises:
        BadRequest: if there is no such preprocessor; the message names the nearest ones.
    """
    chosen = named(module)
    numbers = [
        slider.default if value < 0 else min(max(value, slider.low), slider.high)
        for slider, value in zip(chosen.sliders, (a, b), strict=False)
    ]
    first, second = (*numbers, 0.0, 0.0)[:2]
    return chosen.run(_at(picture, resolution), first, second)


def named(module: str) -> Preprocessor:
    """The preprocessor of that name, in any case.

    Raises:
        BadRequest: if there is none.
    """
    found = PREPROCESSORS.get(module.lower().strip())
    if found is None:
        near = nearest(module.lower(), PREPROCESSORS, 3, 0.3) or sorted(PREPROCESSORS)
        raise BadRequest(f"unknown preprocessor {quoted(module)}: did you mean {', '.join(near)}?")
    return found


def hint(shown: Picture, module: str, mask: Mask | None = None) -> Hint:
    """What the ControlNet gets of a map; `mask` is the part to be made anew, at the map's size."""
    values = np.divide(shown, 255, dtype=np.float32)
    if mask is not None and named(module).masked:
        values[mask > 0.5] = -1
    return values


def _at(picture: Picture, resolution: int) -> Picture:
    height, width = picture.shape[:2]
    scale = resolution / min(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size == (width, height):
        return picture
    way = Image.Resampling.LANCZOS if scale > 1 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(picture).resize(size, way))


def _gray(field: npt.NDArray[np.generic]) -> Picture:
    return np.repeat(field.astype(np.uint8)[..., None], 3, axis=2)


def _none(picture: Picture, _a: float, _b: float) -> Picture:
    return picture


def _invert(picture: Picture, _a: float, _b: float) -> Picture:
    return 255 - picture


def _canny(picture: Picture, low: float, high: float) -> Picture:
    return _gray(edges.canny(picture, low, high))


def _threshold(picture: Picture, limit: float, _b: float) -> Picture:
    return _gray(np.where(edges.luma(picture) > limit, 255, 0))


def _blur(picture: Picture, deviation: float, _b: float) -> Picture:
    return np.rint(edges.blurred(picture, deviation)).astype(np.uint8)


def _scribble(picture: Picture, threshold: float, _b: float) -> Picture:
    return _gray(edges.scribble(picture, threshold))


def _lineart(picture: Picture, deviation: float, threshold: float) -> Picture:
    return _gray(edges.lineart(picture, deviation, threshold))


def _tile(picture: Picture, rate: float, _b: float) -> Picture:
    image = Image.fromarray(picture)
    small = image.resize((max(1, int(image.width / rate)), max(1, int(image.height / rate))), Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.BICUBIC))


def _colour(picture: Picture, _a: float, _b: float) -> Picture:
    """Blocks of 64 pixels, each of one colour."""
    image = Image.fromarray(picture)
    blocks = (max(1, image.width // 64), max(1, image.height // 64))
    return np.asarray(image.resize(blocks, Image.Resampling.BICUBIC).resize(image.size, Image.Resampling.NEAREST))


def _luminance(picture: Picture, gamma: float, _b: float) -> Picture:
    return _gray(_bent(edges.luma(picture), gamma))


def _intensity(picture: Picture, gamma: float, _b: float) -> Picture:
    return _gray(_bent(picture.max(axis=2), gamma))


def _bent(field: npt.NDArray[Any], gamma: float) -> npt.NDArray[Any]:
    return np.asarray(np.rint(255 * (field / 255.0) ** gamma))


def _shuffle(picture: Picture, _a: float, _b: float) -> Picture:
    """Pixels moved along two smooth random waves: colours and textures stay, places do not."""
    height, width = picture.shape[:2]
    random = np.random.default_rng(0)
    rows, columns = (_wave(random, height, width) for _ in range(2))
    places = np.rint(rows * (height - 1)).astype(int), np.rint(columns * (width - 1)).astype(int)
    return np.asarray(picture[places])


def _wave(random: np.random.Generator, height: int, width: int) -> Mask:
    """A smooth random field that reaches from 0 to 1."""
    coarse = Image.fromarray(random.random((5, 5)).astype(np.float32), mode="F")
    field = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    return np.asarray((field - field.min()) / max(float(np.ptp(field)), 1e-6), dtype=np.float32)


PREPROCESSORS: dict[str, Preprocessor] = {
    "none": Preprocessor(_none),
    "canny": Preprocessor(_canny, (Slider("Low Threshold", 100, 1, 255), Slider("High Threshold", 200, 1, 255))),
    "invert": Preprocessor(_invert),
    "threshold": Preprocessor(_threshold, (Slider("Binarization Threshold", 127, 0, 255),)),
    "blur_gaussian": Preprocessor(_blur, (Slider("Sigma", 9, 0.01, 64, 0.01),)),
    "scribble_xdog": Preprocessor(_scribble, (Slider("XDoG Threshold", 32, 1, 64),)),
    "lineart_standard": Preprocessor(
        _lineart, (Slider("Gaussian Sigma", 6, 0.1, 32, 0.1), Slider("Intensity Threshold", 8, 0, 16, 0.1))
    ),
    "tile_resample": Preprocessor(_tile, (Slider("Down Sampling Rate", 1, 1, 8, 0.01),)),
    "color": Preprocessor(_colour),
    "recolor_luminance": Preprocessor(_luminance, (Slider("Gamma Correction", 1, 0.1, 2, 0.001),)),
    "recolor_intensity": Preprocessor(_intensity, (Slider("Gamma Correction", 1, 0.1, 2, 0.001),)),
    "shuffle": Preprocessor(_shuffle),
    "inpaint": Preprocessor(_none, masked=True),
    "inpaint_only": Preprocessor(_none, masked=True),
    "inpaint_global_harmonious": Preprocessor(_none, masked=True),
}
"""Every preprocessor by its name, with the names and limits that A1111's clients show."""
