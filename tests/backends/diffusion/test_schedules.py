"""Noise schedules as tables: known values, ends, and diffusers' own where it has the same one."""

import math
from itertools import pairwise
from typing import Any

import pytest
from diffusers import EulerDiscreteScheduler
from hypothesis import given
from hypothesis import strategies as st

from velesio.backends.diffusion.beta_function import probability, quantile
from velesio.backends.diffusion.samplers import SAMPLERS, choose
from velesio.backends.diffusion.schedules import (
    SCHEDULES,
    Bounds,
    Levels,
    changed,
    consistency,
    levels_of,
    linspace,
    timesteps,
    unified,
)
from velesio.errors import BadRequest

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")

LEVELS = levels_of()
TABLES = {
    "uniform": [14.6146, 4.0861, 1.6156, 0.6952, 0.0292, 0.0],
    "karras": [14.6146, 4.7974, 1.2741, 0.2481, 0.0292, 0.0],
    "exponential": [14.6146, 3.0890, 0.6529, 0.1380, 0.0292, 0.0],
    "polyexponential": [14.6146, 3.0890, 0.6529, 0.1380, 0.0292, 0.0],
    "sgm_uniform": [14.6146, 5.0918, 2.2797, 1.1633, 0.5712, 0.0],
    "kl_optimal": [14.6146, 2.6330, 1.2952, 0.7120, 0.3358, 0.0292],
    "align_your_steps": [14.6150, 3.2269, 1.3960, 0.5100, 0.0290, 0.0],
    "simple": [14.6146, 5.0883, 2.2756, 1.1608, 0.5694, 0.0],
    "normal": [14.6146, 4.0861, 1.6156, 0.6952, 0.0292, 0.0],
    "ddim": [5.1339, 2.2926, 1.1684, 0.5743, 0.0413, 0.0],
    "beta": [14.6146, 12.0519, 7.3219, 2.5919, 0.0292, 0.0],
}
NAMED = [schedule for schedule in SCHEDULES if schedule.make]


def made(name: str, steps: int, levels: Levels = LEVELS, **bounds: float) -> list[float]:
    schedule = next(each for each in SCHEDULES if each.name == name)
    assert schedule.make
    return schedule.make(levels, steps, Bounds(**bounds))


@pytest.mark.parametrize("schedule", NAMED, ids=lambda schedule: schedule.name)
def test_five_steps(schedule: Any) -> None:
    """The table of five steps on Stable Diffusion's own levels."""
    assert made(schedule.name, 5) == pytest.approx(TABLES[schedule.name], abs=2e-3)


@pytest.mark.parametrize("schedule", NAMED, ids=lambda schedule: schedule.name)
@given(steps=st.integers(2, 150))
def test_levels_fall(schedule: Any, steps: int) -> None:
    """Every schedule falls and ends without noise (kl optimal: at the smallest level), for any number of steps."""
    found = made(schedule.name, steps)
    assert all(before > after for before, after in pairwise(found))
    assert found[-1] == (pytest.approx(LEVELS.smallest) if schedule.name == "kl_optimal" else 0.0)
    assert schedule.name == "ddim" or len(found) == steps + 1


@pytest.mark.parametrize(
    ("name", "switch"), [("karras", "use_karras_sigmas"), ("exponential", "use_exponential_sigmas"), ("uniform", "")]
)
def test_diffusers_has_the_same(name: str, switch: str) -> None:
    """Karras, exponential and uniform levels are those of EulerDiscreteScheduler."""
    options = {switch: True} if switch else {}
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace", **options
    )
    scheduler.set_timesteps(20)
    assert made(name, 20) == pytest.approx([float(sigma) for sigma in scheduler.sigmas], rel=1e-4)


def test_published_tables() -> None:
    """Align your steps at eleven steps is the published table, of the family's own."""
    assert made("align_your_steps", 11)[:3] == [14.615, 6.475, 3.861]
    assert made("align_your_steps", 11, levels_of(sdxl=True))[:3] == [14.615, 6.315, 3.771]


def test_bounds_bend() -> None:
    """Smallest and largest level and rho are those asked for."""
    found = made("karras", 3, smallest=0.5, largest=8.0, rho=1.0)
    assert found == pytest.approx([8.0, 4.25, 0.5, 0.0])


def test_timesteps() -> None:
    """Solvers by timesteps see every so many-th one, from the second on, and end at the first."""
    found = timesteps(LEVELS, 20, Bounds())
    assert found == [*(LEVELS.sigmas[time] for time in range(951, 0, -50)), LEVELS.sigmas[0]]


