"""Solvers: laws that hold for all of them, whatever each computes."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from velesio.backends.diffusion import adaptive, multistep, solvers
from velesio.backends.diffusion.solvers import Ask, Solver, Tuning, ancestral, restart_levels

SHAPE = (1, 2, 3, 3)
GENERATOR = np.random.default_rng(7)
X = GENERATOR.standard_normal(SHAPE)
NUMBERS = [GENERATOR.standard_normal(SHAPE) for _ in range(400)]
LEVELS = [14.0, 9.0, 6.0, 3.5, 2.0, 1.2, 0.7, 0.4, 0.2, 0.1, 0.05, 0.03, 0.0]
STEPS = len(LEVELS) - 1
CHURN = Tuning(s_churn=2.4)
Model = Callable[[Any, float], Any]


class Drawn:
    """Noise that was drawn beforehand, in order."""

    def __init__(self, numbers: Sequence[Any] = NUMBERS) -> None:
        self.numbers = numbers
        self.used = 0

    def draw(self) -> Any:
        self.used += 1
        return self.numbers[self.used - 1]

    def between(self, sigma: float, sigma_next: float) -> Any:
        assert sigma > sigma_next > 0
        return self.draw()


def cleaned(x: Any, sigma: float) -> Any:
    """The model: a smooth prediction of the clean picture."""
    return x / (1 + sigma**2) + np.sin(x) * sigma / (2 + sigma**2)


def sharp(x: Any, sigma: float) -> Any:
    """One that changes its mind all at once."""
    return np.sin(x) + 5.0 * (sigma < 1)


def nothing(x: Any, sigma: float) -> Any:
    """A model that takes everything for noise."""
    return x * 0.0


def solve(
    solver: Solver,
    sigmas: Sequence[float] = LEVELS,
    noise: Drawn | None = None,
    tuning: Tuning | None = None,
    *,
    x: Any = None,
    model: Model = cleaned,
) -> tuple[Any, list[Ask]]:
    """The end of a solver's path, and what it asked."""
    path = solver(X * sigmas[0] if x is None else x, sigmas, noise or Drawn(), tuning or Tuning())
    asked: list[Ask] = []
    try:
        ask = next(path)
        while True:
            asked.append(ask)
            clean = model(ask.x, ask.sigma)
            ask = path.send((clean, clean) if ask.both else clean)
    except StopIteration as end:
        return end.value, asked


def close(one: Any, other: Any, rel: float = 1e-9) -> bool:
    return float(np.abs(one - other).max()) <= rel * float(np.abs(other).max())


DRAWING: list[tuple[Solver, Tuning, int]] = [
    (solvers.euler, CHURN, STEPS),
    (solvers.heun, CHURN, STEPS),
    (solvers.dpm2, CHURN, STEPS),
    (solvers.euler_ancestral, Tuning(), STEPS - 1),
    (solvers.dpm2_ancestral, Tuning(), STEPS - 1),
    (solvers.dpmpp_2s_ancestral, Tuning(), STEPS - 1),
    (solvers.dpmpp_sde, Tuning(), 2 * (STEPS - 1)),
    (solvers.lcm, Tuning(), STEPS - 1),
    (solvers.ddim, Tuning(), STEPS - 1),
    (solvers.ddim_cfgpp, Tuning(), STEPS - 1),
    (multistep.dpmpp_2m_sde, Tuning(), STEPS - 1),
    (multistep.dpmpp_2m_sde_heun, Tuning(), STEPS - 1),
    (multistep.dpmpp_3m_sde, Tuning(), STEPS - 1),
]
"""Solvers that draw noise, and how often they do: never on the way to no noise at all."""


def called(case: Any) -> str:
    return str(getattr(case, "__name__", ""))


@pytest.mark.parametrize(("solver", "tuning", "draws"), DRAWING, ids=called)
def test_noise_is_drawn_as_often_as_it_is_used(solver: Solver, tuning: Tuning, draws: int) -> None:
    """Once for each time that noise is added, and never for a step to no noise."""
    noise = Drawn()
    solve(solver, noise=noise, tuning=tuning)
    assert noise.used == draws


