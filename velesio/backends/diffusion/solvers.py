"""Solvers: how a picture gets from one noise level to the next.

A solver is a generator: it yields `Ask`s for the model's prediction of the clean picture at (x, sigma), is sent that
prediction, and returns the last x. Nothing else of it is state, so thousands may be under way at once, each at its own
level. `x` is the picture plus sigma times noise (the "variance exploding" form); arithmetic is all that is done with
it, so tensors and arrays of any library serve.

Sources: Karras et al. 2022 (Euler, Heun, DPM2), Lu et al. 2022 (DPM-Solver++), Song et al. 2021 (DDIM), Chung et al.
2024 (CFG++), Luo et al. 2023 (LCM), Xu et al. 2023 (Restart), and the k-diffusion library's forms of them.
"""

import math
from collections.abc import Callable, Generator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple, Protocol

X = Any
"""A tensor or an array."""


class Noise(Protocol):
    """Where a solver's random numbers come from."""

    def draw(self) -> X:
        """Fresh normal numbers in the shape of x."""

    def between(self, sigma: float, sigma_next: float) -> X:
        """What a Brownian motion did between two levels, as normal numbers: the same for the same two levels."""


class Ask(NamedTuple):
    """A prediction is wanted."""

    x: X
    sigma: float
    step: int
    """Of the schedule, from 0."""
    both: bool = False
    """Whether the prediction without the prompt is wanted as well: the answer is then a pair."""


class Tuning(NamedTuple):
    """What a request may turn in its solver."""

    eta: float = 1.0
    """How much of the noise is drawn anew, of those that draw any; 1: as much as the process itself does."""
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float = math.inf
    s_noise: float = 1.0
    variant: str = "bh1"
    """Of UniPC: bh1 or bh2."""
    order: int = 3
    """Of UniPC."""
    lower_order_final: bool = True
    """Whether UniPC's last steps are of lower order."""


Path = Generator[Ask, Any, X]
Solver = Callable[[X, Sequence[float], Noise, Tuning], Path]


