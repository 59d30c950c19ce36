"""Forms: the shapes and sprites that can be drawn, as layers of polygons in the square from -1 to 1, y downwards."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Points = np.ndarray
"""Corners of a polygon, shape (n, 2)."""

FIXED_COLOURS = {"wood": (120, 78, 44), "metal": (176, 180, 190), "glass": (206, 226, 236), "cork": (176, 128, 78)}
"""Colours of parts that do not change with the colour asked for."""


@dataclass(frozen=True)
class Layer:
    """One polygon of a form; `paint` is fill, shade, light, hole or a key of `FIXED_COLOURS`."""

    points: Points
    paint: str = "fill"
    outlined: bool = True


def polygon(*corners: tuple[float, float]) -> Points:
    """A polygon from its corners."""
    return np.array(corners, dtype=float)


def box(left: float, top: float, right: float, bottom: float) -> Points:
    """An upright rectangle."""
    return polygon((left, top), (right, top), (right, bottom), (left, bottom))


def disc(x: float, y: float, radius: float, height: float | None = None) -> Points:
    """An ellipse; a circle without a height of its own."""
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    return np.stack([x + radius * np.cos(angle), y + (height or radius) * np.sin(angle)], axis=1)


def spikes(count: int, inner: float) -> Points:
    """A star with `count` spikes, one of them upwards."""
    angle = np.arange(2 * count) * np.pi / count - np.pi / 2
    radius = np.where(np.arange(2 * count) % 2 == 0, 1.0, inner)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def heart_curve() -> Points:
    """A heart that fills the square."""
    t = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x / 16, (y - 2.5) / 14.5], axis=1)


def crescent() -> Points:
    """A waning moon: an outer arc and an inner one, open to the right."""
    outer = np.linspace(0.9, 2 * np.pi - 0.9, 64)
    inner = np.linspace(2 * np.pi - 1.35, 1.35, 64)
    return np.concatenate(
        [
            np.stack([0.25 + 1.0 * np.cos(outer), np.sin(outer)], axis=1),
            np.stack([0.69 + 0.8 * np.cos(inner), 0.8 * np.sin(inner)], axis=1),
        ]
    )


def circle() -> list[Layer]:
    """A filled circle."""
    return [Layer(disc(0, 0, 0.95))]


def square() -> list[Layer]:
    """A filled square."""
    return [Layer(box(-0.85, -0.85, 0.85, 0.85))]


def triangle() -> list[Layer]:
    """A triangle that stands on its side."""
    return [Layer(polygon((0, -0.95), (0.98, 0.8), (-0.98, 0.8)))]


def star() -> list[Layer]:
    """A star of five points."""
    return [Layer(spikes(5, 0.42) * 1.02 + np.array([0, 0.08]))]


def heart() -> list[Layer]:
    """A heart."""
    return [Layer(heart_curve() * 0.95)]


def diamond() -> list[Layer]:
    """A tall lozenge."""
    return [Layer(polygon((0, -1), (0.68, 0), (0, 1), (-0.68, 0)))]


def cross() -> list[Layer]:
    """A cross with four equal arms."""
    a, b = 0.33, 0.93
    corners = [
        (-a, -b),
        (a, -b),
        (a, -a),
        (b, -a),
        (b, a),
        (a, a),
        (a, b),
        (-a, b),
        (-a, a),
        (-b, a),
        (-b, -a),
        (-a, -a),
    ]
    return [Layer(polygon(*corners))]


def ring() -> list[Layer]:
    """A ring with a wide hole."""
    return [Layer(disc(0, 0, 0.95)), Layer(disc(0, 0, 0.5), "hole")]


def moon() -> list[Layer]:
    """A crescent."""
    return [Layer(crescent())]


def sword() -> list[Layer]:
    """A sword that points upwards: the blade has the colour."""
    return [
        Layer(polygon((0, -1.05), (0.24, -0.7), (0.24, 0.38), (-0.24, 0.38), (-0.24, -0.7))),
        Layer(box(-0.12, 0.5, 0.12, 1.0), "wood"),
        Layer(box(-0.62, 0.36, 0.62, 0.58), "shade"),
    ]


def shield() -> list[Layer]:
    """A knight's shield with a lighter stripe."""
    side = np.linspace(0, np.pi / 2, 20)
    right = np.stack([0.82 * np.cos(side), 0.05 + 0.95 * np.sin(side)], axis=1)
    left = right[::-1] * np.array([-1, 1])
    edge = np.concatenate([polygon((-0.82, -0.82), (0, -0.98), (0.82, -0.82)), right, left])
    return [Layer(edge), Layer(box(-0.13, -0.78, 0.13, 0.8), "light", outlined=False)]


def potion() -> list[Layer]:
    """A round flask: what is in it has the colour."""
    return [
        Layer(box(-0.2, -0.75, 0.2, -0.1), "glass"),
        Layer(disc(0, 0.32, 0.68)),
        Layer(box(-0.27, -0.98, 0.27, -0.68), "cork"),
        Layer(disc(-0.26, 0.1, 0.14), "light", outlined=False),
    ]


def key() -> list[Layer]:
    """A key that stands, its bow above."""
    return [
        Layer(box(-0.13, -0.1, 0.13, 1.0)),
        Layer(box(0.1, 0.42, 0.5, 0.62)),
        Layer(box(0.1, 0.78, 0.5, 1.0)),
        Layer(disc(0, -0.5, 0.5)),
        Layer(disc(0, -0.5, 0.22), "hole"),
    ]


def coin() -> list[Layer]:
    """A coin: a lighter inner disc with a stroke."""
    return [
        Layer(disc(0, 0, 0.95)),
        Layer(disc(0, 0, 0.62), "light"),
        Layer(box(-0.13, -0.36, 0.13, 0.36), "shade", False),
    ]


def tree() -> list[Layer]:
    """A fir: the crown has the colour."""
    return [
        Layer(box(-0.16, 0.5, 0.16, 1.0), "wood"),
        Layer(polygon((0, -0.5), (0.82, 0.62), (-0.82, 0.62))),
        Layer(polygon((0, -1.02), (0.62, -0.02), (-0.62, -0.02))),
    ]


def house() -> list[Layer]:
    """A house: walls have the colour, the roof is darker."""
    return [
        Layer(box(-0.72, -0.15, 0.72, 0.92)),
        Layer(polygon((0, -0.98), (0.98, -0.08), (-0.98, -0.08)), "shade"),
        Layer(box(-0.2, 0.35, 0.2, 0.92), "wood"),
    ]


FORMS: dict[str, Callable[[], list[Layer]]] = {
    function.__name__: function
    for function in (
        circle, square, triangle, star, heart, diamond, cross, ring, moon,
        sword, shield, potion, key, coin, tree, house,
    )
}  # fmt: skip
"""Every form by its name."""
