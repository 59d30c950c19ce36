"""Samplers: the names that people know, each a solver with a schedule of its own.

A name may carry a schedule: "DPM++ 2M Karras". Case and blanks do not matter; the old names (`k_euler_a`) work too.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from velesio.backends.diffusion import adaptive, multistep, solvers
from velesio.backends.diffusion.schedules import (
    SCHEDULES,
    Bounds,
    Levels,
    Schedule,
    consistency,
    karras,
    timesteps,
    unified,
    uniform,
)
from velesio.backends.diffusion.solvers import Solver
from velesio.errors import BadRequest
from velesio.nearest import nearest, quoted


class Sampler(NamedTuple):
    """A solver by its names."""

    name: str
    aliases: tuple[str, ...]
    solver: Solver
    schedule: str = "uniform"
    """The one that `automatic` means; empty: none of the named ones serves it."""
    drops_penultimate: bool = False
    """Whether the last level but one is left out, which makes the last step less abrupt."""
    by_timesteps: bool = False
    """Whether it was defined on pictures that lose size as they gain noise: it then begins at unit size."""


SAMPLERS = (
    Sampler("DPM++ 2M", ("k_dpmpp_2m",), multistep.dpmpp_2m, "karras"),
    Sampler("DPM++ SDE", ("k_dpmpp_sde",), solvers.dpmpp_sde, "karras"),
    Sampler("DPM++ 2M SDE", ("k_dpmpp_2m_sde",), multistep.dpmpp_2m_sde, "exponential"),
    Sampler("DPM++ 2M SDE Heun", ("k_dpmpp_2m_sde_heun",), multistep.dpmpp_2m_sde_heun, "exponential"),
    Sampler("DPM++ 2S a", ("k_dpmpp_2s_a",), solvers.dpmpp_2s_ancestral, "karras"),
    Sampler(
        "DPM++ 3M SDE",
        ("k_dpmpp_3m_sde",),
        multistep.dpmpp_3m_sde,
        "exponential",
        drops_penultimate=True,
    ),
    Sampler("Euler a", ("k_euler_a", "k_euler_ancestral"), solvers.euler_ancestral),
    Sampler("Euler", ("k_euler",), solvers.euler),
    Sampler("LMS", ("k_lms",), multistep.lms),
    Sampler("Heun", ("k_heun",), solvers.heun),
    Sampler("DPM2", ("k_dpm_2",), solvers.dpm2, "karras", drops_penultimate=True),
    Sampler(
        "DPM2 a",
        ("k_dpm_2_a", "k_dpm_2_ancestral"),
        solvers.dpm2_ancestral,
        "karras",
        drops_penultimate=True,
    ),
    Sampler("DPM fast", ("k_dpm_fast",), adaptive.dpm_fast, ""),
    Sampler("DPM adaptive", ("k_dpm_ad", "k_dpm_adaptive"), adaptive.dpm_adaptive, ""),
    Sampler("LCM", ("k_lcm",), solvers.lcm, "consistency"),
    Sampler("Restart", ("restart",), solvers.restart, "karras"),
    Sampler("DDIM", ("ddim",), solvers.ddim, "timesteps", by_timesteps=True),
    Sampler("DDIM CFG++", ("ddim_cfgpp",), solvers.ddim_cfgpp, "timesteps", by_timesteps=True),
    Sampler("PLMS", ("plms",), multistep.plms, "timesteps", by_timesteps=True),
    Sampler("UniPC", ("unipc",), multistep.unipc, "unified", by_timesteps=True),
)
"""In the order of the web API's list."""

_OWN: dict[str, Callable[[Levels, int, Bounds], list[float]]] = {
    "timesteps": timesteps,
    "unified": unified,
    "consistency": consistency,
    "": uniform,
}
"""Schedules that belong to one sampler and have no name outside."""
_CFGPP_SHARE = 1 / 12.5
"""What a guidance scale means to CFG++."""


class Choice(NamedTuple):
    """A sampler with the schedule that it runs on."""

    sampler: Sampler
    schedule: Schedule
    """As asked; Automatic stays Automatic."""

    @property
    def resolved(self) -> Schedule:
        """The named schedule that runs; Automatic where the sampler's own has no name."""
        return self.schedule if self.schedule.make else _SCHEDULES.get(self.sampler.schedule, self.schedule)

    @property
    def guidance_share(self) -> float:
        """The factor on the guidance scale."""
        return _CFGPP_SHARE if self.sampler.solver is solvers.ddim_cfgpp else 1.0

    def levels(self, known: Levels, steps: int, bounds: Bounds, *, drop_penultimate: bool = False) -> list[float]:
        """The noise levels of `steps` steps, falling."""
        if self.sampler.solver is solvers.restart:
            low, high = bounds.smallest or known.smallest, bounds.largest or known.largest
            return solvers.restart_levels(
                lambda count, least, most: karras(known, count, Bounds(least, most, bounds.rho)), steps, low, high
            )
        drop = drop_penultimate or self.sampler.drops_penultimate
        make = self.schedule.make or self.resolved.make or _OWN[self.sampler.schedule]
        made = make(known, steps + drop, bounds)
        return [*made[:-2], made[-1]] if drop and len(made) > 2 else made


def choose(name: str, schedule: str = "") -> Choice:
    """The sampler and schedule that two names mean; a schedule inside the sampler's name comes before the other.

    Raises:
        BadRequest: for a name that is unknown, with the nearest ones.
    """
    asked = _plain(name)
    if asked in _SAMPLERS:
        return Choice(_SAMPLERS[asked], _schedule(schedule))
    for suffix, found in sorted(_SCHEDULES.items(), key=lambda item: -len(item[0])):
        if asked.endswith(suffix) and asked[: -len(suffix)] in _SAMPLERS:
            return Choice(_SAMPLERS[asked[: -len(suffix)]], found)
    names = [sampler.name for sampler in SAMPLERS]
    near = _nearest(name, [*names, *(f"{each} Karras" for each in names)])
    raise BadRequest(f"no sampler is called {quoted(name)}; the nearest are {near}", param="sampler")


def choose_anyway(name: str, schedule: str = "") -> tuple[Choice, str]:
    """As `choose`, but what is unknown is passed over as A1111 does: the first sampler, its own schedule. Also a note
    that says so, if it was."""
    try:
        return choose(name, schedule), ""
    except BadRequest as error:
        known = _plain(name) in _SAMPLERS
        return choose(name if known else SAMPLERS[0].name), f"{error.message}; passed over"


def _schedule(name: str) -> Schedule:
    found = _SCHEDULES.get(_plain(name or "automatic"))
    if found is None:
        near = _nearest(name, [schedule.label for schedule in SCHEDULES])
        raise BadRequest(f"no schedule is called {quoted(name)}; the nearest are {near}", param="schedule")
    return found


def _nearest(name: str, names: list[str]) -> str:
    """The three names that look most like `name`."""
    by_plain = {_plain(each): each for each in names}
    near = nearest(_plain(name), by_plain, 3, 0.0)
    return ", ".join(repr(by_plain[each]) for each in near)


def _plain(name: str) -> str:
    """What is left of a name when case, blanks and underscores do not count."""
    return re.sub(r"[\s_]+", "", name.lower())


_SAMPLERS = {_plain(name): sampler for sampler in SAMPLERS for name in (sampler.name, *sampler.aliases)}
_SCHEDULES = {
    _plain(name): schedule for schedule in SCHEDULES for name in (schedule.name, schedule.label, *schedule.aliases)
}
