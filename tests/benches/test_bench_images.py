"""What the image bench concludes from its figures."""

import pytest

from benches.images import REACH, Row, jobs_of, reached, table


@pytest.mark.parametrize(
    ("name", "ratio", "passes"),
    [
        ("eight_at_64", 2.1, True),
        ("eight_at_64", 1.9, False),
        ("one_alone", 1.04, True),
        ("one_alone", 1.06, False),
        ("one_late", 0.5, True),
        ("memory_after_switches", 1.2, False),
    ],
)
def test_marks(name: str, ratio: float, passes: bool) -> None:
    """Where more is better the ratio must not be below its mark, else not above."""
    assert reached(name, ratio) is passes


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    """One disturbed round does not decide."""
    assert Row(name="one_alone", ratios=[1.0, 9.0, 1.02]).ratio == 1.02


def test_the_table_has_a_line_for_each_row() -> None:
    """With what it must reach."""
    shown = table([Row(name=name, own=[1.0], pipeline=[2.0], ratios=[2.0]) for name in REACH])
    assert all(name in shown for name in REACH)
    assert ">= 2.00" in shown


def test_jobs_differ_but_for_size_and_steps() -> None:
    """Prompts, seeds and samplers."""
    jobs = jobs_of(64, 8)
    assert len({job.prompt for job in jobs}) == len({job.seed for job in jobs}) == 8
    assert len({job.sampler for job in jobs}) == 2
    assert {(job.width, job.height, job.steps) for job in jobs} == {(64, 64, 20)}
