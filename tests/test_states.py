"""States of models, as several workers tell them."""

import pytest

from velesio.states import Counts, ModelState, State, overall, total


@pytest.mark.parametrize(
    ("states", "first"),
    [
        ([], "unloaded"),
        (["unloaded", "loading", "loaded"], "loaded"),
        (["failed", "loading"], "loading"),
        (["sleeping", "failed"], "failed"),
        (["unloaded", "sleeping"], "sleeping"),
    ],
)
def test_the_state_nearest_to_serving_counts(states: list[State], first: State) -> None:
    """Of several workers' states, the one that helps a client most."""
    assert overall(ModelState(state=state) for state in states).state == first


@pytest.mark.parametrize(("ends", "latest"), [([5.0, 9.0, 7.0], 9.0), ([5.0, None], None), ([None], None)])
def test_the_latest_end_counts(ends: list[float | None], latest: float | None) -> None:
    """A model is there until the last of its workers unloads it; None is never. Others' states do not count."""
    states = [ModelState(state="loaded", expires_at=end) for end in ends]
    assert overall([*states, ModelState(state="sleeping", expires_at=99.0)]).expires_at == latest


def test_the_load_that_is_furthest_counts() -> None:
    """Of two loads, the progress of the one that will be over first."""
    assert overall([ModelState(state="loading", progress=part) for part in (0.2, 0.7)]).progress == 0.7


def test_counts_of_workers_are_summed() -> None:
    """The longest sequence is that of the one that had it; guesses are summed place by place."""
    one = Counts(prompt_tokens=3, longest=7, drafts=2, accepted=3, accepted_at=(2, 1))
    two = Counts(prompt_tokens=4, longest=5, drafts=4, accepted=6, accepted_at=(3, 2, 1))
    assert total([one, two]) == Counts(prompt_tokens=7, longest=7, drafts=6, accepted=9, accepted_at=(5, 3, 1))
    assert total([]) == Counts()