@pytest.mark.parametrize(
    ("solver", "tuning"), [*(case[:2] for case in DRAWING), (adaptive.dpm_fast, Tuning())], ids=called
)
def test_s_noise_scales_the_noise(solver: Solver, tuning: Tuning) -> None:
    """One and a half as much of the same noise is the same as noise that is larger by half."""
    louder = Drawn([numbers * 1.5 for numbers in NUMBERS])
    found, _ = solve(solver, tuning=tuning._replace(s_noise=1.5))
    assert close(found, solve(solver, noise=louder, tuning=tuning)[0])
    assert not close(found, solve(solver, tuning=tuning)[0], 1e-3)


@pytest.mark.parametrize(
    ("solver", "plain"),
    [
        (solvers.euler_ancestral, solvers.euler),
        (solvers.ddim, solvers.euler),
        (solvers.ddim_cfgpp, solvers.euler),
        (solvers.dpm2_ancestral, solvers.dpm2),
        (solvers.dpmpp_sde, solvers.dpmpp_2s_ancestral),
        (multistep.dpmpp_2m_sde, multistep.dpmpp_2m),
    ],
    ids=called,
)
def test_at_eta_0_there_is_no_chance_in_it(solver: Solver, plain: Solver) -> None:
    """Without fresh noise each is the solver that it was made from, and draws nothing."""
    noise, tuning = Drawn(), Tuning(eta=0.0)
    found, asked = solve(solver, noise=noise, tuning=tuning)
    wanted, others = solve(plain, tuning=tuning)
    assert noise.used == 0
    assert close(found, wanted)
    assert [ask.step for ask in asked] == [ask.step for ask in others]


@pytest.mark.parametrize("eta", [0.3, 1.0])
@pytest.mark.parametrize(
    "solver",
    [
        solvers.euler_ancestral,
        solvers.dpm2_ancestral,
        solvers.dpmpp_2s_ancestral,
        solvers.dpmpp_sde,
        solvers.ddim,
        solvers.ddim_cfgpp,
        multistep.dpmpp_2m_sde,
        multistep.dpmpp_2m_sde_heun,
        multistep.dpmpp_3m_sde,
    ],
    ids=called,
)
def test_a_step_leads_to_the_next_levels_noise(solver: Solver, eta: float) -> None:
    """What is noise and nothing else has the next level's deviation after each step, however much of it is fresh."""
    tuning, silent = Tuning(eta=eta), Drawn([X * 0.0] * 40)
    for sigmas in pairwise(LEVELS[:-1]):
        kept, _ = solve(solver, sigmas, silent, tuning, x=X * sigmas[0], model=nothing)
        fresh, _ = solve(solver, sigmas, Drawn([X] * 40), tuning, x=X * 0.0, model=nothing)
        if solver is solvers.dpmpp_sde:  # the noise halfway is in what the model sees, not in where the step ends
            fresh = X * float((fresh / X).mean())
        assert math.hypot(float((kept / X).mean()), float((fresh / X).mean())) == pytest.approx(sigmas[1])
        assert 0 < float((fresh / X).mean()) < sigmas[1]
        silent.used = 0


@pytest.mark.parametrize("solver", [solvers.euler_ancestral, solvers.ddim, solvers.ddim_cfgpp], ids=called)
def test_half_of_eta_is_half_of_the_fresh_noise(solver: Solver) -> None:
    """`eta` is the factor on its deviation."""
    whole, half = (
        solve(solver, [5.0, 3.0], Drawn([X]), Tuning(eta=eta), x=X * 0.0, model=nothing)[0] for eta in (1.0, 0.5)
    )
    assert close(half * 2, whole)


@pytest.mark.parametrize("eta", [0.0, 0.25, 1.0, 3.0])
def test_down_and_up_again_is_the_next_level(eta: float) -> None:
    """Squares add up; `eta` of the process's own share of fresh noise, and never more than the level itself."""
    for sigma, after in pairwise(LEVELS):
        down, up = ancestral(sigma, after, eta)
        assert math.hypot(down, up) == pytest.approx(after)
        assert up == pytest.approx(min(after, eta * after * math.sqrt(1 - (after / sigma) ** 2)))


