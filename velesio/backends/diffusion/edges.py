"""Edges: lines in a picture, found with arithmetic alone. All results are white on black, uint8 (height, width)."""

import numpy as np
import numpy.typing as npt

from velesio.backends.diffusion.masks import Picture, convolved

Gray = npt.NDArray[np.uint8]
Field = npt.NDArray[np.float32]

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]


def luma(picture: Picture) -> Field:
    """Brightness from 0 to 255, shape (height, width)."""
    return np.asarray(np.rint(picture.astype(np.float32) @ _LUMA), dtype=np.float32)


def blurred(picture: npt.NDArray[np.generic], deviation: float) -> Field:
    """A Gaussian blur over both axes."""
    return convolved(convolved(picture.astype(np.float32), deviation, 0), deviation, 1)


def canny(picture: Picture, low: float, high: float) -> Gray:
    """Canny's edges (1986): ridges of the slope above `low` that are joined to one above `high`; one pixel wide.

    Slopes are Sobel's, their size |across| + |down|, for brightness from 0 to 255.
    """
    across, down = _sobel(luma(picture))
    size = np.abs(across) + np.abs(down)
    weak = _ridges(size, across, down) & (size > low)
    return np.where(_joined(weak, weak & (size > max(low, high))), 255, 0).astype(np.uint8)


def _sobel(field: Field) -> tuple[Field, Field]:
    around = np.pad(field, 1, mode="edge")
    smooth_down = around[:-2] + 2 * around[1:-1] + around[2:]
    smooth_across = around[:, :-2] + 2 * around[:, 1:-1] + around[:, 2:]
    return smooth_down[:, 2:] - smooth_down[:, :-2], smooth_across[2:] - smooth_across[:-2]


def _ridges(size: Field, across: Field, down: Field) -> npt.NDArray[np.bool_]:
    """Where the slope is steeper than on both sides of it; of two equal neighbours the first counts."""
    steep, flat = np.abs(down) > 2.4142 * np.abs(across), np.abs(down) < 0.4142 * np.abs(across)
    same = across * down >= 0
    found = np.zeros(size.shape, bool)
    ways = ((flat, 0, 1), (steep & ~flat, 1, 0), (~flat & ~steep & same, 1, 1), (~flat & ~steep & ~same, 1, -1))
    for where, dy, dx in ways:
        found |= where & (size > _moved(size, -dy, -dx)) & (size >= _moved(size, dy, dx))
    return found


def _moved(field: Field, dy: int, dx: int) -> Field:
    """The value of the neighbour at (dy, dx); 0 outside."""
    around = np.pad(field, 1)
    height, width = field.shape
    return around[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]


def _joined(weak: npt.NDArray[np.bool_], strong: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Weak pixels that are connected to a strong one. Only the rim of what was found is looked at again."""
    open_, found = np.pad(weak & ~strong, 1), np.pad(strong, 1)
    rows, columns = np.nonzero(found)
    while len(rows):
        near = np.concatenate([np.stack([rows + dy, columns + dx]) for dy, dx in _AROUND], axis=1)
        rows, columns = np.unique(near[:, open_[near[0], near[1]]], axis=1)
        open_[rows, columns], found[rows, columns] = False, True
    return found[1:-1, 1:-1]


def scribble(picture: Picture, threshold: float) -> Gray:
    """Thick strokes where it is darker than around (a difference of Gaussians, Winnemöller 2011)."""
    darker = np.max(blurred(picture, 5.0) - blurred(picture, 0.5), axis=2)
    return np.where(2 * darker.clip(0) > threshold, 255, 0).astype(np.uint8)


def lineart(picture: Picture, deviation: float, threshold: float) -> Gray:
    """Soft lines: how much darker each pixel is than its blurred surroundings, scaled by what is typical."""
    darker = np.max(blurred(picture, deviation) - picture, axis=2).clip(0, 255)
    lines = darker[darker > threshold]
    typical = max(16.0, float(np.median(lines)) if len(lines) else 16.0)
    return np.asarray((darker / typical * 127).clip(0, 255), dtype=np.uint8)
