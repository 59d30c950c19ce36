"""GBNF: what can be read, what is refused and why; nothing that is refused costs more than reading it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velesio.backends.llama.gbnf import MAX_DEPTH, MAX_ITEMS, MAX_SOURCE, Rules, complement, merged, nullable, parse
from velesio.errors import BadRequest


def read(source: str) -> Rules:
    return parse(source, {"<think>": 7}.get)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("", "no rule called root"),
        ("# nothing but a remark", "no rule called root"),
        ("\x00", "expecting a name"),
        ("start ::= [a]", "no rule called root"),
        ("root ::= missing", "'missing' is not defined"),
        ("root = [a]", "expecting ::="),
        ("root ::= ) [a]", "new line or the end"),
        ("root ::= ([a]", r"expecting \)"),
        ('root ::= "a', "ends inside of a text"),
        ("root ::= [a", "ends inside of a text"),
        ('root ::= "\\q"', "unknown escape"),
        ('root ::= "\\xg0"', "unknown escape"),
        ('root ::= "\\U00110000"', "no character"),
        ("root ::= *", "nothing stands before"),
        ("root ::= [a] | {2}", "nothing stands before"),
        ("root ::= [a]{3,2}", "at least more often"),
        ("root ::= [a]{x}", "expecting {times}"),
        ("root ::= [a]{99999999999999999999}", "expecting {times}"),
        ("root ::= <nothing>", "not one token"),
        ("root ::= <[12]", "expecting a token|not one token"),
        ("root ::= root [a] | [b]", "left recursion: root"),
        ("root ::= a\na ::= b [x]\nb ::= a | [y]", "left recursion: [ab]"),
        ("root ::= [a]? root", "left recursion"),
        ("root ::= a root [x] | [y]\na ::= b\nb ::= c*\nc ::= [z]", "left recursion"),
        ("root ::= (root)* [a]", "left recursion"),
        ("root ::= " + "(" * (MAX_DEPTH + 1) + "[a]" + ")" * (MAX_DEPTH + 1), "parentheses"),
        ("root ::= " + "(" * 100_000, "parentheses"),
        ("root ::= [a]\n" + "#" * MAX_SOURCE, "characters"),
        ("root ::= " + "a " * (MAX_ITEMS + 1), "items"),
    ],
)
def test_what_cannot_be_used_is_refused(source: str, reason: str) -> None:
    """The message says why and names the field; none of these reaches llama.cpp, which some would end."""
    with pytest.raises(BadRequest, match=reason) as caught:
        read(source)
    assert caught.value.param == "grammar"
    assert caught.value.message.startswith("Failed to initialize samplers: failed to parse grammar")


def test_an_error_names_its_line() -> None:
    """Counted from one."""
    with pytest.raises(BadRequest, match="line 3: unknown escape"):
        read('root ::= a\n# remark\na ::= "\\q"')


@pytest.mark.parametrize(
    "source",
    [
        'root ::= "a"\n',
        "root ::= [a-z]* # remark\r\n",
        "\n\nroot   ::=\n  [a] |\n  [b]",
        "root ::= (\n [a]\n | [b] )+ [c]{ 2 , 3 }",
        "root ::= <think> !<[12]>* .",
        'root ::= ""',
        "root ::= a-1\na-1 ::= [\\]\\-\\[\\x41\\u00e4\\U0001F600]",
        "root ::= [a] root |",
        "root ::= (((a{1000}){1000}){1000}){1000}\na ::= [x]",
        "root ::= a\n"
        + "\n".join(f"a{'-x' * n} ::= a{'-x' * (n + 1)} | [x]" for n in range(200))
        + f"\na{'-x' * 200} ::= [y]",
    ],
)
def test_llama_cpps_notation_is_read(source: str) -> None:
    """Remarks, empty alternatives, groups over lines, escapes, tokens, repetitions of any number."""
    assert read(source).rules


def test_a_long_chain_of_rules_is_no_deep_recursion() -> None:
    """Thousands of rules, each beginning with the next one."""
    source = "\n".join(f"r{n} ::= r{n + 1} [x] | r{n + 1}" for n in range(3000))
    began = time.monotonic()
    read(f"root ::= r0\n{source}\nr3000 ::= [y]")
    assert time.monotonic() - began < 10


def test_what_may_be_empty_is_found_through_rules() -> None:
    """A rule may be empty if one of its alternatives has nothing but items that may be."""
    rules = read('root ::= a b\na ::= b? | [x]\nb ::= c{0,3}\nc ::= "y"')
    assert sum(nullable(rules.rules)) == 3


@given(st.text(alphabet='ro ot:=[]()*+?{}|"\\<>!.#a-z0,\n', max_size=60))
def test_any_text_is_read_or_refused(source: str) -> None:
    """There is no third way."""
    try:
        rules = read(source)
    except BadRequest:
        return
    assert 0 <= rules.root < len(rules.rules)


RANGES = st.lists(st.tuples(st.integers(0, 0x10FFFF), st.integers(0, 0x10FFFF)), max_size=5)


@given(RANGES, st.integers(0, 0x10FFFF))
def test_ranges_and_their_complement_share_nothing(ranges: list[tuple[int, int]], code: int) -> None:
    """Each character is in exactly one of both, and in the merged ranges if it is in one of them."""

    def holds(some: object) -> bool:
        return any(low <= code <= high for low, high in some)  # type: ignore[attr-defined]

    assert holds(merged(ranges)) == holds(ranges)
    assert holds(complement(ranges)) != holds(ranges)
