"""Planning: the arithmetic, with numbers that can be checked in the head; and from the records."""

import msgspec
import pytest

from benches.page_records import read
from benches.planning import GPU, Costs, Demand, Worker, costs, need, scales

WORKER = Worker(name="one", prefill=1000.0, decode=100.0, token_ms=20.0, picture_s=2.0)
COSTS = Costs(
    request_us=1000.0,
    token_us=100.0,
    job_us=500.0,
    event_us=10.0,
    worker_us=20.0,
    waiting_kib=2.0,
    gateway_mib=80.0,
    cpu=WORKER,
)
DEMAND = Demand(
    users=6000, active=0.1, pause_s=60.0, prompt=300, cached=200, answer=100, pictures=0.1, standstill_s=100.0
)
"""600 at it, ten requests a second: one for a picture, nine for text."""


def test_the_arithmetic():
    """Each figure by hand."""
    found = need(DEMAND, COSTS, WORKER)
    assert found.requests_per_s == pytest.approx(10.0)
    assert found.text_workers == 14  # 9 × (100 ÷ 1000 + 100 ÷ 100) × 4/3 = 13.2
    assert found.picture_workers == 3  # 1 × 2 × 4/3
    assert found.streams == pytest.approx(9 * (0.1 + 2.0))
    assert found.gateways == 2  # 10 × 1 ms + 900 × 0.1 ms = 0.1 cores; two at least
    assert found.broker_cores == pytest.approx((10 * 500 + 900 * 10 + 17 * 20) / 1e6)
    assert found.broker_mib == pytest.approx(10 * 100 * 2.0 / 1024)


def test_each_step_shows_where_it_comes_from():
    """The numbers of a line are those that it is computed from."""
    steps = {step.what: step for step in need(DEMAND, COSTS, WORKER).steps}
    assert (steps["users at it"].how, steps["users at it"].comes_to) == ("6,000 × 0.1", "600")
    assert (steps["text workers"].how, steps["text workers"].comes_to) == ("9.00 × 1.100 × 4/3", "14")
    assert steps["requests a second"].comes_to == "10.00"


def test_more_users_need_more_of_everything():
    """In proportion, where nothing is rounded."""
    few, many = (need(msgspec.structs.replace(DEMAND, users=users), COSTS, WORKER) for users in (6_000, 600_000))
    assert many.requests_per_s == pytest.approx(100 * few.requests_per_s)
    assert many.streams == pytest.approx(100 * few.streams)
    assert many.gateways == 17  # 10 cores ÷ 0.6
    assert few.gateways == 2


def test_a_gpu_s_figures_are_no_measurement():
    """They say so."""
    assert not GPU.measured
    assert WORKER.measured


def test_costs_come_from_the_records():
    """Each is there and possible, and ten thousand users can be planned for."""
    found = costs(read())
    for name in Costs.__struct_fields__:
        if name != "cpu":
            assert getattr(found, name) > 0
    assert min(found.cpu.prefill, found.cpu.decode, found.cpu.token_ms, found.cpu.picture_s) > 0
    planned = scales(found, (found.cpu, GPU), (100, 10_000))
    assert len(planned) == 4
    assert planned[1][2].text_workers > planned[0][2].text_workers