def test_consistency_levels() -> None:
    """A latent consistency model begins at the last of the fifty levels that it knows."""
    found = consistency(LEVELS, 4, Bounds())
    assert found[0] == pytest.approx(LEVELS.sigmas[999])
    assert found[3] == pytest.approx(LEVELS.sigmas[19])
    assert found[-1] == 0.0


@given(st.floats(0, 999))
def test_timestep_and_sigma_are_inverse(time: float) -> None:
    """A level's timestep is the one that it was made of; beyond the ends, the end."""
    assert LEVELS.timestep(LEVELS.sigma(time)) == pytest.approx(time, abs=1e-6)
    assert (LEVELS.timestep(1e-9), LEVELS.timestep(1e9)) == (0, 999)


def test_zero_terminal_levels() -> None:
    """Rescaled levels keep the first and end in nearly nothing but noise."""
    found = levels_of(zero_terminal=True)
    assert found.smallest == pytest.approx(LEVELS.smallest, rel=1e-6)
    assert found.largest > 4000


def test_beta_distribution() -> None:
    """Known values of the incomplete beta function, and quantiles that invert it."""
    assert probability(0.5, 2, 3) == pytest.approx(0.6875)
    assert probability(0.25, 0.5, 0.5) == pytest.approx(2 / math.pi * math.asin(0.5))
    for part in (0.001, 0.1, 0.5, 0.9, 0.999):
        assert probability(quantile(part, 0.6, 0.6), 0.6, 0.6) == pytest.approx(part)


@pytest.mark.parametrize("sampler", SAMPLERS, ids=lambda sampler: sampler.name)
def test_names_carry_schedules(sampler: Any) -> None:
    """Every sampler is known by name, alias and with any schedule behind it, in any case."""
    for name in (sampler.name, sampler.name.lower(), *sampler.aliases):
        assert choose(name).sampler is sampler
        for schedule in NAMED:
            for label in (schedule.name, schedule.label, *schedule.aliases):
                assert choose(f"{name} {label}").schedule is schedule
                assert choose(name, label).schedule is schedule
    assert choose(f"{sampler.name} Karras", "exponential").schedule.name == "karras"


def test_automatic_is_the_samplers_own() -> None:
    """What runs is told by its name."""
    for name, label in [
        ("DPM++ 2M", "Karras"),
        ("DPM++ 2M SDE", "Exponential"),
        ("Euler", "Uniform"),
        ("DDIM", "Automatic"),
    ]:
        assert choose(name).resolved.label == label


def test_unknown_names_are_refused_with_the_nearest() -> None:
    """Samplers and schedules."""
    with pytest.raises(BadRequest, match=r"'DPM\+\+ 2M'"):
        choose("DPM++2MM")
    with pytest.raises(BadRequest, match="'Exponential'"):
        choose("Euler", "exponental")


def test_the_penultimate_level_is_dropped_where_it_belongs() -> None:
    """DPM2 leaves out the last level but one of a schedule with one step more."""
    whole = made("karras", 11)
    assert choose("DPM2").levels(LEVELS, 10, Bounds()) == [*whole[:-2], 0.0]
    assert choose("DPM++ 2M").levels(LEVELS, 10, Bounds(), drop_penultimate=True) == [*whole[:-2], 0.0]


def test_levels_changed_by_a_request() -> None:
    """Half precision moves them a little; a last level of nothing but noise is that of a model made so."""
    halved = changed(LEVELS, half_alphas=True)
    assert halved.sigmas != LEVELS.sigmas
    assert halved.sigmas == pytest.approx(LEVELS.sigmas, rel=0.2)
    terminal = changed(LEVELS, zero_terminal=True)
    assert terminal.sigmas == pytest.approx(levels_of(zero_terminal=True).sigmas, rel=1e-6)
    assert changed(LEVELS).sigmas == pytest.approx(LEVELS.sigmas)


def test_unipcs_own_schedules() -> None:
    """Equal distances in time's root, or in the logarithm; both from the first level to the last."""
    plain, root, log = (unified(LEVELS, 5, Bounds(skip=skip)) for skip in ("time_uniform", "time_quadratic", "logSNR"))
    assert plain == timesteps(LEVELS, 5, Bounds())
    for found in (root, log):
        assert (len(found), found[0], found[-1]) == (6, pytest.approx(LEVELS.largest), pytest.approx(LEVELS.smallest))
    roots = [math.sqrt(LEVELS.timestep(level)) for level in root]
    assert roots == pytest.approx(linspace(roots[0], 0, 6), abs=1e-6)
    assert [after / before for before, after in pairwise(log)] == pytest.approx([log[1] / log[0]] * 5)
