"""Mosaic: a picture as overlapping tiles, each drawn by itself, and as a whole again. Pure.

Pictures are uint8 arrays (height, width, 3).
"""

import math
from collections.abc import Sequence

import numpy as np

from velesio.backends.diffusion.masks import Box, Mask, Picture
from velesio.backends.diffusion.sizes import Size
from velesio.errors import BadRequest
from velesio.jobs import Mosaic

MOST = 256
"""Tiles of one picture."""


def whole(picture: Size, mosaic: Mosaic, most: int) -> Size:
    """What a picture is enlarged to.

    Raises:
        BadRequest: if it would have more than `most` pixels.
    """
    size = Size(int(picture.width * mosaic.scale), int(picture.height * mosaic.scale))
    if min(size) < 1 or size.pixels > most:
        raise BadRequest(
            f"mosaic: {picture} enlarged by {mosaic.scale:g} has {size.pixels} pixels; there may be {most}",
            param="mosaic",
        )
    return size


def boxes(size: Size, tile: Size, overlap: int) -> tuple[Box, ...]:
    """The tiles of a picture, row by row, evenly spaced; a picture smaller than a tile is one.

    Raises:
        BadRequest: if there would be too many.
    """
    across, down = _begins(size.width, tile.width, overlap), _begins(size.height, tile.height, overlap)
    if len(across) * len(down) > MOST:
        raise BadRequest(
            f"mosaic: a picture of {size} would need {len(across) * len(down)} tiles of {tile}; ask for larger tiles "
            f"or less overlap: {MOST} may be",
            param="mosaic",
        )
    wide, tall = min(tile.width, size.width), min(tile.height, size.height)
    return tuple(Box(left, top, left + wide, top + tall) for top in down for left in across)


def _begins(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along a side, so that neighbours share `overlap` pixels or more."""
    if length <= tile:
        return [0]
    stride = max(1, tile - min(overlap, tile - 1))
    count = math.ceil((length - tile) / stride) + 1
    return [round(number * (length - tile) / (count - 1)) for number in range(count)]


def joined(tiles: Sequence[Picture], places: Sequence[Box], size: Size, overlap: int) -> Picture:
    """The picture again; over what tiles share, one fades into the other."""
    total = np.zeros((size.height, size.width, 3), np.float32)
    weight = np.zeros((size.height, size.width, 1), np.float32)
    for tile, box in zip(tiles, places, strict=True):
        share = np.outer(_ramp(box.height, overlap), _ramp(box.width, overlap))[..., None]
        total[box.area] += tile * share
        weight[box.area] += share
    found: Picture = np.rint(total / weight).clip(0, 255).astype(np.uint8)
    return found


def _ramp(length: int, overlap: int) -> Mask:
    """Weights along a tile's side: rising over the overlap, 1 inside, falling."""
    place = np.arange(1, length + 1, dtype=np.float32)
    reach = max(1, min(overlap, length))
    return np.asarray(np.minimum(np.minimum(place, place[::-1]), reach) / reach, dtype=np.float32)
