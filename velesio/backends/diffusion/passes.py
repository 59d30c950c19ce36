"""Passes: how many steps a pass over a picture takes, and from which noise on. Pure."""

import math
from typing import NamedTuple

from velesio.backends.diffusion.samplers import Choice
from velesio.backends.diffusion.schedules import Bounds, Levels
from velesio.backends.diffusion.solvers import Tuning
from velesio.jobs import Solving

_MOST = 0.999
"""The share of the steps that a picture which is given gets at most: at 1 the arithmetic would have no last step."""


_OLD_KARRAS = (0.1, 10.0)


class Span(NamedTuple):
    """The part of a schedule that a pass runs."""

    sigmas: tuple[float, ...]
    """From the first noise to the last level."""
    first: int
    """The step of the whole schedule with which it begins."""
    steps: int
    """Of the whole schedule: what fractions in prompts are fractions of."""

    @property
    def length(self) -> int:
        """Steps that are taken."""
        return len(self.sigmas) - 1


def from_noise(choice: Choice, levels: Levels, steps: int, solving: Solving) -> Span:
    """A pass that begins with nothing but noise."""
    sigmas = _levels(choice, levels, steps, solving)
    return Span(tuple(sigmas), 0, steps)


def from_picture(choice: Choice, levels: Levels, steps: int, solving: Solving, *, strength: float, exact: bool) -> Span:
    """A pass over a picture: the last part of the schedule, `int(steps * strength) + 1` steps of it.

    `exact`: `steps` steps, of a schedule that is longer accordingly.
    """
    share = min(strength, _MOST)
    whole, last = (int(steps / share), steps - 1) if exact and share > 0 else (steps, int(share * steps))
    sigmas = _levels(choice, levels, max(whole, 1), solving)
    kept = min(last + 2, len(sigmas))
    return Span(tuple(sigmas[-kept:]), len(sigmas) - kept, max(whole, 1))


def _levels(choice: Choice, levels: Levels, steps: int, solving: Solving) -> list[float]:
    ends = solving.sigma_min, solving.sigma_max
    if solving.old_karras and choice.resolved.name == "karras":
        ends = _OLD_KARRAS
    bounds = Bounds(*ends, solving.rho, solving.beta_alpha, solving.beta_beta, solving.uni_pc_skip)
    return choice.levels(levels, steps, bounds, drop_penultimate=solving.discard_penultimate)


def tuning(choice: Choice, solving: Solving) -> Tuning:
    """What a request turns, with the sampler's own where it says nothing."""
    if choice.sampler.by_timesteps:
        eta = solving.eta if solving.eta is not None else solving.eta_ddim or 0.0
    else:
        eta = solving.eta if solving.eta is not None else 1.0
    return Tuning(
        eta=eta,
        s_churn=solving.s_churn,
        s_tmin=solving.s_tmin,
        s_tmax=solving.s_tmax or math.inf,
        s_noise=solving.s_noise,
        variant=solving.uni_pc_variant,
        order=solving.uni_pc_order,
        lower_order_final=solving.uni_pc_lower_order_final,
    )


def first_scale(choice: Choice, sigma: float, solving: Solving) -> float:
    """The deviation of x where there is nothing but noise."""
    whole = choice.sampler.by_timesteps or solving.sgm_noise
    return math.sqrt(1 + sigma**2) if whole else sigma


def last_scale(choice: Choice, sigma: float) -> float:
    """The factor on x after the last level: solvers by timesteps end with what little signal that level leaves out."""
    return 1 / math.sqrt(1 + sigma**2) if choice.sampler.by_timesteps and sigma > 0 else 1.0
