"""Masks: which part of a picture is made anew, what it begins with, and how the result is put back.

Pictures are uint8 arrays (height, width, 3); masks are float32 arrays (height, width) from 0 (kept) to 1 (made anew).
"""

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

Picture = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.float32]
Content = Literal["fill", "original", "noise", "nothing", "texture"]
Resize = Literal["stretch", "crop", "fill", "latent"]


class Box(NamedTuple):
    """A rectangle in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels across."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels down."""
        return self.bottom - self.top

    @property
    def area(self) -> tuple[slice, slice]:
        """Its part of an array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def of_picture(image: Image.Image, *, invert: bool = False) -> Mask:
    """The mask that a picture shows: its transparency where it has any, else its brightness."""
    if "A" in image.getbands() or "transparency" in image.info:
        alpha = image.convert("RGBA").getchannel("A")
        if alpha.getextrema() != (255, 255):
            return _mask(alpha, invert)
    return _mask(image.convert("L"), invert)


def _mask(image: Image.Image, invert: bool) -> Mask:
    mask = np.asarray(np.asarray(image) / 255, dtype=np.float32)
    return np.asarray(1 - mask) if invert else mask


def rounded(mask: Mask) -> Mask:
    """Black and white only."""
    return (mask >= 0.5).astype(np.float32)


def blurred(mask: Mask, across: float, down: float) -> Mask:
    """Softened by a Gaussian of these deviations in pixels; 0 leaves an axis as it is."""
    return convolved(convolved(mask, across, 1), down, 0)


def gaussian(deviation: float) -> Mask:
    """The kernel: 2 · int(2.5 · deviation + 0.5) + 1 weights that sum to 1."""
    reach = int(2.5 * deviation + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / max(deviation, 1e-6)) ** 2)
    return np.asarray(weights / weights.sum(), dtype=np.float32)


def convolved(array: npt.NDArray[np.float32], deviation: float, axis: int) -> npt.NDArray[np.float32]:
    """A Gaussian blur along one axis of any array; its borders are mirrored."""
    kernel = gaussian(deviation)
    reach = len(kernel) // 2
    if deviation <= 0 or reach == 0:
        return array
    widths = [(reach, reach) if i == axis else (0, 0) for i in range(array.ndim)]
    padded = np.pad(array, widths, mode="symmetric")
    length = array.shape[axis]
    parts = (weight * padded.take(range(i, i + length), axis) for i, weight in enumerate(kernel))
    return np.asarray(sum(parts), dtype=np.float32)


def bounds(mask: Mask) -> Box | None:
    """The smallest box around all that is not kept; None: all is kept."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def only_masked(mask: Mask, width: int, height: int, padding: int) -> Box | None:
    """The part of the picture that is drawn alone at `width` x `height`; None: nothing is masked.

    It holds the masked part with `padding` pixels around it, has the shape of what is drawn as far as the picture
    allows, and lies inside the picture.
    """
    found = bounds(mask)
    if found is None:
        return None
    tall, wide = mask.shape
    left, top = max(0, found.left - padding), max(0, found.top - padding)
    right, bottom = min(wide, found.right + padding), min(tall, found.bottom + padding)
    need_width = min(wide, max(right - left, math.ceil((bottom - top) * width / height)))
    need_height = min(tall, max(bottom - top, math.ceil((right - left) * height / width)))
    left, right = _grown(left, right, need_width, wide)
    top, bottom = _grown(top, bottom, need_height, tall)
    return Box(left, top, right, bottom)


