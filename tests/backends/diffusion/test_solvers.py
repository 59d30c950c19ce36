"""Each solver against diffusers' scheduler of the same name, or against the recurrence as it was published.

The "model" is a smooth function of x and sigma, so that no network's noise hides a mistake; noise is handed to both.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import schedulers
from torch import Tensor

from velesio.backends.diffusion import adaptive, multistep, solvers
from velesio.backends.diffusion.samplers import SAMPLERS, choose
from velesio.backends.diffusion.schedules import Bounds, levels_of
from velesio.backends.diffusion.solvers import Solver, Tuning

# diffusers makes numpy arrays of tensors in a way that numpy will not allow some day
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

CONFIG = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
LEVELS = levels_of()
STEPS = 12


def epsilon(x: Any, sigma: float) -> Any:
    """The noise that the model sees in x (picture plus sigma times noise)."""
    return 0.9 * x / math.sqrt(sigma**2 + 1) + 0.05 * (x * 0.7 + sigma / (1 + sigma)) / (1 + sigma)


class Drawn:
    """Noise that was drawn beforehand, in order."""

    def __init__(self, numbers: Sequence[Tensor]) -> None:
        self.numbers = list(numbers)
        self.used = 0

    def draw(self) -> Tensor:
        self.used += 1
        return self.numbers[self.used - 1]

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        return self.draw()


def numbers(count: int = 200) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(1, 2, 4, 4, generator=generator, dtype=torch.float64) for _ in range(count)]


FIRST = numbers()[100]


def solve(
    solver: Solver, sigmas: Sequence[float], noise: Drawn | None = None, tuning: Tuning | None = None, x: Any = None
) -> Any:
    """Runs a solver on the model; x begins as pure noise."""
    path = solver(FIRST * sigmas[0] if x is None else x, sigmas, noise or Drawn(numbers()), tuning or Tuning())
    try:
        ask = next(path)
        while True:
            clean = ask.x - ask.sigma * epsilon(ask.x, ask.sigma)
            without = ask.x - ask.sigma * epsilon(ask.x, ask.sigma) * 0.9
            ask = path.send((clean, without) if ask.both else clean)
    except StopIteration as end:
        return end.value


def assert_close(found: Tensor, wanted: Tensor) -> None:
    """Relative to the largest value, 1e-4."""
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 1e-4


def run_in_sigma(scheduler: Any, steps: int = STEPS) -> tuple[Tensor, list[float]]:
    """A scheduler whose x is picture plus sigma times noise; its result and its levels."""
    scheduler.set_timesteps(steps)
    sigmas = [float(sigma) for sigma in scheduler.sigmas]
    x = FIRST.float() * sigmas[0]
    for number, time in enumerate(scheduler.timesteps):
        place = getattr(scheduler, "step_index", None)
        sigma = sigmas[number if place is None else place]
        given = scheduler.scale_model_input(x, time)
        x = scheduler.step(epsilon(given * math.sqrt(sigma**2 + 1), sigma), time, x, return_dict=False)[0]
    return x, sigmas


@pytest.mark.parametrize("karras", [False, True], ids=["uniform", "karras"])
def test_euler(karras: bool) -> None:
    """Equals EulerDiscreteScheduler."""
    x, sigmas = run_in_sigma(
        schedulers.EulerDiscreteScheduler(**CONFIG, timestep_spacing="linspace", use_karras_sigmas=karras)
    )
    assert_close(solve(solvers.euler, sigmas), x)
    name = "Euler Karras" if karras else "Euler"
    assert choose(name).levels(LEVELS, STEPS, Bounds()) == pytest.approx(sigmas, rel=1e-4)


def test_heun() -> None:
    """Equals HeunDiscreteScheduler."""
    scheduler = schedulers.HeunDiscreteScheduler(**CONFIG, timestep_spacing="linspace")
    scheduler.set_timesteps(STEPS)
    levels = [float(sigma) for sigma in scheduler.sigmas]
    x = FIRST.float() * levels[0]
    for time in scheduler.timesteps:
        given = scheduler.scale_model_input(x, time)
        sigma = levels[scheduler.step_index]
        x = scheduler.step(epsilon(given * math.sqrt(sigma**2 + 1), sigma), time, x, return_dict=False)[0]
    assert_close(solve(solvers.heun, choose("Heun").levels(LEVELS, STEPS, Bounds())), x)


def test_lms() -> None:
    """As published: slopes of up to four steps, weighed by the integrals of their Lagrange polynomials."""
    sigmas = uniform()
    x, slopes = FIRST * sigmas[0], []
    for step in range(STEPS):
        slopes = [epsilon(x, sigmas[step]), *slopes[:3]]
        known = [sigmas[step - back] for back in range(len(slopes))]
        for index, slope in enumerate(slopes):
            others = [level for other, level in enumerate(known) if other != index]
            basis = np.poly1d(others, r=True) / np.prod([known[index] - level for level in others])
            whole = np.poly1d(basis).integ()
            x = x + slope * float(whole(sigmas[step + 1]) - whole(sigmas[step]))
    assert_close(solve(multistep.lms, sigmas), x)


def test_euler_ancestral(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equals EulerAncestralDiscreteScheduler on the same noise."""
    drawn = iter(numbers())
    module = schedulers.scheduling_euler_ancestral_discrete
    monkeypatch.setattr(module, "randn_tensor", lambda *a, **k: next(drawn).float())
    x, sigmas = run_in_sigma(schedulers.EulerAncestralDiscreteScheduler(**CONFIG, timestep_spacing="linspace"))
    assert_close(solve(solvers.euler_ancestral, sigmas), x)


