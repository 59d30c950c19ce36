"""Solvers that choose their own levels between the first and the last one: DPM-Solver, fast and adaptive.

Source: Lu et al. 2022 (DPM-Solver). Time is -log(sigma); `h` is a step of it.
"""

import math
from collections.abc import Sequence

from velesio.backends.diffusion.solvers import Ask, Noise, Path, Tuning, X, ancestral, slope

_RELATIVE, _ABSOLUTE = 0.05, 0.0078
_FIRST_STEP = 0.05
_SAFETY = 0.81
_MOST_STEPS = 1000


def dpm_fast(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """As many predictions as `sigmas` has steps, spent on steps of third order and the rest on lower ones."""
    evaluations = len(sigmas) - 1
    begin, end = _ends(sigmas)
    parts = evaluations // 3 + 1
    orders = [3] * (parts - 2) + [2, 1] if evaluations % 3 == 0 else [3] * (parts - 1) + [evaluations % 3]
    done = 0
    for index, order in enumerate(orders):
        time, after = (begin + (end - begin) * each / parts for each in (index, index + 1))
        down = min(end, -math.log(max(ancestral(math.exp(-time), math.exp(-after), tuning.eta)[0], 1e-10)))
        up = math.sqrt(max(math.exp(-2 * after) - math.exp(-2 * down), 0.0)) if tuning.eta else 0.0
        direction = slope(x, math.exp(-time), (yield Ask(x, math.exp(-time), done)))
        x = (yield from _step(x, direction, (time, down), order, done))[-1]
        x = x + noise.draw() * (tuning.s_noise * up) if up else x
        done += order
    return x


def dpm_adaptive(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """Steps of third order as long as the second order agrees: a controller halts where they differ too much."""
    time, end = _ends(sigmas)
    total, begin = len(sigmas) - 1, time
    h, last = _FIRST_STEP, x
    for _ in range(_MOST_STEPS):
        if time >= end - 1e-5:
            break
        after = min(end, time + h)
        down = min(end, -math.log(max(ancestral(math.exp(-time), math.exp(-after), tuning.eta)[0], 1e-10)))
        up = math.sqrt(max(math.exp(-2 * after) - math.exp(-2 * down), 0.0)) if tuning.eta else 0.0
        done = int(total * (time - begin) / (end - begin))
        direction = slope(x, math.exp(-time), (yield Ask(x, math.exp(-time), done)))
        low, high = yield from _step(x, direction, (time, down), 3, done)
        factor = 1 / (_error(low, high, last) ** (1 / 3) + 1e-8)
        factor = 1 + math.atan(factor - 1)
        if factor >= _SAFETY:
            last = low
            x = high + noise.draw() * (tuning.s_noise * up) if up else high
            time = after
        h *= factor
    return x


def _ends(sigmas: Sequence[float]) -> tuple[float, float]:
    """Times of the first level and of the last one above 0."""
    return -math.log(sigmas[0]), -math.log(next(sigma for sigma in reversed(sigmas) if sigma > 0))


def _step(x: X, direction: X, span: tuple[float, float], order: int, step: int) -> Path:
    """The results of the orders `order - 1` and `order`, with one and two thirds (or one half) between."""
    time, after = span
    h, level = after - time, math.exp(-after)
    first = x - direction * (level * math.expm1(h))
    if order == 1:
        return first, first
    near = 1 / order if order == 3 else 1 / 2
    middle = math.exp(-(time + near * h))
    guess = x - direction * (middle * math.expm1(near * h))
    turned = slope(guess, middle, (yield Ask(guess, middle, step))) - direction
    second = first - turned * (level / (2 * near) * math.expm1(h))
    if order == 2:
        return first, second
    far = 2 / 3
    later = math.exp(-(time + far * h))
    guess = x - direction * (later * math.expm1(far * h))
    guess = guess - turned * (later * far / near * (math.expm1(far * h) / (far * h) - 1))
    change = slope(guess, later, (yield Ask(guess, later, step))) - direction
    return second, first - change * (level / far * (math.expm1(h) / h - 1))


def _error(low: X, high: X, last: X) -> float:
    """Root of the mean square of the difference, in units of what is tolerated."""
    size = _larger(abs(low), abs(last)) * _RELATIVE
    ratio = (low - high) / _larger(size, size * 0 + _ABSOLUTE)
    return math.sqrt(float((ratio * ratio).mean()))


def _larger(one: X, other: X) -> X:
    return (one + other + abs(one - other)) / 2
