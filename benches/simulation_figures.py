"""What a simulated world came to: shares against weights, waits, losses, what each script costs."""

from collections.abc import Mapping, Sequence

import msgspec

from benches.figures import percentile
from benches.simulation_scripts import Scripts
from benches.simulation_world import Plan, Tenant, Track, World

_OWN_TIME = ("ping",)
"""Calls that are no part of the queue's work."""


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What a tenant asked for, had a right to, and got."""

    name: str
    weight: float
    demand: float
    """Part of all workers' time that it asked for."""
    fair: float
    """Part that it has a right to: what it asks for, or what its weight gives it of what others leave."""
    got: float
    """Part of the work begun while the shares were counted."""
    accepted: int
    refused: int
    wait_p50_s: float
    wait_p99_s: float


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """One script, from the caller to the server and back."""

    name: str
    calls: int
    per_s: float
    """In a second of the simulated world."""
    p50_us: float
    p99_us: float
    mean_us: float
    """Without the round trip of a call that does nothing."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the jobs."""

    accepted: int
    done: int
    failed: int
    """Ended as dead letters: each lost with its worker, twice."""
    lost: int
    """Neither: must be none."""
    ended_twice: int
    """Recorded as done more than once: must be none."""
    begun_again: int
    """Attempts after a first one."""
    fenced: int
    """Ends that were refused, of workers that had lost the job."""
    deaths: int
    cuts: int
    """Workers that were cut off and came back."""
    back_p50_s: float
    """From a worker's death until its job runs again."""
    back_p99_s: float
    left: int
    """Places in the queue that still hold a job: must be none."""


def fair_parts(tenants: Sequence[Tenant]) -> dict[str, float]:
    """Parts of all workers' time: whoever asks for less than its weight gives has it, the others divide the rest."""
    parts: dict[str, float] = {}
    room, open_ = 1.0, list(tenants)
    while open_:
        weights = sum(tenant.weight for tenant in open_)
        modest = [tenant for tenant in open_ if tenant.demand <= room * tenant.weight / weights]
        for tenant in modest or open_:
            parts[tenant.name] = tenant.demand if modest else room * tenant.weight / weights
        if not modest:
            break
        room -= sum(tenant.demand for tenant in modest)
        open_ = [tenant for tenant in open_ if tenant not in modest]
    return parts


def shares(plan: Plan, jobs: Mapping[str, Track], refused: Mapping[str, int], begun: int) -> list[Share]:
    """Of each tenant, by the work whose first attempt began between the warm-up and the end of the arrivals."""
    first, last = (begun + round(moment * 1000) for moment in (plan.warm, plan.seconds))
    fair = fair_parts(plan.tenants)
    found = []
    for tenant in plan.tenants:
        own = [track for track in jobs.values() if track.tenant == tenant.name]
        counted = [track for track in own if track.taken and first <= track.taken[0] < last]
        waits = [(track.taken[0] - track.queued) / 1000 for track in counted] or [0.0]
        found.append(
            Share(
                name=tenant.name,
                weight=tenant.weight,
                demand=tenant.demand,
                fair=fair[tenant.name],
                got=sum(track.cost for track in counted) / (plan.capacity * (plan.seconds - plan.warm)),
                accepted=len(own),
                refused=refused[tenant.name],
                wait_p50_s=percentile(waits, 0.5),
                wait_p99_s=percentile(waits, 0.99),
            )
        )
    return found


def outcome(world: World, scripts: Scripts) -> Outcome:
    """What became of all jobs that were accepted; asks the broker about those that are not known as done."""
    jobs = world.jobs
    done = sum(track.ends > 0 for track in jobs.values())
    failed = sum(scripts.state(job) == "failed" for job, track in jobs.items() if not track.ends)
    back = returns(jobs) or [0.0]
    return Outcome(
        accepted=len(jobs),
        done=done,
        failed=failed,
        lost=len(jobs) - done - failed,
        ended_twice=sum(track.ends > 1 for track in jobs.values()),
        begun_again=sum(max(0, len(track.taken) - 1) for track in jobs.values()),
        fenced=world.fenced,
        deaths=world.deaths,
        cuts=world.cuts,
        back_p50_s=percentile(back, 0.5),
        back_p99_s=percentile(back, 0.99),
        left=scripts.places(),
    )


def returns(jobs: Mapping[str, Track]) -> list[float]:
    """Seconds from each death of a worker until a job of its ran again."""
    found = []
    for track in jobs.values():
        again = [taken for taken in track.taken if taken > track.lost > 0]
        if again:
            found.append((again[0] - track.lost) / 1000)
    return found


def evenness(found: Sequence[Share]) -> float:
    """Jain's index of the work for its weight of each tenant that wants more: 1 if all are alike, 1/n if one has it."""
    per_weight = [share.got / share.weight for share in found if share.demand > share.fair]
    return sum(per_weight) ** 2 / (len(per_weight) * sum(part**2 for part in per_weight)) if per_weight else 1.0


def costs(samples: Mapping[str, Sequence[int]], seconds: float) -> list[Cost]:
    """From the nanoseconds of each call; `seconds` are the world's."""
    ping = percentile(samples["ping"], 0.5) / 1000
    found = []
    for name, taken in samples.items():
        if name not in _OWN_TIME:
            found.append(
                Cost(
                    name=name,
                    calls=len(taken),
                    per_s=len(taken) / seconds,
                    p50_us=percentile(taken, 0.5) / 1000,
                    p99_us=percentile(taken, 0.99) / 1000,
                    mean_us=max(0.0, sum(taken) / len(taken) / 1000 - ping),
                )
            )
    return sorted(found, key=lambda cost: -cost.per_s * cost.mean_us)


def cores(found: Sequence[Cost]) -> float:
    """Cores of the broker that all calls together keep busy."""
    return sum(cost.per_s * cost.mean_us for cost in found) / 1e6
