"""JSON values in text that comes in pieces."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from velesio.dialects.json_text import MAX_DEPTH, JsonText

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


def read(text: str, size: int = 1 << 20) -> tuple[str, JsonText, int]:
    """What was read, in pieces of `size`; the state; how much of the text belongs to the value."""
    value, found, at = JsonText(), "", 0
    for begin in range(0, len(text), size):
        piece = text[begin : begin + size]
        used = value.feed(piece, 0)
        found, at = found + value.take(), at + used
        if used < len(piece):
            break
    else:
        value.end()
    return found, value, at


@settings(max_examples=150, deadline=None)
@given(value=VALUES, indent=st.sampled_from([None, 1]), size=st.integers(1, 7), ascii_only=st.booleans())
def test_values_are_read_as_they_are(value: object, indent: int | None, size: int, ascii_only: bool) -> None:
    """Whatever they are and however they are cut; what follows is left."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    for rest in ("", " ,x" if isinstance(value, int | float) else "}x"):
        found, state, at = read(text + rest, size)
        assert found == text
        assert state.done
        assert not state.failed
        assert at == len(text)


@pytest.mark.parametrize(
    ("text", "read_up_to"),
    [
        ("{1: 2}", "{"),
        ('{"a" 1}', '{"a" '),
        ('{"a": }', '{"a": '),
        ('{"a": 1,}', '{"a": 1,'),
        ("[1 2]", "[1 "),
        ("[01]", "[01"),
        ("-x", "-"),
        ("nul!", "nul"),
        ('"\\x"', '"\\'),
        ('"\\u12g4"', '"\\u12'),
        ("'a'", ""),
        ("[" * (MAX_DEPTH + 1), "[" * MAX_DEPTH),
    ],
)
def test_what_is_none_fails_where_it_stops_to_be_one(text: str, read_up_to: str) -> None:
    """All before that was read."""
    for size in (1, 100):
        found, state, at = read(text, size)
        assert state.failed
        assert not state.done
        assert found == read_up_to
        assert text[:at] == read_up_to


@pytest.mark.parametrize("text", ['{"a": [1, "x', "[", '"\\u00', "tru", "", '{"a": 1 '])
def test_a_value_that_is_cut_is_neither(text: str) -> None:
    """More may follow."""
    _, state, _ = read(text)
    assert not state.done
    assert not state.failed


def test_line_breaks_in_strings_are_escaped() -> None:
    """Models write them, JSON does not have them."""
    found, state, _ = read('{"a": "1\n2\t"}')
    assert state.done
    assert json.loads(found) == {"a": "1\n2\t"}
