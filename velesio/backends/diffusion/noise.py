"""Noise: the random numbers of one picture, which depend on its seed and on nothing else.

Drawn on the processor, so that a seed gives the same picture on every device, alone or among others.
"""

import math
from typing import Literal

import torch
from torch import Tensor

from velesio.backends.diffusion.philox import Philox

Source = Literal["cpu", "nv"]
Shape = tuple[int, int, int]
"""Channels, height, width of a latent."""

_DEPTH = 24
"""Halvings of a Brownian motion's time: finer than any two levels are apart."""


class Seed:
    """A source of normal numbers."""

    def __init__(self, number: int, source: Source = "cpu") -> None:
        self._philox = Philox(number) if source == "nv" else None
        self._generator = torch.Generator("cpu").manual_seed(number)

    def normal(self, shape: Shape) -> Tensor:
        """The next numbers, [1, channels, height, width], on the processor."""
        if self._philox is None:
            return torch.randn((1, *shape), generator=self._generator)
        return torch.from_numpy(self._philox.normal(math.prod(shape))).view(1, *shape)


class Recipe:
    """What a picture's first noise is made of."""

    def __init__(
        self,
        seed: int,
        *,
        subseed: int = 0,
        strength: float = 0.0,
        size_from: tuple[int, int] | None = None,
        delta: int = 0,
        source: Source = "cpu",
    ) -> None:
        """`size_from`: height and width, in latents, of the noise that is put into the middle. `delta` is added to the
        seed of all noise after the first."""
        self.seed = seed
        self._subseed = subseed
        self._strength = strength
        self._size_from = size_from
        self._delta = delta
        self._source = source

    def noise(self, shape: Shape) -> "Noise":
        """The noise of a picture of a size, from its first number on."""
        generator = Seed(self.seed, self._source)
        inner = (shape[0], *self._size_from) if self._size_from else shape
        first = Seed(self.seed, self._source).normal(inner) if inner != shape else generator.normal(inner)
        if self._strength:
            first = slerp(self._strength, first, Seed(self._subseed, self._source).normal(inner))
        if inner != shape:
            first = pasted(first, generator.normal(shape))
        if self._delta:
            generator = Seed(self.seed + self._delta, self._source)
        return Noise(shape, first, generator, self.seed + self._delta, self._source)


class Noise:
    """The noise of one pass of one picture: the first, then whatever its solver draws."""

    def __init__(self, shape: Shape, first: Tensor, generator: Seed, seed: int, source: Source) -> None:
        self.first = first
        self.device = torch.device("cpu")
        """Where the numbers are wanted."""
        self._shape = shape
        self._generator = generator
        self._seed = seed
        self._source = source
        self._motion: Motion | None = None

    def draw(self) -> Tensor:
        """Fresh normal numbers."""
        return self._generator.normal(self._shape).to(self.device)

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        """What a Brownian motion did between two levels, in units of its deviation."""
        if self._motion is None:
            self._motion = Motion(self._seed, self._shape, max(sigma, sigma_next), self._source)
        moved = self._motion.at(sigma) - self._motion.at(sigma_next)
        return (moved / math.sqrt(abs(sigma - sigma_next))).to(self.device)


class Motion:
    """A Brownian motion over the levels from 0 to the largest one, the same for every set of levels asked for.

    Its middle is drawn from the two ends, the middles of the halves from theirs, and so on, each from a seed that says
    where it lies.
    """

    def __init__(self, seed: int, shape: Shape, largest: float, source: Source) -> None:
        self._seed = seed
        self._shape = shape
        self._source = source
        self._largest = largest
        self._end = self._normal(1) * math.sqrt(largest)
        self._known: dict[float, Tensor] = {}

    def at(self, level: float) -> Tensor:
        """Where the motion is at a level, 0 at 0."""
        if level not in self._known:
            if len(self._known) > 3:  # solvers go forward: the levels of the last two steps are enough
                self._known.pop(next(iter(self._known)))
            self._known[level] = self._found(min(max(level, 0.0), self._largest))
        return self._known[level]

    def _found(self, level: float) -> Tensor:
        low, high = 0.0, self._largest
        below, above = torch.zeros((1, *self._shape)), self._end
        node = 1
        for _ in range(_DEPTH):
            if level in {low, high}:
                break
            middle = (low + high) / 2
            node *= 2
            between = (below + above) / 2 + self._normal(node) * (math.sqrt(high - low) / 2)
            if level < middle:
                high, above = middle, between
            else:
                low, below, node = middle, between, node + 1
        part = (level - low) / (high - low)
        return below + (above - below) * part

    def _normal(self, node: int) -> Tensor:
        mixed = (self._seed * 0x9E3779B97F4A7C15 + node * 0xD1B54A32D192ED03) & 0x7FFFFFFFFFFFFFFF
        return Seed(mixed, self._source).normal(self._shape)


def slerp(part: float, one: Tensor, other: Tensor) -> Tensor:
    """From one to the other along the arc between them, row by row; straight where they are nearly parallel."""
    low = one / torch.norm(one, dim=1, keepdim=True)
    high = other / torch.norm(other, dim=1, keepdim=True)
    dot = (low * high).sum(1)
    if dot.mean() > 0.9995:
        return one * (1 - part) + other * part
    angle = torch.acos(dot)
    sine = torch.sin(angle)
    return (torch.sin((1 - part) * angle) / sine).unsqueeze(1) * one + (torch.sin(part * angle) / sine).unsqueeze(
        1
    ) * other


def pasted(inner: Tensor, outer: Tensor) -> Tensor:
    """`inner` in the middle of `outer`; what is too large for it is cut off at both sides."""
    result = outer.clone()
    height, width = (min(inner.shape[side], outer.shape[side]) for side in (-2, -1))
    top, left = (max((outer.shape[side] - inner.shape[side]) // 2, 0) for side in (-2, -1))
    down, right = (max((inner.shape[side] - outer.shape[side]) // 2, 0) for side in (-2, -1))
    result[..., top : top + height, left : left + width] = inner[..., down : down + height, right : right + width]
    return result