def _grown(low: int, high: int, need: int, limit: int) -> tuple[int, int]:
    """A stretch of `need` pixels around the given one, inside 0 to `limit`."""
    begin = min(max(0, low - (need - (high - low)) // 2), limit - need)
    return begin, begin + need


def filled(picture: Picture, mask: Mask) -> Picture:
    """The masked part gets the colours around it, blurred the more the further away they are.

    Averages of what is known are taken over ever larger squares, and what is unknown takes them from there (push and
    pull, Gortler et al. 1996).
    """
    known = (1 - mask)[..., None]
    if not known.any():
        return picture
    spread = _pulled(picture * known, known)
    return np.clip(np.rint(picture * known + spread * (1 - known)), 0, 255).astype(np.uint8)


def _pulled(weighted: Mask, known: Mask) -> Mask:
    """Colours everywhere, from premultiplied colours and how far they are known."""
    own = np.divide(weighted, known, out=np.zeros_like(weighted), where=known > 0)
    height, width = known.shape[:2]
    if height == 1 and width == 1:
        return own
    total = _halved(known)
    reached = np.minimum(total, 1)
    share = np.divide(reached, total, out=np.zeros_like(total), where=total > 0)
    coarse = _pulled(_halved(weighted) * share, reached)
    size = (width, height)
    layers = [Image.fromarray(coarse[..., i], mode="F").resize(size, Image.Resampling.BILINEAR) for i in range(3)]
    spread = np.stack([np.asarray(layer) for layer in layers], axis=2)
    return np.asarray(own * known + spread * (1 - known), dtype=np.float32)


def _halved(array: Mask) -> Mask:
    """Sums over squares of 2 x 2; an odd side is continued."""
    height, width = array.shape[:2]
    even = np.pad(array, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]


def latent_mask(mask: Mask, height: int, width: int) -> Mask:
    """The mask at the size of the latents: the mean over each latent's pixels."""
    image = Image.fromarray(mask, mode="F").resize((width, height), Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32).clip(0, 1)


def begun(latent: Any, mask: Any, noise: Any, content: Content) -> Any:
    """What the masked part of the latents holds to begin with, as tensors or arrays of shapes that broadcast.

    "original", "fill" and "texture" keep what was encoded; "noise" puts noise of unit deviation there, "nothing" zeros.
    """
    if content == "noise":
        return latent * (1 - mask) + noise * mask
    return latent * (1 - mask) if content == "nothing" else latent


def pasted(under: Picture, drawn: Picture, mask: Mask, box: Box | None = None) -> Picture:
    """`drawn` over `under` where the mask is white; a box says where it belongs, and it is resized to it.

    Pixels whose mask is 0 stay exactly as they were.
    """
    if box is not None:
        whole = under.copy()
        whole[box.area] = resized(drawn, box.width, box.height, "stretch")
        drawn = whole
    share = mask[..., None]
    return np.rint(under + (drawn.astype(np.float32) - under) * share).astype(np.uint8)


def resized(picture: Picture, width: int, height: int, mode: Resize) -> Picture:
    """The picture at this size: stretched, covered and cut, or fitted in with its borders continued.

    "latent" changes nothing here: that resize happens to the latents.
    """
    tall, wide = picture.shape[:2]
    if mode == "latent" or (wide, tall) == (width, height):
        return picture
    if mode == "stretch":
        return _scaled(picture, width, height)
    ratios = (width / wide, height / tall)
    scale = max(ratios) if mode == "crop" else min(ratios)
    inner = _scaled(picture, max(1, round(wide * scale)), max(1, round(tall * scale)))
    return _cut(inner, width, height) if mode == "crop" else _continued(inner, width, height)


def _scaled(picture: Picture, width: int, height: int) -> Picture:
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _cut(picture: Picture, width: int, height: int) -> Picture:
    tall, wide = picture.shape[:2]
    left, top = (wide - width) // 2, (tall - height) // 2
    return picture[top : top + height, left : left + width]


def _continued(picture: Picture, width: int, height: int) -> Picture:
    tall, wide = picture.shape[:2]
    across, down = width - wide, height - tall
    widths = ((down // 2, down - down // 2), (across // 2, across - across // 2), (0, 0))
    return np.pad(picture, widths, mode="edge")


class Canvas(NamedTuple):
    """A picture's place on a larger one."""

    width: int
    height: int
    old: Box
    """Where the old picture lies."""


def canvas(width: int, height: int, *, left: int, right: int, up: int, down: int, multiple: int) -> Canvas:
    """The enlarged canvas: sides rounded up to a multiple; what that adds goes to the sides that grow."""
    wide, first = _stretched(width, left, right, multiple)
    tall, top = _stretched(height, up, down, multiple)
    return Canvas(wide, tall, Box(first, top, first + width, top + height))


def _stretched(side: int, before: int, after: int, multiple: int) -> tuple[int, int]:
    """The new side, and how much of what it gained lies before the old picture."""
    whole = -(-(side + before + after) // multiple) * multiple
    extra = whole - side - before - after
    if before and after:
        return whole, before + extra // 2
    return whole, before + (extra if before else 0)


def outpainted(picture: Picture, place: Canvas, blur: float) -> tuple[Picture, Mask]:
    """The picture on its canvas with its borders continued, and the mask of what is to be drawn.

    On sides that grow the mask reaches twice the blur into the old picture, so that the seam is drawn too; beyond that
    the old picture's pixels are kept.
    """
    old = place.old
    widths = ((old.top, place.height - old.bottom), (old.left, place.width - old.right), (0, 0))
    enlarged = np.pad(picture, widths, mode="edge")
    seam = math.ceil(2 * blur)
    kept = Box(
        old.left + (seam if old.left else 0),
        old.top + (seam if old.top else 0),
        max(0, old.right - (seam if old.right < place.width else 0)),
        max(0, old.bottom - (seam if old.bottom < place.height else 0)),
    )
    mask = np.ones((place.height, place.width), np.float32)
    mask[kept.area] = 0
    return enlarged, mask