@pytest.mark.parametrize("solver", [solvers.euler, solvers.heun, solvers.dpm2], ids=called)
def test_churn_is_a_step_from_a_higher_level(solver: Solver) -> None:
    """Noise is added up to the level from which the step is then taken; in all it is `s_churn` times the level, but no
    more than doubles the variance, and only within the bounds, which belong to it."""
    for churn, share in ((0.5, 0.25), (9.0, math.sqrt(2) - 1)):
        for low, high in ((5.0, 10.0), (4.0, 5.0)):
            tuning = Tuning(s_churn=churn, s_tmin=low, s_tmax=high)
            higher = 5.0 * (1 + share)
            raised = X * 5.0 + NUMBERS[0] * math.sqrt(higher**2 - 25)
            found, asked = solve(solver, [5.0, 2.0, 1.0], tuning=tuning)
            assert asked[0].sigma == pytest.approx(higher)
            assert close(found, solve(solver, [higher, 2.0, 1.0], x=raised)[0])
        for low, high in ((5.1, 10.0), (2.1, 4.9)):
            tuning = Tuning(s_churn=churn, s_tmin=low, s_tmax=high)
            assert close(solve(solver, [5.0, 2.0, 1.0], tuning=tuning)[0], solve(solver, [5.0, 2.0, 1.0])[0])


TWICE = [step for step in range(STEPS) for _ in range(2)]


@pytest.mark.parametrize(
    ("solver", "steps"),
    [
        (solvers.euler, range(STEPS)),
        (solvers.euler_ancestral, range(STEPS)),
        (solvers.lcm, range(STEPS)),
        (solvers.ddim, range(STEPS)),
        (solvers.ddim_cfgpp, range(STEPS)),
        (solvers.heun, TWICE[:-1]),
        (solvers.restart, TWICE[:-1]),
        (solvers.dpm2, TWICE[:-1]),
        (solvers.dpm2_ancestral, TWICE[:-1]),
        (solvers.dpmpp_2s_ancestral, TWICE[:-1]),
        (solvers.dpmpp_sde, TWICE[:-1]),
        (multistep.lms, range(STEPS)),
        (multistep.plms, [0, *range(STEPS)]),
        (multistep.dpmpp_2m, range(STEPS)),
        (multistep.dpmpp_2m_sde, range(STEPS)),
        (multistep.dpmpp_2m_sde_heun, range(STEPS)),
        (multistep.dpmpp_3m_sde, range(STEPS)),
        (multistep.unipc, range(STEPS)),
        (adaptive.dpm_fast, [0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 11]),
    ],
    ids=called,
)
def test_each_prediction_is_for_a_step(solver: Solver, steps: Sequence[int]) -> None:
    """The step is told with what is asked, as often as the solver looks within it; only CFG++ asks for both."""
    _, asked = solve(solver)
    assert [ask.step for ask in asked] == list(steps)
    assert {ask.both for ask in asked} == {solver is solvers.ddim_cfgpp}
    assert asked[0].sigma == pytest.approx(LEVELS[0])


def test_where_there_is_no_noise_the_picture_is_the_prediction() -> None:
    """The last step, to 0, ends at what the model says, for the solvers that say so."""
    for solver in (solvers.euler, solvers.ddim, solvers.dpmpp_2s_ancestral, multistep.dpmpp_2m, multistep.unipc):
        found, asked = solve(solver, [3.0, 0.0])
        assert close(found, cleaned(asked[-1].x, 3.0))


@pytest.mark.parametrize("sigma", [0.003, 0.007, 0.02, 1.0])
def test_a_consistency_model_keeps_what_has_no_noise(sigma: float) -> None:
    """As published: with t = 1000 (1 - alpha_bar), the share 0.25 / ((10 t)² + 0.25) of the picture itself, as it is in
    the form that loses size, and the prediction by the root of the rest."""
    alpha_bar = 1 / (1 + sigma**2)
    t = 1000 * (1 - alpha_bar)
    skip, out = 0.25 / ((10 * t) ** 2 + 0.25), 10 * t / math.sqrt((10 * t) ** 2 + 0.25)
    found, asked = solve(solvers.lcm, [sigma, 0.0])
    x = asked[0].x
    assert close(found, cleaned(x, sigma) * out + x * math.sqrt(alpha_bar) * skip)


