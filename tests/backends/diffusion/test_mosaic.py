"""Pictures as overlapping tiles."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from velesio.backends.diffusion import mosaic
from velesio.backends.diffusion.sizes import Size
from velesio.errors import BadRequest
from velesio.jobs import Mosaic

SIDES = st.integers(1, 300)


@given(st.builds(Size, SIDES, SIDES), st.builds(Size, st.integers(24, 300), st.integers(24, 300)), st.integers(0, 4))
def test_tiles_cover_the_picture_and_overlap(size: Size, tile: Size, overlap: int) -> None:
    """Every pixel is in a tile, all tiles are of one size and inside, and neighbours share what was asked for."""
    found = mosaic.boxes(size, tile, overlap)
    seen = np.zeros((size.height, size.width), bool)
    for box in found:
        assert (box.width, box.height) == (min(tile.width, size.width), min(tile.height, size.height))
        seen[box.area] = True
    assert seen.all()
    lefts = sorted({box.left for box in found})
    assert all(one + tile.width - other >= overlap for one, other in pairwise(lefts))


@given(st.integers(20, 90), st.integers(20, 90), st.integers(0, 24))
def test_tiles_that_agree_give_the_picture_back(width: int, height: int, overlap: int) -> None:
    """Cut and joined, nothing is changed."""
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    boxes = mosaic.boxes(Size(width, height), Size(32, 32), overlap)
    again = mosaic.joined([picture[box.area] for box in boxes], boxes, Size(width, height), overlap)
    assert np.abs(again.astype(int) - picture).max() <= 1


def test_one_tile_fades_into_the_next() -> None:
    """Over what they share the values go evenly from one to the other."""
    boxes = mosaic.boxes(Size(48, 8), Size(32, 8), 16)
    tiles = [np.full((8, 32, 3), value, np.uint8) for value in (0, 160)]
    row = mosaic.joined(tiles, boxes, Size(48, 8), 16)[4, :, 0].astype(int)
    assert set(row[:16]) == {0}
    assert set(row[32:]) == {160}
    assert (np.diff(row[15:33]) > 0).all()
    assert np.diff(row).max() <= 12


def test_limits() -> None:
    """Too many tiles or pixels are refused with what may be."""
    with pytest.raises(BadRequest, match=str(mosaic.MOST)):
        mosaic.boxes(Size(2000, 2000), Size(64, 64), 32)
    with pytest.raises(BadRequest, match="1000 enlarged by 4"):
        mosaic.whole(Size(1000, 1000), Mosaic(scale=4.0), 2048 * 2048)
    assert mosaic.whole(Size(10, 7), Mosaic(scale=1.5), 4096) == Size(15, 10)
