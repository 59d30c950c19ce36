"""The simulation: a small world on the real scripts, and the arithmetic of what it came to."""

import pytest

from benches import server, simulation
from benches import simulation_figures as figures
from benches.simulation_scripts import Scripts
from benches.simulation_world import Plan, Tenant, Track

PLAN = Plan(
    tenants=(
        Tenant(name="heavy", weight=3.0, demand=1.5, size=4.0),
        Tenant(name="light", weight=1.0, demand=1.5, size=1.0),
        Tenant(name="modest", weight=1.0, demand=0.05, size=2.0),
    ),
    workers=8,
    slots=2,
    seconds=60.0,
    warm=10.0,
    between_deaths=90.0,
    away=30.0,
    cut_off=0.5,
    backlog=2.0,
)
"""Workers die or are cut off about once a minute and a half, each."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What the plan came to."""
    with server.running(tmp_path_factory.mktemp("simulation") / "valkey") as url:
        return simulation.simulate(PLAN, url)


def test_no_job_is_lost_or_ends_twice(world):
    """Whatever workers do: each accepted job is done once or is a dead letter, and the queue holds nothing then."""
    out = world.outcome
    assert out.deaths > 0
    assert out.cuts > 0
    assert out.begun_again > 0
    assert (out.lost, out.ended_twice, out.left) == (0, 0, 0)
    assert out.accepted == out.done + out.failed > 100


def test_a_worker_that_was_cut_off_ends_nothing_that_is_another_s(world):
    """Ends told too late are refused, at least one in this world."""
    assert world.outcome.fenced > 0


def test_a_lost_job_runs_again_when_its_lease_has_run_out(world):
    """Not before: the lease is twenty seconds, renewed each five."""
    assert world.outcome.back_p50_s >= 15.0


def test_shares_follow_weights(world):
    """Those who ask for too much get by weight, within a tenth in so small a world; a modest one is served soon."""
    got = {share.name: share for share in world.shares}
    assert got["heavy"].got / got["light"].got == pytest.approx(3.0, rel=0.1)
    assert world.evenness > 0.99
    assert got["modest"].refused == 0
    assert got["modest"].wait_p50_s < got["light"].wait_p50_s
    assert got["modest"].wait_p50_s < got["heavy"].wait_p50_s


def test_each_script_has_its_cost(world):
    """All that a job, a worker and a gateway call, with how often and for how long."""
    found = {cost.name: cost for cost in world.costs}
    assert {"enqueue", "take", "finish", "beat", "sweep", "wake", "answered", "listen"} <= set(found)
    assert 0 < found["finish"].calls <= world.outcome.done + world.outcome.fenced  # those while jobs came
    assert all(0 < cost.p50_us <= cost.p99_us for cost in found.values())
    assert world.cores > 0
    told = simulation.shares_table(world) + simulation.costs_table(world) + simulation.outcome_line(world)
    assert "modest" in told
    assert "beat" in told


def test_a_lease_runs_out_when_its_time_is_told_to(tmp_path):
    """And only then: the next take hands the job over, and its first owner is refused."""
    with server.running(tmp_path / "valkey") as url:
        scripts = Scripts(url, PLAN.settings(), now=1_000_000_000_000)
        assert scripts.enqueue("job", "tenant", 1.0, 1.0)
        [lease], more = scripts.take("first", 0, 1)
        assert not more
        assert scripts.take("second", 0, 1) == ([], False)
        scripts.run_out([lease])
        [again], _ = scripts.take("second", 0, 1)
        assert (again.id, again.attempt, again.crashes) == ("job", 2, 1)
        assert scripts.beat("first", [lease]) == {"job"}
        assert not scripts.finish("first", lease)
        assert scripts.finish("second", again)
        assert (scripts.left(), scripts.places(), scripts.state("job")) == ((0, 0), 0, "done")
        scripts.close()


def tenants(*pairs):
    return [
        Tenant(name=str(number), weight=weight, demand=demand, size=1.0)
        for number, (weight, demand) in enumerate(pairs)
    ]


@pytest.mark.parametrize(
    ("pairs", "parts"),
    [
        ([(1, 2.0)], [1.0]),
        ([(1, 0.3)], [0.3]),
        ([(3, 2.0), (1, 2.0)], [0.75, 0.25]),
        ([(1, 0.1), (1, 2.0), (1, 2.0)], [0.1, 0.45, 0.45]),
        ([(1, 0.2), (8, 0.85), (1, 2.0)], [0.1, 0.8, 0.1]),
        ([(1, 0.05), (2, 0.2), (1, 2.0)], [0.05, 0.2, 0.75]),
    ],
)
def test_fair_parts(pairs, parts):
    """Little is given whole; the rest is divided by weight among those who ask for more; nothing is given twice."""
    assert list(figures.fair_parts(tenants(*pairs)).values()) == pytest.approx(parts)


def test_evenness_is_about_those_who_want_more():
    """1 if they have the same for their weight, less otherwise; a modest tenant does not count."""

    def share(weight, demand, fair, got):
        return figures.Share(
            name="", weight=weight, demand=demand, fair=fair, got=got, accepted=0, refused=0, wait_p50_s=0, wait_p99_s=0
        )

    even = [share(2, 2.0, 0.6, 0.6), share(1, 2.0, 0.3, 0.3), share(1, 0.1, 0.1, 0.1)]
    assert figures.evenness(even) == pytest.approx(1.0)
    assert figures.evenness([share(1, 2.0, 0.5, 1.0), share(1, 2.0, 0.5, 0.0)]) == pytest.approx(0.5)
    assert figures.evenness([share(1, 0.1, 0.1, 0.1)]) == 1.0


def test_a_return_counts_from_the_death_of_the_worker():
    """Only jobs that ran again count."""
    jobs = {
        "again": Track(tenant="t", cost=1, queued=0, taken=[1000, 31_000], lost=10_000),
        "ended": Track(tenant="t", cost=1, queued=0, taken=[1000]),
        "dead": Track(tenant="t", cost=1, queued=0, taken=[1000], lost=5000),
    }
    assert figures.returns(jobs) == [21.0]


def test_costs_leave_the_way_out():
    """The mean is what a call costs beyond one that does nothing; the load is what all of them come to in a second."""
    found = figures.costs({"ping": [10_000] * 3, "take": [110_000] * 4}, seconds=2.0)
    assert [(cost.name, cost.calls, cost.per_s) for cost in found] == [("take", 4, 2.0)]
    assert found[0].mean_us == pytest.approx(100.0)
    assert figures.cores(found) == pytest.approx(200e-6)