def test_plms_looks_ahead_once_and_never_at_no_noise() -> None:
    """Only in its first step, at whatever level, unless that leads to no noise."""
    found, asked = solve(multistep.plms, [3.0, 0.0])
    assert [ask.step for ask in asked] == [0]
    assert close(found, cleaned(asked[0].x, 3.0))
    assert [ask.step for ask in solve(multistep.plms, [0.8, 0.4, 0.0])[1]] == [0, 0, 1]


@pytest.mark.parametrize("after", [2.0, 3.0])
def test_a_jump_adds_the_noise_that_is_missing(after: float) -> None:
    """Squares add up."""
    found, asked = solve(solvers.restart, [0.1, after], x=X)
    assert asked == []
    assert close(found, X + NUMBERS[0] * math.sqrt(after**2 - 0.01))


@pytest.mark.parametrize("steps", [19, 20, 35, 36, 41])
def test_restarts_take_their_steps_from_the_rest(steps: int) -> None:
    """Below 20 steps none; then one detour of nine steps; from 36 on two, each of a quarter of the steps."""
    asked: list[tuple[int, float, float]] = []

    def make(count: int, low: float, high: float) -> list[float]:
        asked.append((count, low, high))
        return [*map(float, np.geomspace(high, low, count)), 0.0]

    levels = restart_levels(make, steps, 0.03, 14.0)
    if steps < 20:
        assert asked == [(steps, 0.03, 14.0)]
        assert levels == make(steps, 0.03, 14.0)
        return
    span, times = (9, 1) if steps < 36 else (steps // 4, 2)
    plain = make(steps - span * times, 0.03, 14.0)
    nearest = min(plain[:-1], key=lambda level: abs(level - 0.1))
    detour = make(span + 1, nearest, 2.0)[:-1]
    assert asked[:2] == [(steps - span * times, 0.03, 14.0), (span + 1, nearest, 2.0)]
    place = plain.index(nearest) + 1
    assert levels == [*plain[:place], *detour * times, *plain[place:]]


def test_the_last_level_may_be_the_one_to_jump_from() -> None:
    """Where it is the nearest to 0.1."""

    def make(count: int, low: float, high: float) -> list[float]:
        return [*map(float, np.geomspace(high, low, count)), 0.0]

    levels = restart_levels(make, 30, 0.11, 14.0)
    [(before, after)] = [(before, after) for before, after in pairwise(levels) if after > before]
    assert (before, after) == (pytest.approx(0.11), pytest.approx(2.0))


@pytest.mark.parametrize("low", [2.0, 3.0])
def test_a_schedule_above_the_jump_is_left_alone(low: float) -> None:
    """There is nothing to go back up to where the lowest level is not below 2."""

    def make(count: int, least: float, most: float) -> list[float]:
        return [*map(float, np.linspace(most, least, count)), 0.0]

    assert restart_levels(make, 30, low, 14.0) == make(21, low, 14.0)


def single(x: Any, time: float, after: float, order: int, model: Model = cleaned) -> tuple[Any, Any]:
    """DPM-Solver's single steps of the orders `order - 1` and `order`, as in the paper, with sigma = e^-t."""

    def eps(picture: Any, t: float) -> Any:
        return (picture - model(picture, math.exp(-t))) / math.exp(-t)

    h, grown = after - time, math.expm1(after - time)
    here, sigma = eps(x, time), math.exp(-after)
    first = x - sigma * grown * here
    if order == 1:
        return first, first
    r1, r2 = (1 / 2 if order == 2 else 1 / 3), 2 / 3
    u1 = x - math.exp(-(time + r1 * h)) * math.expm1(r1 * h) * here
    d1 = eps(u1, time + r1 * h) - here
    second = first - sigma / (2 * r1) * grown * d1
    if order == 2:
        return first, second
    s2 = math.exp(-(time + r2 * h))
    u2 = x - s2 * math.expm1(r2 * h) * here - s2 * r2 / r1 * (math.expm1(r2 * h) / (r2 * h) - 1) * d1
    d2 = eps(u2, time + r2 * h) - here
    return second, first - sigma / r2 * (grown / h - 1) * d2


def noised(time: float, after: float, end: float, eta: float) -> tuple[float, float]:
    """The time to go down to, and how much noise then leads up to `after`."""
    down, _ = ancestral(math.exp(-time), math.exp(-after), eta)
    down = min(end, -math.log(down))
    return down, math.sqrt(max(math.exp(-2 * after) - math.exp(-2 * down), 0.0)) if eta else 0.0


@pytest.mark.parametrize("eta", [0.0, 0.5])
@pytest.mark.parametrize(("count", "orders"), [(9, [3, 3, 2, 1]), (10, [3, 3, 3, 1]), (11, [3, 3, 3, 2]), (3, [2, 1])])
def test_dpm_fast_as_published(count: int, orders: list[int], eta: float) -> None:
    """Equal steps of -log(sigma), all of third order but for what the number of predictions leaves over."""
    sigmas = [*map(float, np.geomspace(10.0, 0.1, count)), 0.0]
    begin, end = -math.log(10.0), -math.log(0.1)
    x, drawn, asked = X * 10.0, Drawn(), 0
    for index, order in enumerate(orders):
        time, after = (begin + (end - begin) * place / len(orders) for place in (index, index + 1))
        down, up = noised(time, after, end, eta)
        x = single(x, time, down, order)[1]
        x = x + drawn.draw() * up if up else x
        asked += order
    noise = Drawn()
    found, steps = solve(adaptive.dpm_fast, sigmas, noise, Tuning(eta=eta))
    assert close(found, x)
    assert (len(steps), noise.used) == (asked, drawn.used)


@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_dpm_adaptive_as_published(eta: float) -> None:
    """A step counts where second and third order agree to 5 % or 0.0078, and its length follows the difference."""
    sigmas = [*map(float, np.geomspace(10.0, 0.1, 20)), 0.0]
    time, end, h = -math.log(10.0), -math.log(0.1), 0.05
    x, last, drawn, turns, refused = X * 10.0, X * 10.0, Drawn(), 0, 0
    while time < end - 1e-5:
        after = min(end, time + h)
        down, up = noised(time, after, end, eta)
        low, high = single(x, time, down, 3, sharp)
        size = np.maximum(0.0078, 0.05 * np.maximum(np.abs(low), np.abs(last)))
        factor = 1 + math.atan(float(np.sqrt((((low - high) / size) ** 2).mean())) ** (-1 / 3) - 1)
        if factor >= 0.81:
            x, last, time = high + drawn.draw() * up if up else high, low, after
        else:
            refused += 1
        h *= factor
        turns += 1
    found, asked = solve(adaptive.dpm_adaptive, sigmas, tuning=Tuning(eta=eta), model=sharp)
    assert close(found, x, 1e-6)
    assert len(asked) == 3 * turns
    places = [ask.step for ask in asked]
    assert places[0] == 0
    assert places == sorted(places)
    assert places[-1] < 20
    assert refused


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
def test_unipc_of_any_order_ends_where_the_equation_leads(variant: str) -> None:
    """More steps come nearer, faster with a higher order; with its last steps of lower order or not."""

    def end(count: int, **tuned: Any) -> Any:
        sigmas = [*map(float, np.geomspace(10.0, 0.1, count))]
        return solve(multistep.unipc, sigmas, tuning=Tuning(variant=variant, **tuned))[0]

    wanted = solve(solvers.heun, [*map(float, np.geomspace(10.0, 0.1, 3000))])[0]
    for order, most in ((1, 2e-2), (2, 2e-3), (3, 5e-4)):
        for lower in (True, False):
            errors = [
                float(np.abs(end(count, order=order, lower_order_final=lower) - wanted).max()) for count in (20, 80)
            ]
            assert errors[1] < most
            assert errors[1] < errors[0] / 3
    assert not close(end(20, lower_order_final=True), end(20, lower_order_final=False), 1e-6)
