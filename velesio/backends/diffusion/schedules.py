"""Noise schedules: how noisy a picture is at each step of its making, as lists of numbers.

A noise level (sigma) is the deviation of the noise on a picture of unit size; a schedule falls from the largest level
to 0 (or to the smallest, where its definition says so). `Levels` are those that a model was trained at. Sources: Karras
et al. 2022 (karras), Sabour et al. 2024 (align your steps, kl optimal), the k-diffusion library's definitions.
"""

import bisect
import math
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from velesio.backends.diffusion.beta_function import quantile

_AYS_SD1 = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
_AYS_SDXL = (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.029)
_LCM_LEVELS = 50
"""Levels that a latent consistency model was distilled at."""


class Levels:
    """The noise levels of a model's training, one for each of its timesteps, rising."""

    def __init__(self, sigmas: Sequence[float], *, sdxl: bool = False) -> None:
        """`sdxl`: whether the tables published for Stable Diffusion XL apply."""
        self.sigmas = tuple(sigmas)
        self.sdxl = sdxl
        self._logs = [math.log(sigma) for sigma in self.sigmas]

    def __len__(self) -> int:
        return len(self.sigmas)

    @property
    def smallest(self) -> float:
        """The level of timestep 0."""
        return self.sigmas[0]

    @property
    def largest(self) -> float:
        """The level of the last timestep."""
        return self.sigmas[-1]

    def sigma(self, timestep: float) -> float:
        """The level at a timestep between two whole ones: linear in its logarithm."""
        place = min(max(timestep, 0.0), len(self.sigmas) - 1.0)
        low = min(int(place), len(self.sigmas) - 2)
        part = place - low
        return math.exp((1 - part) * self._logs[low] + part * self._logs[low + 1])

    def timestep(self, sigma: float) -> float:
        """The inverse of `sigma`; the nearest end beyond the ends."""
        log = math.log(max(sigma, 1e-10))
        high = min(max(bisect.bisect_left(self._logs, log), 1), len(self._logs) - 1)
        below, above = self._logs[high - 1], self._logs[high]
        return high - 1 + min(max((log - below) / (above - below), 0.0), 1.0)


def levels_of(
    *,
    steps: int = 1000,
    beta_start: float = 0.00085,
    beta_end: float = 0.012,
    shape: str = "scaled_linear",
    zero_terminal: bool = False,
    sdxl: bool = False,
) -> Levels:
    """The levels that a model's betas mean. `zero_terminal`: rescaled so that the last one is nothing but noise."""
    if shape == "scaled_linear":
        betas = [part**2 for part in linspace(math.sqrt(beta_start), math.sqrt(beta_end), steps)]
    else:
        betas = linspace(beta_start, beta_end, steps)
    product, kept = 1.0, []
    for beta in betas:
        product *= 1 - beta
        kept.append(product)
    if zero_terminal:
        kept = _rescaled(kept)
    return Levels([math.sqrt((1 - part) / part) for part in kept], sdxl=sdxl)


def changed(levels: Levels, *, half_alphas: bool = False, zero_terminal: bool = False) -> Levels:
    """Levels with their shares of signal rounded to half precision, and then with nothing but noise at the last one."""
    kept = [1 / (1 + sigma**2) for sigma in levels.sigmas]
    if half_alphas:
        kept = [float(struct.unpack("e", struct.pack("e", part))[0]) for part in kept]
    if zero_terminal:
        kept = _rescaled(kept)
    return Levels([math.sqrt((1 - part) / part) for part in kept], sdxl=levels.sdxl)


def _rescaled(kept: list[float]) -> list[float]:
    """Lin et al. 2023: shifted so that the last has no signal, scaled so that the first keeps its own."""
    roots = [math.sqrt(part) for part in kept]
    first, last = roots[0], roots[-1]
    shifted = [((root - last) * first / (first - last)) ** 2 for root in roots]
    return [*shifted[:-1], max(shifted[-1], 4.8973451890853435e-08)]


def linspace(start: float, stop: float, count: int) -> list[float]:
    """`count` numbers at equal distances, both ends included."""
    if count == 1:
        return [start]
    return [start + (stop - start) * index / (count - 1) for index in range(count)]


class Bounds(NamedTuple):
    """Between which levels a schedule runs, and the numbers that bend it; 0 means its own default."""

    smallest: float = 0.0
    largest: float = 0.0
    rho: float = 0.0
    alpha: float = 0.6
    """Of the beta schedule."""
    beta: float = 0.6
    skip: str = "time_uniform"
    """How UniPC's own schedule lies in time."""


def uniform(levels: Levels, steps: int, bounds: Bounds) -> list[float]:
    """Equal distances in time."""
    del bounds
    return [*(levels.sigma(time) for time in linspace(len(levels) - 1, 0, steps)), 0.0]


def karras(levels: Levels, steps: int, bounds: Bounds) -> list[float]:
    """Equal distances in the level's rho-th root."""
    low, high = _ends(levels, bounds)
    rho = bounds.rho or 7.0
    roots = linspace(high ** (1 / rho), low ** (1 / rho), steps)
    return [*(root**rho for root in roots), 0.0]


def exponential(levels: Levels, steps: int, bounds: Bounds) -> list[float]:
    """Equal distances in the level's logarithm."""
    low, high = _ends(levels, bounds)
    return [*(math.exp(log) for log in linspace(math.log(high), math.log(low), steps)), 0.0]