def euler(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """Along the slope at the level's beginning."""
    for step, (level, after) in enumerate(pairwise(sigmas)):
        x, sigma = churned(x, level, noise, tuning, len(sigmas) - 1)
        clean = yield Ask(x, sigma, step)
        x = x + slope(x, sigma, clean) * (after - sigma)
    return x


def euler_ancestral(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """Further down than asked, then up again by fresh noise."""
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, sigma, step)
        down, up = ancestral(sigma, after, tuning.eta)
        x = x + slope(x, sigma, clean) * (down - sigma)
        x = stirred(x, noise, tuning, up, after)
    return x


def heun(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """Along the mean of the slopes at both ends."""
    for step, (level, after) in enumerate(pairwise(sigmas)):
        x, sigma = churned(x, level, noise, tuning, len(sigmas) - 1)
        x = yield from heun_step(x, sigma, after, step)
    return x


def heun_step(x: X, sigma: float, after: float, step: int) -> Path:
    """One of Heun's steps; the last one, to no noise, is Euler's."""
    first = slope(x, sigma, (yield Ask(x, sigma, step)))
    guess = x + first * (after - sigma)
    if after == 0:
        return guess
    second = slope(guess, after, (yield Ask(guess, after, step)))
    return x + (first + second) / 2 * (after - sigma)


def dpm2(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """Along the slope in the middle, by the level's logarithm."""
    for step, (level, after) in enumerate(pairwise(sigmas)):
        x, sigma = churned(x, level, noise, tuning, len(sigmas) - 1)
        x = yield from _midpoint(x, sigma, after, step)
    return x


def dpm2_ancestral(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """As `dpm2`, further down than asked and up again by fresh noise."""
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        down, up = ancestral(sigma, after, tuning.eta)
        x = yield from _midpoint(x, sigma, down, step)
        x = stirred(x, noise, tuning, up, after)
    return x


def _midpoint(x: X, sigma: float, after: float, step: int) -> Path:
    first = slope(x, sigma, (yield Ask(x, sigma, step)))
    if after == 0:
        return x + first * (after - sigma)
    middle = math.sqrt(sigma * after)
    halfway = x + first * (middle - sigma)
    second = slope(halfway, middle, (yield Ask(halfway, middle, step)))
    return x + second * (after - sigma)


def dpmpp_2s_ancestral(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """DPM-Solver++(2S) with fresh noise: a prediction halfway replaces the one at the begin."""
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, sigma, step)
        down, up = ancestral(sigma, after, tuning.eta)
        if down == 0:
            x = clean
        else:
            middle = math.sqrt(sigma * down)
            halfway = toward(x, sigma, middle, clean)
            better = yield Ask(halfway, middle, step)
            x = toward(x, sigma, down, better)
        x = stirred(x, noise, tuning, up, after)
    return x


def dpmpp_sde(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """DPM-Solver++ of the stochastic equation, with a step halfway; its noise is a Brownian motion's."""
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, sigma, step)
        if after == 0:
            x = x + slope(x, sigma, clean) * (after - sigma)
            continue
        middle = math.sqrt(sigma * after)
        down, up = ancestral(sigma, middle, tuning.eta)
        halfway = toward(x, sigma, down, clean)
        if up:
            halfway = halfway + noise.between(sigma, middle) * (tuning.s_noise * up)
        better = yield Ask(halfway, middle, step)
        down, up = ancestral(sigma, after, tuning.eta)
        x = toward(x, sigma, down, better)
        if up:
            x = x + noise.between(sigma, after) * (tuning.s_noise * up)
    return x


def lcm(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """Straight to the clean picture, and back to the next level by fresh noise."""
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, sigma, step)
        x = _at_the_boundary(x, sigma, clean)
        if after > 0:
            x = x + noise.draw() * (after * tuning.s_noise)
    return x


def _at_the_boundary(x: X, sigma: float, clean: X) -> X:
    """A consistency function is the identity where there is no noise; away from there this changes next to nothing."""
    kept = 1 / (1 + sigma**2)
    scaled = 10.0 * 1000 * (1 - kept)  # time as a number that is 0 without noise and large everywhere else
    own = 0.25 / (scaled**2 + 0.25)
    return clean * (scaled / math.sqrt(scaled**2 + 0.25)) + x * (own * math.sqrt(kept))


def ddim(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """Song's implicit step; eta 0 draws no noise."""
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, sigma, step)
        down, up = _implicit(sigma, after, tuning.eta)
        x = stirred(clean + slope(x, sigma, clean) * down, noise, tuning, up, after)
    return x


def ddim_cfgpp(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """As `ddim`, noised again along the prediction without the prompt: weak guidance is enough."""
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        clean, without = yield Ask(x, sigma, step, both=True)
        down, up = _implicit(sigma, after, tuning.eta)
        x = stirred(clean + slope(x, sigma, without) * down, noise, tuning, up, after)
    return x


def _implicit(sigma: float, after: float, eta: float) -> tuple[float, float]:
    """The published step, its `alpha_bar` written as 1 / (1 + sigma²): how far along the slope, and how much noise."""
    kept, kept_after = 1 / (1 + sigma**2), 1 / (1 + after**2)
    variance = eta**2 * (1 - kept_after) / (1 - kept) * max(1 - kept / kept_after, 0.0)
    return math.sqrt(max(1 - kept_after - variance, 0.0) / kept_after), math.sqrt(variance / kept_after)


def restart(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """Heun's steps, and between them, near the end, jumps back to more noise.

    `sigmas` holds the jumps already (see `restart_levels`): wherever a level is higher than the one before it.
    """
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        if after > sigma:
            x = x + noise.draw() * (tuning.s_noise * math.sqrt(after**2 - sigma**2))
        else:
            x = yield from heun_step(x, sigma, after, step)
    return x


def restart_levels(
    make: Callable[[int, float, float], list[float]], steps: int, low: float, high: float
) -> list[float]:
    """Levels with jumps from 0.1 back to 2, counted so that about `steps` steps are taken in all.

    `make(steps, low, high)` gives a schedule between two levels, 0 after them.
    """
    if steps < 20:
        return make(steps, low, high)
    span, times = (steps // 4, 2) if steps >= 36 else (9, 1)
    levels = make(steps - span * times, low, high)
    place = min(range(len(levels) - 1), key=lambda index: abs(levels[index] - 0.1))
    if not 0 < levels[place] < 2.0:
        return levels
    detour = make(span + 1, levels[place], 2.0)[:-1]
    return [*levels[: place + 1], *(detour * times), *levels[place + 1 :]]


def slope(x: X, sigma: float, clean: X) -> X:
    """The change of x for a unit of noise."""
    return (x - clean) / sigma


def toward(x: X, sigma: float, after: float, clean: X) -> X:
    """The exact step of DPM-Solver++ for a prediction that stays the same: x keeps its share of the noise."""
    return x * (after / sigma) + clean * (1 - after / sigma)


def ancestral(sigma: float, after: float, eta: float) -> tuple[float, float]:
    """Where to go down to, and how much noise then leads up to `after`."""
    if not eta:
        return after, 0.0
    up = min(after, eta * math.sqrt(after**2 * (sigma**2 - after**2) / sigma**2))
    return math.sqrt(after**2 - up**2), up


def stirred(x: X, noise: Noise, tuning: Tuning, up: float, after: float) -> X:
    """x with the noise that leads up to the next level; none where that is 0."""
    return x + noise.draw() * (tuning.s_noise * up) if after > 0 and up else x


def churned(x: X, sigma: float, noise: Noise, tuning: Tuning, steps: int) -> tuple[X, float]:
    """Karras' churn: a little more noise before the step, within the levels that were asked for."""
    if not tuning.s_churn or not tuning.s_tmin <= sigma <= tuning.s_tmax:
        return x, sigma
    higher = sigma * (1 + min(tuning.s_churn / steps, math.sqrt(2) - 1))
    return x + noise.draw() * (tuning.s_noise * math.sqrt(higher**2 - sigma**2)), higher
