"""Patterns as grammars, with Python's regular expressions as the oracle."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velesio.backends.llama.automaton import Automaton
from velesio.backends.llama.gbnf import parse
from velesio.backends.llama.json_pattern import PatternError, string_of


def accepts(expression: str, text: str) -> bool:
    made = Automaton(parse(f"root ::= {expression}", lambda _name: None))
    return made.is_complete(made.walk(made.start, json.dumps(text, ensure_ascii=False)[1:-1].encode()))


ATOMS = st.sampled_from(
    ["a", "b", ".", "[ab]", "[^a]", "\\d", "\\w", "\\s", "\\.", '"', "\\\\", "é", "[a-c1]", "[\\d.]"]
)
QUANTIFIERS = st.sampled_from(["", "", "", "*", "+", "?", "{2}", "{1,3}", "{2,}", "*?"])


def _grouped(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    sequences = st.lists(st.tuples(inner, QUANTIFIERS).map("".join), min_size=1, max_size=3).map("".join)
    return st.lists(sequences, min_size=1, max_size=2).map(lambda parts: f"({'|'.join(parts)})")


PATTERNS = st.tuples(
    st.sampled_from(["", "^"]), st.recursive(ATOMS, _grouped, max_leaves=5), QUANTIFIERS, st.sampled_from(["", "$"])
).map("".join)
TEXTS = st.text(alphabet='ab1. "\\éx', max_size=7)


@given(PATTERNS, TEXTS)
def test_a_text_is_allowed_exactly_if_it_matches(pattern: str, text: str) -> None:
    """Anywhere in it, where the pattern is not anchored."""
    assert accepts(string_of(pattern), text) == bool(re.search(pattern, text, re.ASCII))


@given(PATTERNS, TEXTS, st.integers(0, 4), st.none() | st.integers(0, 4))
def test_lengths_are_kept(pattern: str, text: str, least: int, more: int | None) -> None:
    """What is allowed matches and has the length; the pattern may be narrowed, or refused."""
    try:
        expression = string_of(pattern, least, None if more is None else least + more)
    except PatternError:
        return
    if accepts(expression, text):
        assert least <= len(text)
        assert more is None or len(text) <= least + more
        assert re.search(pattern, text, re.ASCII)


@pytest.mark.parametrize(
    ("pattern", "least", "most", "text"),
    [
        ("^[a-z]+$", 2, 5, "abcde"),
        ("^[a-z]*$", 0, 3, ""),
        ("^a.*z$", 4, 6, "abcdez"),
        ("^(ab)+$", 3, 7, "ababab"),
        ("^(a|bcd)$", 2, 9, "bcd"),
        ("b", 3, 3, "aab"),
        ("^a*b*$", 3, None, "aaabbbb"),
        ("a", 4, None, "bbbbabbb"),
        ("^a*b*$", 0, 5, "aaaaa"),
        ("^(\\d{3}-)?\\d{4}$", 5, 10, "123-4567"),
    ],
)
def test_usual_patterns_keep_lengths_and_stay_useful(pattern: str, least: int, most: int | None, text: str) -> None:
    """A text of a usual kind is still allowed."""
    assert accepts(string_of(pattern, least, most), text)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(?=a)", "looking"),
        ("(?<!a)b", "looking"),
        ("a\\b", "not supported"),
        ("\\p{L}", "not supported"),
        ("(a)\\1", "not supported"),
        ("a**", "not supported"),
        ("*a", "not supported"),
        ("a^b", "not supported"),
        ("a$b", "not supported"),
        ("(a$)", "closed"),
        ("(a", "closed"),
        ("a)", "not supported"),
        ("[a", "closed"),
        ("[z-a]", "range"),
        ("a{3,2}", "at least"),
        ("\\", "not supported"),
        ("[^\\w\\W]", "no characters"),
        ("\\ud800", "no characters"),
        ("a" * 2001, "more than 2000"),
        ("(" * 21 + ")" * 21, "parentheses"),
    ],
)
def test_what_is_not_supported_is_said(pattern: str, reason: str) -> None:
    """In words."""
    with pytest.raises(PatternError, match=reason):
        string_of(pattern)


@given(st.text(alphabet="ab()[]{}|^$*+?\\.-,1d", max_size=12))
def test_any_pattern_is_read_or_refused(pattern: str) -> None:
    """There is no third way, and what is read is a grammar."""
    try:
        expression = string_of(pattern)
    except PatternError:
        return
    parse(f"root ::= {expression}", lambda _name: None)