def polyexponential(levels: Levels, steps: int, bounds: Bounds) -> list[float]:
    """Distances in the level's logarithm bent by the exponent rho."""
    low, high = _ends(levels, bounds)
    ramp = [part ** (bounds.rho or 1.0) for part in linspace(1, 0, steps)]
    return [*(math.exp(part * math.log(high / low) + math.log(low)) for part in ramp), 0.0]


def sgm_uniform(levels: Levels, steps: int, bounds: Bounds) -> list[float]:
    """Equal distances in time, the last of which leads to no noise at all."""
    low, high = _ends(levels, bounds)
    times = linspace(levels.timestep(high), levels.timestep(low), steps + 1)
    return [*(levels.sigma(time) for time in times[:-1]), 0.0]


def kl_optimal(levels: Levels, steps: int, bounds: Bounds) -> list[float]:
    """Equal distances in the level's arc tangent; ends at the smallest level."""
    low, high = _ends(levels, bounds)
    return [math.tan(angle) for angle in linspace(math.atan(high), math.atan(low), steps + 1)]


def align_your_steps(levels: Levels, steps: int, bounds: Bounds) -> list[float]:
    """The published levels, with others between them by their logarithms."""
    del bounds
    table = _AYS_SDXL if levels.sdxl else _AYS_SD1
    if steps == len(table):
        return [*table, 0.0]
    logs = [math.log(sigma) for sigma in table]
    return [*(math.exp(_between(logs, place)) for place in linspace(0, len(logs) - 1, steps)), 0.0]


def simple(levels: Levels, steps: int, bounds: Bounds) -> list[float]:
    """Every so many-th level of the training, from the last."""
    del bounds
    stride = len(levels) / steps
    return [*(levels.sigmas[-1 - int(index * stride)] for index in range(steps)), 0.0]


def normal(levels: Levels, steps: int, bounds: Bounds) -> list[float]:
    """Equal distances in time between the two ends."""
    low, high = _ends(levels, bounds)
    times = linspace(levels.timestep(high), levels.timestep(low), steps)
    return [*(levels.sigma(time) for time in times), 0.0]


def ddim(levels: Levels, steps: int, bounds: Bounds) -> list[float]:
    """Every so many-th level of the training, from the second; there may be a few more than `steps`."""
    del bounds
    stride = max(len(levels) // steps, 1)
    return [*reversed(levels.sigmas[1::stride]), 0.0]


def beta(levels: Levels, steps: int, bounds: Bounds) -> list[float]:
    """Quantiles of a beta distribution between the ends."""
    low, high = _ends(levels, bounds)
    parts = (quantile(part, bounds.alpha, bounds.beta) for part in linspace(1, 0, steps))
    return [*(low + part * (high - low) for part in parts), 0.0]


def timesteps(levels: Levels, steps: int, bounds: Bounds) -> list[float]:
    """Every so many-th level of the training, down to the first, for solvers that were defined by timesteps.

    There are a few more than `steps` where that does not divide the training's."""
    del bounds
    stride = max(len(levels) // steps, 1)
    times = [min(time + 1, len(levels) - 1) for time in range(0, len(levels), stride)]
    return [*(levels.sigmas[time] for time in reversed(times)), levels.smallest]


def unified(levels: Levels, steps: int, bounds: Bounds) -> list[float]:
    """UniPC's own: as `timesteps`, or at equal distances in time's root or in the signal's share by its logarithm."""
    if bounds.skip == "time_quadratic":
        return [levels.sigma(root**2) for root in linspace(math.sqrt(len(levels) - 1), 0, steps + 1)]
    if bounds.skip == "logSNR":
        logs = linspace(math.log(levels.largest), math.log(levels.smallest), steps + 1)
        return [math.exp(log) for log in logs]
    return timesteps(levels, steps, bounds)


def consistency(levels: Levels, steps: int, bounds: Bounds) -> list[float]:
    """Equal distances among the levels of a latent consistency model's distillation."""
    del bounds
    count = min(_LCM_LEVELS, len(levels))
    stride = len(levels) // count
    known = [math.log(levels.sigmas[(index + 1) * stride - 1]) for index in range(count)]
    return [*(math.exp(_between(known, place)) for place in linspace(count - 1, 0, steps)), 0.0]


class Schedule(NamedTuple):
    """A schedule by its names."""

    name: str
    label: str
    make: Callable[[Levels, int, Bounds], list[float]] | None
    """None: each sampler's own."""
    aliases: tuple[str, ...] = ()
    rho: float = -1.0
    """Default of the exponent; negative: it has none."""


SCHEDULES = (
    Schedule("automatic", "Automatic", None),
    Schedule("uniform", "Uniform", uniform),
    Schedule("karras", "Karras", karras, rho=7.0),
    Schedule("exponential", "Exponential", exponential),
    Schedule("polyexponential", "Polyexponential", polyexponential, rho=1.0),
    Schedule("sgm_uniform", "SGM Uniform", sgm_uniform, ("SGMUniform",)),
    Schedule("kl_optimal", "KL Optimal", kl_optimal),
    Schedule("align_your_steps", "Align Your Steps", align_your_steps),
    Schedule("simple", "Simple", simple),
    Schedule("normal", "Normal", normal),
    Schedule("ddim", "DDIM", ddim),
    Schedule("beta", "Beta", beta),
)
"""In the order of the web API's list."""


def _ends(levels: Levels, bounds: Bounds) -> tuple[float, float]:
    return bounds.smallest or levels.smallest, bounds.largest or levels.largest


def _between(values: Sequence[float], place: float) -> float:
    """The value at a place between two whole ones, linearly."""
    low = min(int(place), len(values) - 2)
    return values[low] + (values[low + 1] - values[low]) * (place - low)
