"""What a reader of foreign bytes may do with them: take them or say why not, soon."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_taken_or_refused(name: str) -> None:
    """The bytes that a campaign begins with are no finds, and there are some."""
    seeds = list(TARGETS[name].seeds())
    assert seeds
    for seed in seeds:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_comes_is_taken_or_refused(name: str, data: st.DataObject) -> None:
    """Neither bytes out of the air nor a seed of which some bytes are others, are missing or stand twice."""
    seeds = list(TARGETS[name].seeds())
    text = bytearray(data.draw(st.sampled_from(seeds) | st.binary(max_size=300)))
    for _ in range(data.draw(st.integers(0, 3))):
        place, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 9))
        new = data.draw(st.binary(max_size=9) | st.just(bytes(text[place : place + 40])))
        text[place : place + length] = new
    TARGETS[name](bytes(text))