def test_dpm2() -> None:
    """Equals KDPM2DiscreteScheduler."""
    scheduler = schedulers.KDPM2DiscreteScheduler(**CONFIG, timestep_spacing="linspace")
    assert_close(solve(solvers.dpm2, uniform()), run_interpolated(scheduler))


def test_dpm2_ancestral(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equals KDPM2AncestralDiscreteScheduler on the same noise. That one's middle level lies between sigma and the
    level down to which it goes, as here."""
    drawn = iter(numbers())
    module = schedulers.scheduling_k_dpm_2_ancestral_discrete
    monkeypatch.setattr(module, "randn_tensor", lambda *a, **k: next(drawn).float())
    scheduler = schedulers.KDPM2AncestralDiscreteScheduler(**CONFIG, timestep_spacing="linspace")
    assert_close(solve(solvers.dpm2_ancestral, uniform()), run_interpolated(scheduler, back=1))


def uniform(steps: int = STEPS) -> list[float]:
    return choose("Euler").levels(LEVELS, steps, Bounds())


def run_interpolated(scheduler: Any, back: int = 0) -> Tensor:
    """A scheduler with two calls a step, of which the second is at a level of its own, `back` places before."""
    scheduler.set_timesteps(STEPS)
    x = FIRST.float() * float(scheduler.sigmas[0])
    for time in scheduler.timesteps:
        given = scheduler.scale_model_input(x, time)
        half = not scheduler.state_in_first_order
        place = scheduler.step_index
        sigma = float(scheduler.sigmas_interpol[place - back] if half else scheduler.sigmas[place])
        x = scheduler.step(epsilon(given * math.sqrt(sigma**2 + 1), sigma), time, x, return_dict=False)[0]
    return x


def run_in_alpha(scheduler: Any, steps: int = STEPS, **step: Any) -> tuple[Tensor, list[float]]:
    """A scheduler whose x loses size as it gains noise; its result and the levels of its timesteps."""
    scheduler.set_timesteps(steps)
    kept = scheduler.alphas_cumprod
    x = FIRST.float()
    levels = []
    for time in scheduler.timesteps:
        alpha = float(kept[int(time)])
        sigma = math.sqrt((1 - alpha) / alpha)
        levels.append(sigma)
        x = scheduler.step(epsilon(x / math.sqrt(alpha), sigma), time, x, return_dict=False, **step)[0]
    return x, levels


def test_ddim() -> None:
    """Equals DDIMScheduler without noise; its x is ours at the size that the last level leaves."""
    scheduler = schedulers.DDIMScheduler(
        **CONFIG, clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading"
    )
    x, levels = run_in_alpha(scheduler, 20)
    sigmas = choose("DDIM").levels(LEVELS, 20, Bounds())
    assert sigmas[:-1] == pytest.approx(levels, rel=1e-4)
    begin = FIRST * math.sqrt(1 + sigmas[0] ** 2)
    found = solve(solvers.ddim, sigmas, tuning=Tuning(eta=0.0), x=begin)
    assert_close(found / math.sqrt(1 + sigmas[-1] ** 2), x)


def test_ddim_with_noise() -> None:
    """The same for eta 1 on the same noise."""
    scheduler = schedulers.DDIMScheduler(
        **CONFIG, clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading"
    )
    scheduler.set_timesteps(20)
    drawn = iter(numbers())
    x = FIRST.float()
    for time in scheduler.timesteps:
        alpha = float(scheduler.alphas_cumprod[int(time)])
        sigma = math.sqrt((1 - alpha) / alpha)
        x = scheduler.step(
            epsilon(x / math.sqrt(alpha), sigma),
            time,
            x,
            eta=1.0,
            variance_noise=next(drawn).float(),
            return_dict=False,
        )[0]
    sigmas = choose("DDIM").levels(LEVELS, 20, Bounds())
    found = solve(solvers.ddim, sigmas, tuning=Tuning(eta=1.0), x=FIRST * math.sqrt(1 + sigmas[0] ** 2))
    assert_close(found / math.sqrt(1 + sigmas[-1] ** 2), x)


@pytest.mark.parametrize("variant", ["bh1", "bh2"])
@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc(variant: str, order: int) -> None:
    """Equals UniPCMultistepScheduler."""
    scheduler = schedulers.UniPCMultistepScheduler(
        **CONFIG, solver_order=order, solver_type=variant, lower_order_final=True, final_sigmas_type="sigma_min"
    )
    x, levels = run_in_alpha(scheduler)
    sigmas = [*levels, float(scheduler.sigmas[-1])]
    tuning = Tuning(variant=variant, order=order)
    found = solve(multistep.unipc, sigmas, tuning=tuning, x=FIRST * math.sqrt(1 + sigmas[0] ** 2))
    assert_close(found / math.sqrt(1 + sigmas[-1] ** 2), x)


def test_plms() -> None:
    """Equals PNDMScheduler without its Runge-Kutta steps."""
    scheduler = schedulers.PNDMScheduler(**CONFIG, skip_prk_steps=True, steps_offset=1, set_alpha_to_one=False)
    scheduler.set_timesteps(20)
    x = FIRST.float()
    for time in scheduler.timesteps:
        alpha = float(scheduler.alphas_cumprod[int(time)])
        x = scheduler.step(epsilon(x / math.sqrt(alpha), math.sqrt((1 - alpha) / alpha)), time, x, return_dict=False)[0]
    sigmas = choose("PLMS").levels(LEVELS, 20, Bounds())
    found = solve(multistep.plms, sigmas, x=FIRST * math.sqrt(1 + sigmas[0] ** 2))
    assert_close(found / math.sqrt(1 + sigmas[-1] ** 2), x)


def multistep_scheduler(**options: Any) -> Any:
    return schedulers.DPMSolverMultistepScheduler(
        **CONFIG, final_sigmas_type="zero", timestep_spacing="linspace", **options
    )


def run_multistep(scheduler: Any, monkeypatch: pytest.MonkeyPatch | None = None) -> tuple[Tensor, list[float]]:
    """DPMSolverMultistepScheduler: x is picture times alpha plus noise; result and levels."""
    if monkeypatch is not None:
        drawn = iter(numbers())
        module = schedulers.scheduling_dpmsolver_multistep
        monkeypatch.setattr(module, "randn_tensor", lambda *a, **k: next(drawn).float())
    scheduler.set_timesteps(STEPS)
    sigmas = [float(sigma) for sigma in scheduler.sigmas]
    x = FIRST.float() * sigmas[0] / math.sqrt(1 + sigmas[0] ** 2)
    for number, time in enumerate(scheduler.timesteps):
        sigma = sigmas[number]
        x = scheduler.step(epsilon(x * math.sqrt(1 + sigma**2), sigma), time, x, return_dict=False)[0]
    return x, sigmas


def test_dpmpp_2m() -> None:
    """Equals DPMSolverMultistepScheduler of order 2."""
    x, sigmas = run_multistep(
        multistep_scheduler(algorithm_type="dpmsolver++", solver_order=2, euler_at_final=True, use_karras_sigmas=True)
    )
    assert_close(solve(multistep.dpmpp_2m, sigmas), x)


@pytest.mark.parametrize(
    ("solver", "kind"), [(multistep.dpmpp_2m_sde, "midpoint"), (multistep.dpmpp_2m_sde_heun, "heun")]
)
def test_dpmpp_2m_sde(solver: Solver, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equals DPMSolverMultistepScheduler's stochastic form on the same noise."""
    scheduler = multistep_scheduler(
        algorithm_type="sde-dpmsolver++", solver_order=2, solver_type=kind, euler_at_final=True, use_karras_sigmas=True
    )
    x, sigmas = run_multistep(scheduler, monkeypatch)
    assert_close(solve(solver, sigmas), x)


def test_dpmpp_sde(monkeypatch: pytest.MonkeyPatch) -> None:
    """As published (Lu et al. 2022, with the noise of a Brownian motion): written out with exponentials."""
    sigmas = choose("DPM++ SDE").levels(LEVELS, STEPS, Bounds())
    drawn = Drawn(numbers())
    x = FIRST * sigmas[0]
    for sigma, after in pairwise(sigmas):
        clean = x - sigma * epsilon(x, sigma)
        if after == 0:
            x = clean
            break
        time, then = -math.log(sigma), -math.log(after)
        middle = math.exp(-(time + (then - time) / 2))
        down, up = solvers.ancestral(sigma, middle, 1.0)
        inner = (down / sigma) * x - math.expm1(time + math.log(down)) * clean + drawn.draw() * up
        better = inner - middle * epsilon(inner, middle)
        down, up = solvers.ancestral(sigma, after, 1.0)
        x = (down / sigma) * x - math.expm1(time + math.log(down)) * better + drawn.draw() * up
    assert_close(solve(solvers.dpmpp_sde, sigmas), x)


def test_dpmpp_2s_ancestral() -> None:
    """As published, without noise: DPMSolverSinglestepScheduler's second order with a step in the middle."""
    sigmas = choose("DPM++ 2S a").levels(LEVELS, STEPS, Bounds())
    x = FIRST * sigmas[0]
    for sigma, after in pairwise(sigmas):
        clean = x - sigma * epsilon(x, sigma)
        if after == 0:
            x = clean
            break
        h = math.log(sigma / after)
        middle = sigma * math.exp(-h / 2)
        inner = (middle / sigma) * x - math.expm1(-h / 2) * clean
        better = inner - middle * epsilon(inner, middle)
        x = (after / sigma) * x - math.expm1(-h) * better
    assert_close(solve(solvers.dpmpp_2s_ancestral, sigmas, tuning=Tuning(eta=0.0)), x)


def test_lcm() -> None:
    """Equals LCMScheduler on the same noise."""
    scheduler = schedulers.LCMScheduler(**CONFIG, clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(4, original_inference_steps=50)
    drawn = iter(numbers())
    x, levels = FIRST.float(), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedulers.scheduling_lcm, "randn_tensor", lambda *a, **k: next(drawn).float())
        for time in scheduler.timesteps:
            alpha = float(scheduler.alphas_cumprod[int(time)])
            levels.append(math.sqrt((1 - alpha) / alpha))
            x = scheduler.step(epsilon(x / math.sqrt(alpha), levels[-1]), time, x, return_dict=False)[0]
    sigmas = [*levels, 0.0]
    assert_close(solve(solvers.lcm, sigmas, x=FIRST * math.sqrt(1 + sigmas[0] ** 2)), x)


def exact(sigmas: Sequence[float], fine: int = 4000) -> Tensor:
    """The model's own path, by so many small steps that any solver's must end near it."""
    low = next(sigma for sigma in reversed(sigmas) if sigma > 0)
    steps = np.exp(np.linspace(math.log(sigmas[0]), math.log(low), fine))
    return solve(solvers.heun, [*map(float, steps)])


@pytest.mark.parametrize(
    ("solver", "evaluations", "tolerance"),
    [
        (adaptive.dpm_fast, 30, 2e-3),
        (adaptive.dpm_fast, 31, 2e-3),
        (adaptive.dpm_fast, 32, 2e-3),
        (adaptive.dpm_adaptive, 20, 2e-2),
    ],
)
def test_dpm_solvers_follow_the_path(solver: Solver, evaluations: int, tolerance: float) -> None:
    """Without noise DPM-Solver ends where the equation leads, whatever the number of evaluations leaves over."""
    sigmas = uniform(evaluations)
    found, wanted = solve(solver, sigmas, tuning=Tuning(eta=0.0)), exact(sigmas)
    assert float((found - wanted).abs().max() / wanted.abs().max()) < tolerance


def test_dpm_fast_is_of_third_order() -> None:
    """Three times as many evaluations leave less than a tenth of the error."""
    wanted = exact(uniform(12))
    errors = [
        float((solve(adaptive.dpm_fast, uniform(count), tuning=Tuning(eta=0.0)) - wanted).abs().max())
        for count in (12, 36)
    ]
    assert errors[1] < errors[0] / 10


def test_dpmpp_3m_sde_without_noise() -> None:
    """At eta 0 DPMSolverMultistepScheduler of order 3, but for its second step, whose second-order form differs."""
    x, sigmas = run_multistep(
        multistep_scheduler(
            algorithm_type="dpmsolver++",
            solver_order=3,
            lower_order_final=False,
            euler_at_final=True,
            use_karras_sigmas=True,
        )
    )
    found = solve(multistep.dpmpp_3m_sde, sigmas, tuning=Tuning(eta=0.0))
    assert float((found - x).abs().max() / x.abs().max()) < 1e-3


def test_dpmpp_3m_sde_as_published() -> None:
    """On the same noise: the third-order step of k-diffusion's definition, written out."""
    sigmas = choose("DPM++ 3M SDE").levels(LEVELS, STEPS, Bounds())
    drawn = Drawn(numbers())
    x, past, h_1, h_2 = FIRST * sigmas[0], [], 0.0, 0.0
    for sigma, after in pairwise(sigmas):
        clean = x - sigma * epsilon(x, sigma)
        if after == 0:
            x = clean
            break
        h = math.log(sigma / after)
        h_eta = h * 2
        x = math.exp(-h_eta) * x - math.expm1(-h_eta) * clean
        phi_2 = math.expm1(-h_eta) / h_eta + 1
        phi_3 = phi_2 / h_eta - 0.5
        if len(past) > 1:
            r0, r1 = h_1 / h, h_2 / h
            d1_0, d1_1 = (clean - past[0]) / r0, (past[0] - past[1]) / r1
            d1 = d1_0 + (d1_0 - d1_1) * r0 / (r0 + r1)
            d2 = (d1_0 - d1_1) / (r0 + r1)
            x = x + phi_2 * d1 - phi_3 * d2
        elif past:
            x = x + phi_2 * (clean - past[0]) / (h_1 / h)
        x = x + drawn.draw() * after * math.sqrt(-math.expm1(-2 * h))
        past, h_1, h_2 = [clean, *past[:1]], h, h_1
    assert_close(solve(multistep.dpmpp_3m_sde, sigmas), x)


def test_restart_jumps_back() -> None:
    """Levels fall, but for the jumps from about 0.1 to 2, and about as many steps are taken as asked."""
    for steps, jumps in [(10, 0), (20, 1), (35, 1), (36, 2), (60, 2)]:
        sigmas = choose("Restart").levels(LEVELS, steps, Bounds())
        up = [(before, after) for before, after in pairwise(sigmas) if after > before]
        assert len(up) == jumps
        assert all(0.03 < before < 0.3 and after == pytest.approx(2.0) for before, after in up)
        assert abs(len(sigmas) - 1 - jumps - steps) <= 2


def test_restart_without_jumps_is_heun() -> None:
    """Below 20 steps there is nothing else to it."""
    sigmas = choose("Restart").levels(LEVELS, STEPS, Bounds())
    assert_close(solve(solvers.restart, sigmas), solve(solvers.heun, sigmas))


def test_restart_noise_leads_up() -> None:
    """A jump adds noise of just the missing deviation."""
    found = solve(solvers.restart, [0.1, 2.0], x=FIRST)
    assert_close(found, FIRST + numbers()[0] * math.sqrt(2.0**2 - 0.1**2))


def test_cfgpp_renoises_along_the_unprompted_prediction() -> None:
    """x after a step is the guided clean picture plus the next level times the unguided noise."""
    sigmas = [5.0, 2.0]
    x = FIRST * 5
    clean, without = x - 5 * epsilon(x, 5), x - 5 * epsilon(x, 5) * 0.9
    assert_close(solve(solvers.ddim_cfgpp, sigmas, tuning=Tuning(eta=0.0)), clean + (x - without) / 5 * 2)


def test_churn_is_eulers() -> None:
    """Equals EulerDiscreteScheduler's churn on the same noise, between the levels asked for."""
    scheduler = schedulers.EulerDiscreteScheduler(**CONFIG, timestep_spacing="linspace")
    scheduler.set_timesteps(STEPS)
    sigmas = [float(sigma) for sigma in scheduler.sigmas]
    drawn = iter(numbers())
    x = FIRST.float() * sigmas[0]
    churn, low, high = 3.0, 0.5, 10.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schedulers.scheduling_euler_discrete, "randn_tensor", lambda *a, **k: next(drawn).float())
        for number, time in enumerate(scheduler.timesteps):
            sigma = sigmas[number]
            gamma = min(churn / (len(sigmas) - 1), 2**0.5 - 1) if low <= sigma <= high else 0.0
            hat = sigma * (gamma + 1)
            noised = x
            if gamma:  # the scheduler adds this itself; the model must be asked at the same place
                noised = x + numbers()[_churned(sigmas, number, low, high)].float() * (hat**2 - sigma**2) ** 0.5
            x = scheduler.step(
                epsilon(noised, hat), time, x, s_churn=churn, s_tmin=low, s_tmax=high, return_dict=False
            )[0]
    noise = Drawn(numbers())
    found = solve(solvers.euler, sigmas, noise, Tuning(s_churn=churn, s_tmin=low, s_tmax=high))
    assert noise.used == _churned(sigmas, len(sigmas) - 1, low, high)
    assert_close(found, x)


def _churned(sigmas: Sequence[float], before: int, low: float, high: float) -> int:
    return sum(low <= sigma <= high for sigma in sigmas[:before])


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.name)
def test_every_solver_ends(sampler: Any) -> None:
    """Finite numbers at the end, for few and for many steps."""
    for steps in (1, 2, 3, 20, 40):
        sigmas = choose(sampler.name).levels(LEVELS, steps, Bounds())
        found = solve(sampler.solver, sigmas, Drawn(numbers(2500)))
        assert torch.isfinite(found).all()
        assert float(found.abs().max()) < 50
