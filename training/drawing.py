"""Drawing: a scene (what is to be seen) becomes a picture."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from training.forms import FIXED_COLOURS, FORMS, Layer

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (214, 40, 46),
    "orange": (244, 134, 30),
    "yellow": (250, 214, 50),
    "green": (48, 164, 74),
    "blue": (44, 96, 214),
    "purple": (130, 60, 180),
    "pink": (246, 140, 188),
    "white": (248, 248, 248),
    "black": (24, 24, 28),
    "brown": (126, 76, 40),
    "gray": (130, 132, 138),
}
"""Every colour that a caption can name."""

PAPER: Colour = (236, 232, 220)
SLATE: Colour = (60, 70, 92)
"""Backgrounds of scenes that ask for none: paper, and slate behind what would not show on paper."""

SIZES = {"small": 0.44, "medium": 0.66, "large": 0.88}
"""Share of the picture's side that one form takes."""

POSITIONS = {"centre": (0.0, 0.0), "left": (-0.4, 0.0), "right": (0.4, 0.0), "top": (0.0, -0.4), "bottom": (0.0, 0.4)}
"""Where the middle of the forms lies, in half sides of the picture."""

STYLES = ("flat", "outline", "pixel")
SUPERSAMPLING = 4
WIDTHS = {"flat": 0.05, "outline": 0.085, "pixel": 0.05}
"""Width of lines in half sides of the picture."""

PIXELS = 16
"""Blocks a side in pixel style."""


@dataclass(frozen=True)
class Scene:
    """What a picture shows; `background` None is the default one for the colour."""

    form: str
    colour: str
    background: str | None = None
    count: int = 1
    size: str = "medium"
    position: str = "centre"


class Place(NamedTuple):
    """Where a form is drawn, in half sides of the picture from its middle."""

    x: float
    y: float
    half: float
    """Half of the form's own side."""


def background_of(scene: Scene) -> Colour:
    """The colour behind the forms."""
    if scene.background is not None:
        return COLOURS[scene.background]
    return SLATE if scene.colour in ("white", "yellow") else PAPER


def contrast(one: Colour, other: Colour) -> float:
    """Distance of two colours, 0 to 441."""
    return float(np.linalg.norm(np.subtract(one, other)))


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with a share of `other` in it."""
    return tuple(round(a + (b - a) * share) for a, b in zip(one, other, strict=True))  # type: ignore[return-value]


def paint_of(layer: Layer, colour: Colour) -> Colour:
    """The colour that a layer of a form of this colour is painted with."""
    if layer.paint == "light":
        return mix(colour, (255, 255, 255), 0.45) if sum(colour) < 690 else mix(colour, (0, 0, 0), 0.22)
    return {"fill": colour, "shade": line_of(colour)}.get(layer.paint) or FIXED_COLOURS[layer.paint]


def line_of(colour: Colour) -> Colour:
    """The colour of outlines: darker, but lighter where the colour is almost black."""
    return mix(colour, (0, 0, 0), 0.45) if sum(colour) > 150 else mix(colour, (255, 255, 255), 0.35)


def places(scene: Scene, jitter: np.random.Generator | None) -> list[Place]:
    """Where each form of the scene is drawn."""
    half = SIZES[scene.size]
    x, y = POSITIONS[scene.position]
    if scene.count > 1:
        half = min(half, 0.74 / scene.count)
    spots = [((2 * i + 1 - scene.count) * 0.96 / scene.count, 0.0) for i in range(scene.count)]
    room = 0.97 - half
    result = []
    for dx, dy in spots:
        wobble = jitter.uniform(-1, 1, 3) * (0.05, 0.05, 0.06) if jitter is not None else np.zeros(3)
        cx, cy = x + dx + wobble[0], y + dy + wobble[1]
        if scene.count == 1:
            cx, cy = np.clip((cx, cy), -room, room)
        result.append(Place(float(cx), float(cy), half * (1 + float(wobble[2]))))
    return result


def draw_form(
    image: Image.Image, form: str, colour: Colour, behind: Colour, place: Place, *, style: str = "flat"
) -> None:
    """Draws one form into a picture of any size."""
    pen = ImageDraw.Draw(image)
    half = image.width / 2
    line = colour if style == "outline" else line_of(colour)
    for layer in FORMS[form]():
        corners = ((layer.points * place.half + (place.x, place.y)) * half + half).ravel().tolist()
        filled = behind if style == "outline" or layer.paint == "hole" else paint_of(layer, colour)
        pen.polygon(corners, fill=filled)
        if layer.outlined:
            pen.line(corners + corners[:4], fill=line, width=round(half * WIDTHS[style]), joint="curve")


def draw(
    scene: Scene, side: int = 64, *, style: str = "flat", jitter: np.random.Generator | None = None
) -> Image.Image:
    """The scene as an RGB picture of `side` pixels; `jitter` moves and sizes the forms a little."""
    behind = background_of(scene)
    image = Image.new("RGB", (side * SUPERSAMPLING, side * SUPERSAMPLING), behind)
    for place in places(scene, jitter):
        draw_form(image, scene.form, COLOURS[scene.colour], behind, place, style=style)
    if style == "pixel":
        return image.resize((PIXELS, PIXELS), Image.Resampling.BOX).resize((side, side), Image.Resampling.NEAREST)
    return image.resize((side, side), Image.Resampling.BOX)
