"""Enlarging: pictures made larger as they are, by one upscaler or by two laid over each other."""

from typing import NamedTuple

import numpy as np

from velesio.backends.diffusion import canvas, upscale
from velesio.backends.diffusion.masks import Picture
from velesio.backends.diffusion.models import Models
from velesio.backends.diffusion.sizes import Size
from velesio.errors import BadRequest
from velesio.jobs import Enlarge
from velesio.pictures import picture_text

KEY = "postprocessing"
"""The PNG keyword under which A1111 says what was done to a picture."""
_MULTIPLE = 8
_LARGEST_SCALE = 64.0
_LONGEST = 65536


class Enlarged(NamedTuple):
    """A picture that was made larger."""

    file: bytes
    """PNG, with all texts that the given one had."""
    size: tuple[int, int]


def upscalers(params: Enlarge, models: Models) -> tuple[str | upscale.Model, str | upscale.Model]:
    """Both of them, loaded; `None` for one that does nothing.

    Raises:
        BadRequest: there is no such upscaler, or a number is out of its limits.
        ModelLoadFailed: its file cannot be loaded.
    """
    if not 0 < params.scale <= _LARGEST_SCALE:
        raise BadRequest(f"scale is {params.scale}; it must lie above 0 and up to {_LARGEST_SCALE:g}", param="scale")
    if not 0 <= params.share <= 1:
        raise BadRequest(f"share is {params.share}; it must lie between 0 and 1", param="share")
    if not 0 <= min(params.width, params.height) <= max(params.width, params.height) <= _LONGEST:
        raise BadRequest(f"width and height must lie between 1 and {_LONGEST} pixels", param="width")
    return _named(params.upscaler, models), _named(params.second, models) if params.share else upscale.NONE


def _named(name: str, models: Models) -> str | upscale.Model:
    return models.upscaler(upscale.found(name, models.library.upscalers.files, latent=False))


def enlarged(
    file: bytes, params: Enlarge, first: str | upscale.Model, second: str | upscale.Model, most: int
) -> tuple[Enlarged, str]:
    """A file made larger, and what is said of how.

    Raises:
        BadRequest: it is no picture, or the result would have more than `most` pixels.
    """
    picture = canvas.array_of(canvas.read(file, "pictures"))
    if first == upscale.NONE:
        return _written(picture, file, ""), ""
    size = covering(Size(picture.shape[1], picture.shape[0]), params)
    if size.width * size.height > most:
        raise BadRequest(
            f"the picture would have {size.width * size.height} pixels; this model's limit is {most} (max_enlarged)",
            param="scale",
        )
    tiles = upscale.Tiles(max(params.tile, 0), max(params.overlap, 0))
    made = upscale.upscaled(picture, *size, first, tiles)
    if second != upscale.NONE:
        over = upscale.upscaled(picture, *size, second, tiles)
        made = np.rint(made * (1.0 - params.share) + over * params.share).astype(np.uint8)
    text = _told(params)
    return _written(_cut(made, params), file, text), text


def covering(given: Size, params: Enlarge) -> Size:
    """The size to which a picture grows: by `scale`, in multiples of 8, or so that it covers `width` and `height`."""
    if not (params.width and params.height):
        return Size(*(_grown(side, params.scale) for side in given))
    scale = max(params.width / given.width, params.height / given.height)
    return Size(max(params.width, round(given.width * scale)), max(params.height, round(given.height * scale)))


def _grown(side: int, scale: float) -> int:
    pixels = int(side * scale)
    return max(1, pixels // _MULTIPLE * _MULTIPLE or pixels)


def _cut(picture: Picture, params: Enlarge) -> Picture:
    """The middle of the size that was asked for."""
    if not (params.width and params.height and params.crop):
        return picture
    top, left = (picture.shape[0] - params.height) // 2, (picture.shape[1] - params.width) // 2
    return np.ascontiguousarray(picture[top : top + params.height, left : left + params.width])


def _written(picture: Picture, file: bytes, text: str) -> Enlarged:
    given = picture_text.read(file)
    texts = {picture_text.KEY: given.info} if given.info else {}
    texts |= {KEY: text} if text else {}
    made = canvas.png(canvas.of_array(picture))
    size = (picture.shape[1], picture.shape[0])
    return Enlarged(picture_text.png_with(made, texts) if texts else made, size)


def _told(params: Enlarge) -> str:
    """In A1111's words."""
    size = f"{params.width}x{params.height}"
    said = [f"Postprocess upscale to: {size}" if params.width else f"Postprocess upscale by: {params.scale:g}"]
    if params.width and params.crop:
        said.append(f"Postprocess crop to: {size}")
    said.append(f"Postprocess upscaler: {params.upscaler}")
    if params.share:
        said.append(f"Postprocess upscaler 2: {params.second}")
    return ", ".join(said)
