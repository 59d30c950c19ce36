"""Pieces of grammars."""

import itertools

import pytest

from velesio.backends.llama import gbnf
from velesio.backends.llama.automaton import Automaton
from velesio.dialects.function import Function, functions_of
from velesio.dialects.notation import BLANK, either, literal, member, several, until


class Rules:
    """A grammar while it is written."""

    def __init__(self) -> None:
        self.rules: dict[str, str] = {}

    def define(self, name: str, text: str) -> str:
        self.rules.setdefault(name, text)
        return name

    def arguments(self, function: Function) -> str:
        raise NotImplementedError

    def value(self, function: Function, parameter: str) -> str:
        raise NotImplementedError


def automaton_of(root: str, rules: dict[str, str]) -> Automaton:
    source = "".join(f"{name} ::= {rule}\n" for name, rule in {"root": root, **rules}.items())
    return Automaton(gbnf.parse(source, lambda text: None))


def accepts(root: str, text: str) -> bool:
    """Whether a grammar allows exactly this text."""
    automaton = automaton_of(root, {})
    return automaton.is_complete(automaton.walk(automaton.start, text.encode()))


@pytest.mark.parametrize("mark", ["</a>", "aab", "]]>", "-", "\n</p>", "é\\", "aaa"])
def test_until_is_any_text_that_ends_with_the_first_mark(mark: str) -> None:
    """Checked on all short texts of the mark's own letters and another."""
    rules = Rules()
    automaton = automaton_of(until(mark, rules), rules.rules)
    letters = [*dict.fromkeys(mark), "x"]
    for length in range(6 if len(letters) > 4 else 8):
        for letters_of_text in itertools.product(letters, repeat=length):
            text = "".join(letters_of_text)
            allowed = automaton.is_complete(automaton.walk(automaton.start, text.encode()))
            assert allowed == (text.find(mark) == len(text) - len(mark) >= 0), text


def test_texts_are_taken_as_they_are() -> None:
    """With quotes, backslashes and line breaks."""
    for text in ('a "b" \\ c', "\n\t\r", "<|x|>", "é"):
        assert accepts(literal(text), text)
        assert not accepts(literal(text), f"{text}x")


def test_blanks_are_bounded() -> None:
    """None, one, or a line break or two with some behind it."""
    for text in ("", " ", "\n", "\n\n", "\n    "):
        assert accepts(BLANK, text)
    for text in ("  ", "\n\n\n", "\n" + " " * 13, "x"):
        assert not accepts(BLANK, text)


def test_several_are_one_or_more_where_they_may() -> None:
    """With something between."""
    one = either([literal("a"), literal("b")])
    for text, parallel, allowed in [
        ("a", False, True),
        ("a,b", False, False),
        ("a,b,a", True, True),
        ("", True, False),
    ]:
        assert accepts(several(one, literal(","), parallel=parallel), text) == allowed
    assert accepts(member("k", literal("1")), '"k": 1')


def test_functions_are_those_of_tools() -> None:
    """With what is said of them, or defaults."""
    schema = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
    tools = [
        {"type": "function", "function": {"name": "f", "description": "D", "parameters": schema, "strict": True}},
        {"type": "function", "function": {"name": "g", "parameters": None}},
        {"type": "web_search"},
    ]
    found = functions_of(tools)
    assert list(found) == ["f", "g"]
    assert (found["f"].description, found["f"].strict, found["f"].required) == ("D", True, {"x"})
    assert (found["g"].properties, found["g"].required, found["g"].strict) == ({}, frozenset(), False)
