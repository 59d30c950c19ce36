"""Detecting: what a ControlNet would be shown of a picture, for those who want to see it."""

import numpy as np
from PIL import Image

from velesio.backends.diffusion import canvas, masks, preprocess
from velesio.backends.diffusion.masks import Picture
from velesio.errors import BadRequest
from velesio.jobs import Detect

_LARGEST = 4096


def detected(params: Detect, index: int) -> Picture:
    """The map of one of the pictures, black where a module hides what its mask shows.

    Raises:
        BadRequest: it is no picture, or there is no such module.
    """
    if not 1 <= params.resolution <= _LARGEST:
        raise BadRequest(f"resolution is {params.resolution}; it lies between 1 and {_LARGEST}", param="resolution")
    chosen = preprocess.named(params.module)
    shown = preprocess.prepared(
        canvas.array_of(canvas.read(params.pictures[index], "pictures")),
        params.module,
        resolution=params.resolution,
        a=params.threshold_a,
        b=params.threshold_b,
    )
    if not (params.masks and chosen.masked):
        return shown
    mask = canvas.read(params.masks[index], "masks").resize((shown.shape[1], shown.shape[0]), Image.Resampling.LANCZOS)
    return np.where(masks.rounded(masks.of_picture(mask))[..., None] > 0, np.uint8(0), shown)
