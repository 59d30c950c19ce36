"""Multistep solvers: one prediction a step, and those of earlier steps used again.

Sources: Lu et al. 2022 (DPM-Solver++), Liu et al. 2022 (PLMS), Zhao et al. 2023 (UniPC), and the k-diffusion library's
forms of LMS and of the stochastic DPM-Solver++. `h` is always the growth of -log(sigma) over a step.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from velesio.backends.diffusion.linear import solve
from velesio.backends.diffusion.solvers import Ask, Noise, Path, Tuning, X, slope

_GAUSS = (
    (-0.8611363115940526, 0.3478548451374538),
    (-0.3399810435848563, 0.6521451548625461),
    (0.3399810435848563, 0.6521451548625461),
    (0.8611363115940526, 0.3478548451374538),
)
"""Places and weights of Gauss and Legendre's rule, exact for polynomials up to degree 7."""
_ADAMS = ((1.0,), (1.5, -0.5), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def lms(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """Linear multistep of up to four slopes, for levels at any distance."""
    del noise, tuning
    slopes: list[X] = []
    for step in range(len(sigmas) - 1):
        clean = yield Ask(x, sigmas[step], step)
        slopes = [slope(x, sigmas[step], clean), *slopes[:3]]
        known = [sigmas[step - back] for back in range(len(slopes))]
        for index, each in enumerate(slopes):
            x = x + each * _integral(known, index, sigmas[step], sigmas[step + 1])
    return x


def _integral(known: Sequence[float], index: int, begin: float, end: float) -> float:
    """Of the polynomial that is 1 at `known[index]` and 0 at the others."""
    half, middle = (end - begin) / 2, (end + begin) / 2
    total = 0.0
    for place, weight in _GAUSS:
        value = 1.0
        for other, level in enumerate(known):
            if other != index:
                value *= (middle + half * place - level) / (known[index] - level)
        total += weight * value
    return total * half


def plms(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """Adams and Bashforth's rule on slopes, as if steps had equal lengths; the first step looks ahead once."""
    del noise, tuning
    slopes: list[X] = []
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        here = slope(x, sigma, (yield Ask(x, sigma, step)))
        if not slopes and after > 0:
            ahead = x + here * (after - sigma)
            direction = (here + slope(ahead, after, (yield Ask(ahead, after, step)))) / 2
        else:
            direction = _weighed(_ADAMS[min(len(slopes), 3)], [here, *slopes])
        slopes = [here, *slopes[:2]]
        x = x + direction * (after - sigma)
    return x


def dpmpp_2m(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """DPM-Solver++(2M): the prediction carried on in the direction in which it changed last."""
    return (yield from _second_order(x, sigmas, noise, tuning._replace(eta=0.0), heun=False))


def dpmpp_2m_sde(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """DPM-Solver++(2M) of the stochastic equation, midpoint form."""
    return (yield from _second_order(x, sigmas, noise, tuning, heun=False))


def dpmpp_2m_sde_heun(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """The same in Heun's form."""
    return (yield from _second_order(x, sigmas, noise, tuning, heun=True))


def _second_order(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning, *, heun: bool) -> Path:
    """The stochastic equation's step, which at eta 0 is that of the plain one."""
    before: X = None
    grown = 0.0
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, sigma, step)
        if after == 0:
            x = clean
            break
        h = math.log(sigma / after)
        reach = h * (1 + tuning.eta)
        x = x * (after / sigma * math.exp(-h * tuning.eta)) - clean * math.expm1(-reach)
        if before is not None:
            bend = math.expm1(-reach) / reach + 1 if heun else -0.5 * math.expm1(-reach)
            x = x + (clean - before) * (bend * h / grown)
        x = _shaken(x, noise, tuning, sigma, after)
        before, grown = clean, h
    return x


def dpmpp_3m_sde(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """DPM-Solver++(3M) of the stochastic equation: two earlier predictions."""
    past: list[X] = []
    grown: list[float] = []
    for step, (sigma, after) in enumerate(pairwise(sigmas)):
        clean = yield Ask(x, sigma, step)
        if after == 0:
            x = clean
            break
        h = math.log(sigma / after)
        reach = h * (1 + tuning.eta)
        x = x * math.exp(-reach) - clean * math.expm1(-reach)
        x = x + _bend(clean, past, grown, h, reach) if past else x
        x = _shaken(x, noise, tuning, sigma, after)
        past, grown = [clean, *past[:1]], [h, *grown[:1]]
    return x


def _bend(clean: X, past: Sequence[X], grown: Sequence[float], h: float, reach: float) -> X:
    """What the first and second differences of the predictions add."""
    second = math.expm1(-reach) / reach + 1
    near = grown[0] / h
    first = (clean - past[0]) / near
    if len(past) == 1:
        return first * second
    far = grown[1] / h
    earlier = (past[0] - past[1]) / far
    third = second / reach - 0.5
    change = (first - earlier) / (near + far)
    return (first + (first - earlier) * (near / (near + far))) * second - change * third


def _shaken(x: X, noise: Noise, tuning: Tuning, sigma: float, after: float) -> X:
    if not tuning.eta or not tuning.s_noise:
        return x
    share = math.sqrt(-math.expm1(-2 * math.log(sigma / after) * tuning.eta))
    return x + noise.between(sigma, after) * (after * share * tuning.s_noise)


def unipc(x: X, sigmas: Sequence[float], noise: Noise, tuning: Tuning) -> Path:
    """UniPC: each prediction first corrects the step that led to it, then predicts the next one."""
    del noise
    count = len(sigmas) - 1
    past: list[tuple[float, X]] = []
    origin: X = None
    order = 0
    for step in range(count):
        sigma, after = sigmas[step], sigmas[step + 1]
        clean = yield Ask(x, sigma, step)
        if past:
            x = _unified(origin, past, sigma, order=order, variant=tuning.variant, here=clean)
        past = [(sigma, clean), *past][: tuning.order]
        order = min(tuning.order, len(past))
        if tuning.lower_order_final:
            order = min(order, count - step)
        origin = x
        x = clean if after == 0 else _unified(x, past, after, order=order, variant=tuning.variant)
    return x


def _unified(x: X, past: Sequence[tuple[float, X]], after: float, *, order: int, variant: str, here: X = None) -> X:
    """The predictor's step from `past[0]` to `after`; with the prediction `here` made there, the corrector's."""
    sigma, clean = past[0]
    h = math.log(sigma / after)
    places = [math.log(sigma / level) / h for level, _ in past[1:order]]
    changes = [(other - clean) / place for (_, other), place in zip(past[1:order], places, strict=True)]
    if here is not None:
        places, changes = [*places, 1.0], [*changes, here - clean]
    scale = -h if variant == "bh1" else math.expm1(-h)
    base = x * (after / sigma) - clean * math.expm1(-h)
    if not places:
        return base
    return base - _weighed(_coefficients(places, h, scale), changes) * scale


def _coefficients(places: Sequence[float], h: float, scale: float) -> list[float]:
    """The weights of the differences: exact for polynomials of the order's degree."""
    if len(places) == 1:  # the paper's choice for the lowest orders, where the system would depend on h
        return [0.5]
    rows, right = [], []
    phi, factorial = math.expm1(-h) / -h - 1, 1.0
    for power in range(len(places)):
        factorial *= power + 1
        rows.append([place**power for place in places])
        right.append(phi * factorial / scale)
        phi = phi / -h - 1 / (factorial * (power + 2))
    return solve(rows, right)


def _weighed(weights: Sequence[float], values: Sequence[X]) -> X:
    total = values[0] * weights[0]
    for weight, value in zip(weights[1:], values[1:], strict=False):
        total = total + value * weight
    return total
