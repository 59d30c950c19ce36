"""Reading: what a picture shows, told from its pixels alone by the nearest template."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from training.drawing import COLOURS, POSITIONS, SIZES, SUPERSAMPLING, Place, draw_form
from training.forms import FORMS

WINDOW = 32
"""Side of the window in which forms are compared, in pixels."""

DIFFERENT = 40.0
"""Distance of colours from which a pixel does not belong to the background."""

SPECK = 0.12
"""Islands smaller than this share of the largest are no forms."""


@dataclass(frozen=True)
class Reading:
    """What was seen; the words are those of `Scene`."""

    form: str
    colour: str
    count: int
    size: str
    position: str


def background(picture: np.ndarray) -> np.ndarray:
    """The colour of the frame, shape (3,)."""
    frame = np.concatenate([picture[:2].reshape(-1, 3), picture[-2:].reshape(-1, 3)])
    sides = np.concatenate([picture[:, :2].reshape(-1, 3), picture[:, -2:].reshape(-1, 3)])
    return np.median(np.concatenate([frame, sides]).astype(float), axis=0)


def islands(mask: np.ndarray) -> list[np.ndarray]:
    """Connected parts of a mask (diagonals count), the largest first, without specks."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        spread = np.pad(labels, 1)
        height, width = mask.shape
        around = [spread[dy : dy + height, dx : dx + width] for dy in range(3) for dx in range(3)]
        grown = np.where(mask, np.max(around, axis=0), 0)
        if (grown == labels).all():
            break
        labels = grown
    values, areas = np.unique(labels[labels > 0], return_counts=True)
    parts = [(area, labels == value) for value, area in zip(values, areas, strict=True)]
    largest = max(areas, default=0)
    return [part for area, part in sorted(parts, key=lambda found: -found[0]) if area >= SPECK * largest]


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a mask, the last two exclusive."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def window(picture: np.ndarray, box: tuple[int, int, int, int], behind: np.ndarray) -> np.ndarray:
    """What is in the box, its longer side made `WINDOW` pixels, the rest filled with the background; float."""
    left, top, right, bottom = box
    scale = WINDOW / max(right - left, bottom - top)
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    part = Image.fromarray(picture[top:bottom, left:right]).resize(size, Image.Resampling.BILINEAR)
    field = Image.new("RGB", (WINDOW, WINDOW), tuple(int(value) for value in behind))
    field.paste(part, ((WINDOW - size[0]) // 2, (WINDOW - size[1]) // 2))
    return np.asarray(field, dtype=float)


@cache
def template(form: str, colour: str) -> tuple[np.ndarray, np.ndarray]:
    """A form as it fills the window: premultiplied colours (32, 32, 3) and coverage (32, 32, 1)."""
    drawn = []
    for behind in ((0, 0, 0), (255, 255, 255)):
        image = Image.new("RGB", (64 * SUPERSAMPLING, 64 * SUPERSAMPLING), behind)
        draw_form(image, form, COLOURS[colour], behind, Place(0.0, 0.0, 0.7))
        drawn.append(np.asarray(image).astype(float))
    hidden = 1 - (drawn[1] - drawn[0]).mean(axis=2) / 255
    box = bounds(hidden > 0.5)
    premultiplied = window(drawn[0].astype(np.uint8), box, np.zeros(3))
    cover = window(np.repeat(hidden[..., None] * 255, 3, axis=2).astype(np.uint8), box, np.zeros(3))[..., :1] / 255
    return premultiplied, cover


def nearest(seen: np.ndarray, behind: np.ndarray) -> tuple[str, str]:
    """Form and colour whose template differs least from what is in the window."""
    best, found = np.inf, ("", "")
    for form in FORMS:
        for colour in COLOURS:
            drawn, cover = template(form, colour)
            error = float(np.square(drawn + (1 - cover) * behind - seen).mean())
            if error < best:
                best, found = error, (form, colour)
    return found


def read(picture: np.ndarray) -> Reading | None:
    """What a picture (side, side, 3; uint8) shows; None where it shows nothing."""
    behind = background(picture)
    mask = np.linalg.norm(picture - behind, axis=2) > DIFFERENT
    parts = islands(mask)
    if not parts:
        return None
    box = bounds(parts[0])
    form, colour = nearest(window(picture, box, behind), behind)
    left, top, right, bottom = bounds(np.any(parts, axis=0))
    side = picture.shape[0]
    middle = ((left + right) / side - 1, (top + bottom) / side - 1)
    share = max(box[2] - box[0], box[3] - box[1]) / side
    return Reading(
        form=form,
        colour=colour,
        count=len(parts),
        size=min(SIZES, key=lambda name: abs(SIZES[name] - share)),
        position=min(POSITIONS, key=lambda name: float(np.hypot(*np.subtract(POSITIONS[name], middle)))),
    )
