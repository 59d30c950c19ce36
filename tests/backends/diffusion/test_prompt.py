"""The prompt language: what each form means, and that no text breaks the parser."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velesio.backends.diffusion.prompt import BREAK, MAX_DEPTH, MORE, Part, Span, Tag, Wish, parts, spans, tags, wishes

LANGUAGE = st.text(alphabet="ab,.:|()[]\\<>10 BREAKAND\n", max_size=60)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", [("", 1)]),
        ("plain words", [("plain words", 1)]),
        ("(more)", [("more", 1.1)]),
        ("((more))", [("more", 1.21)]),
        ("[less]", [("less", 1 / 1.1)]),
        ("(much:1.5) rest", [("much", 1.5), (" rest", 1)]),
        ("(zero:0)", [("zero", 0)]),
        ("(a (b) c:2)", [("a ", 2), ("b", 2.2), (" c", 2)]),
        ("(a:b:1.5)", [("a:b", 1.5)]),
        ("(half:.5)", [("half", 0.5)]),
        (r"\(kept\) \[too\] \\", [(r"(kept) [too] " + "\\", 1)]),
        (r"(a\:1.5)", [("a:1.5", 1.1)]),
        ("(open", [("(open", 1)]),
        ("shut)", [("shut)", 1)]),
        ("(a [b) c]", [("a [b", 1.1), (" c]", 1)]),
        ("one BREAK two", [("one", 1), (BREAK, -1), ("two", 1)]),
        ("(one BREAK two:2)", [("one", 2), (BREAK, -1), ("two", 2)]),
        ("BREAKFAST", [("BREAKFAST", 1)]),
        ("(X mas:1.2)", [("X mas", 1.2)]),
        ("(a(b):1.5)", [("a", 1.5), ("b", 1.65)]),
        ("(a [b] c:1.5)", [("a ", 1.5), ("b", 1.5 / 1.1), (" c", 1.5)]),
        ("[a|b:c]", [("a|b:c", 1 / 1.1)]),
        ("(a)(b:1.1)", [("ab", 1.1)]),
    ],
)
def test_emphasis(text: str, wanted: list[tuple[str, float]]) -> None:
    """Brackets weigh, escapes and brackets without a partner are text."""
    found = parts(text)
    assert [part.text for part in found] == [text for text, _ in wanted]
    assert [part.weight for part in found] == pytest.approx([weight for _, weight in wanted])


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain", ["plain"] * 10),
        ("[a:b:0.5]", ["a"] * 5 + ["b"] * 5),
        ("[a:b:3]", ["a"] * 3 + ["b"] * 7),
        ("[b:3]", [""] * 3 + ["b"] * 7),
        ("[a::3]", ["a"] * 3 + [""] * 7),
        ("[a:b:0.0]", ["b"] * 10),
        ("[a:b:99]", ["a"] * 10),
        ("[a:b:1.0]", ["a"] * 10),
        ("[a|b|c]", ["a", "b", "c"] * 3 + ["a"]),
        ("[fe|]male", ["female", "male"] * 5),
        ("[X|aX]", ["X", "aX"] * 5),
        ("[a:b:[2:8:5]]", ["a"] * 2 + ["b"] * 3 + ["a"] * 3 + ["b"] * 2),
        ("[a:b: 4 ]", ["a"] * 4 + ["b"] * 6),
        ("[a|b:3]", ["[a|b:3]"] * 10),
        ("[a:b:c:3]", ["[a:b:c:3]"] * 10),
        ("[:3]", [""] * 10),
        ("[[a:b:2]:c:4]", ["a"] * 2 + ["b"] * 2 + ["c"] * 6),
        ("[a|[b:c:4]]", ["a", "b", "a", "b", "a", "c", "a", "c", "a", "c"]),
        ("([a:b:5]:1.3)", ["(a:1.3)"] * 5 + ["(b:1.3)"] * 5),
        ("[(a:1.2):b:5]", ["(a:1.2)"] * 5 + ["b"] * 5),
        ("[a:b]", ["[a:b]"] * 10),
        ("[a:b:c]", ["[a:b:c]"] * 10),
        ("[a:b:0.5", ["[a:b:0.5"] * 10),
        (r"\[a:b:0.5\]", [r"\[a:b:0.5\]"] * 10),
    ],
)
def test_edits(text: str, wanted: list[str]) -> None:
    """What the prompt is at each of ten steps."""
    found = spans(text, 10)
    assert [next(span.text for span in found if step < span.until) for step in range(10)] == wanted
    assert all(one.text != other.text for one, other in pairwise(found))


def test_edits_of_a_second_pass() -> None:
    """Fractions count from 1, and numbers of steps from the begin of the first pass."""
    assert spans("[a:b:1.5]", 10, before=20) == (Span(5, "a"), Span(10, "b"))
    assert spans("[a:b:0.5]", 10, before=20) == (Span(10, "b"),)
    assert spans("[a:b:25]", 10, before=20) == (Span(5, "a"), Span(10, "b"))
    assert spans("[a:b:1.5]", 10) == (Span(10, "a"),)
    assert spans("[a:b:1.5]", 10, before=1) == (Span(5, "a"), Span(10, "b"))
    assert spans("[a:b:6]", 10, before=1) == (Span(5, "a"), Span(10, "b"))


def test_a_pass_without_steps_has_a_prompt() -> None:
    """There is always a first step to ask about."""
    assert spans("[a|b]", 0) == (Span(1, "a"),)


def test_composition() -> None:
    """`AND` in capitals joins prompts; a number behind a colon is its weight; a lone prompt keeps its colons."""
    assert wishes("a AND b :0.7 AND c:-1") == (Wish("a", 1), Wish(" b", 0.7), Wish(" c", -1))
    assert wishes("sand and LAND:2") == (Wish("sand and LAND:2"),)


def test_tags() -> None:
    """Names, weights by place and by name; tags that are none stay out; the text loses them all."""
    text, found = tags("x <lora:one> y <lora:two:0.5:0.25> <lyco:three:te=0:unet=1:dyn=4> <hypernet:four:1> <b>")
    assert text == "x  y    <b>"
    assert found == (
        Tag("one"),
        Tag("two", 0.5, 0.25),
        Tag("three", 0.0, 1.0, rank=4),
        Tag("four", 1.0, 1.0, "hypernet"),
    )
    assert tags("<lora:bad:much>") == ("", ())
    assert tags("<lora:bad:te=0.5=1>") == ("", ())
    assert tags("<lora: named :unet=0.5>") == ("", (Tag("named", 1.0, 0.5),))
    assert tags("<lora:placed:1:0.5:8>") == ("", (Tag("placed", 1.0, 0.5, rank=8),))


@given(LANGUAGE)
def test_nothing_breaks_the_parser(text: str) -> None:
    """Any text has parts, spans that cover all steps, wishes and tags."""
    assert all(isinstance(part.weight, float) and (part.text or part == Part("")) for part in parts(text))
    found = spans(text, 7)
    assert [span.until for span in found] == sorted({span.until for span in found})
    assert found[-1].until == 7
    assert wishes(text)
    tags(text)


@given(st.text(alphabet="ab ,.", max_size=40))
def test_text_without_signs_is_itself(text: str) -> None:
    """Nothing is lost or weighed where nothing was meant."""
    assert spans(text, 3) == (Span(3, text),)
    assert parts(text) == (Part(text, 1.0),)


def test_deep_brackets_do_not_overflow() -> None:
    """Thousands of brackets are read in no time."""
    assert parts("(" * 5000 + "a" + ")" * 5000)
    assert spans("[" * 5000 + "a:b:3" + "]" * 5000, 4)


def test_brackets_count_down_to_a_depth() -> None:
    """Those inside `MAX_DEPTH` others are text, however many came before."""
    inner = "(" * MAX_DEPTH + "a" + ")" * MAX_DEPTH
    assert [part.text for part in parts(inner + inner)] == ["aa"]
    assert parts(inner)[0].weight == pytest.approx(MORE**MAX_DEPTH)
    assert parts(f"({inner})")[0] == Part("(a)", parts(inner)[0].weight)


def test_edits_as_they_were_timed_before() -> None:
    """A number below 1 is a part of each pass, any other a step; decimal points and earlier passes do not count."""
    for text, turns in (("[a:b:0.5]", 2), ("[a:b:1.0]", 1), ("[a:b:3.5]", 3), ("[a:b:2]", 2)):
        for before in (0, 4):
            assert spans(text, 4, before=before, old=True) == (Span(turns, "a"), Span(4, "b"))
