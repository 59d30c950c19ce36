"""Nearest: names that were meant, within a bounded time."""

import time

import pytest

from velesio.nearest import nearest, quoted

KNOWN = ["smollm2-135m-instruct", "velesio-demo", "smollm2"]


@pytest.mark.parametrize(
    ("name", "found"),
    [("smolm2", ["smollm2"]), ("velesio_demo", ["velesio-demo"]), ("gpt-4", []), ("", []), ("smollm2" * 100, [])],
)
def test_a_name_is_as_near_as_it_looks(name: str, found: list[str]) -> None:
    """One that is longer than any name is near to none."""
    assert nearest(name, KNOWN) == found


def test_a_name_of_a_whole_body_costs_nothing() -> None:
    """Whatever it repeats."""
    began = time.process_time()
    for word in ("a", "smollm2-135m"):
        assert nearest(word * (4_000_000 // len(word)), KNOWN) == []
    assert time.process_time() - began < 0.1


def test_messages_have_the_beginning_of_a_long_name() -> None:
    """And how long it is."""
    assert quoted("a'b") == '"a\'b"'
    assert quoted("a" * 1000) == f"'{'a' * 200}'… (1000 letters)"
