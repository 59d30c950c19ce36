"""Where reasoning begins and ends in an answer, in whatever pieces it comes."""

import pytest

from velesio.backends.llama.thought import Thought

TABLE = [
    ("Hello", False, b"Hello", "over"),
    ("<think>Hm</think>Yes", False, b"Yes", "over"),
    (" \n<think>Hm", False, b"", "inside"),
    ("<thi", False, b"", "before"),
    ("<thing>", False, b"<thing>", "over"),
    ("Hm</think>\n", True, b"\n", "over"),
    ("Hm</think <think>", True, b"", "inside"),
    ("Hm<</think>x</think>", True, b"x</think>", "over"),
    ("", False, b"", "before"),
]


@pytest.mark.parametrize(("text", "begun", "outside", "state"), TABLE)
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_what_is_outside_is_told(text: str, begun: bool, outside: bytes, state: str, size: int) -> None:
    """All of what is no reasoning, and nothing of what is."""
    thought = Thought("<think>", "</think>", begun=begun)
    data = text.encode()
    found = b"".join(thought.push(data[at : at + size]) for at in range(0, len(data), size))
    assert found == outside
    assert thought.is_inside == (state == "inside")
    assert thought.is_over == (state == "over")


def test_long_reasoning_takes_no_room() -> None:
    """Only what may be the begin of its end is kept."""
    thought = Thought("<think>", "</think>", begun=True)
    for _ in range(1000):
        thought.push(b"x" * 1000)
    assert len(thought._text) < 10
