"""Answers in all dialects: what they say, in whatever pieces they come."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.dialects.examples import EXAMPLES
from tests.dialects.listening import TOOLS, WEATHER, content, heard, joined, said
from velesio.dialects import FORMATS, Speech
from velesio.jobs import Dialect

IDS = [f"{name or 'none'}-{text[:30]!r}" for name, _, text, _ in EXAMPLES]
WORDS = sorted(
    {
        word
        for form in FORMATS.values()
        for word in (*form.marks, *form.thinks, *form.frames, *form.shown, *form.openings)
    }
    | {text[at : at + 12] for _, _, text, _ in EXAMPLES for at in range(0, len(text), 9)}
    | set('{}[]":,\n <>')
)


@pytest.mark.parametrize(("name", "prefix", "text", "expected"), EXAMPLES, ids=IDS)
def test_an_answer_says_what_it_means(
    name: str, prefix: str, text: str, expected: list[tuple[str, ...]] | None
) -> None:
    """The table of `examples`."""
    if expected is not None:
        assert heard(name, text, prefix=prefix) == expected


@pytest.mark.parametrize(("name", "prefix", "text", "expected"), EXAMPLES, ids=IDS)
def test_pieces_say_what_the_whole_says(name: str, prefix: str, text: str, expected: object) -> None:
    """Character by character, and cut once at each place; the ids of the calls as well."""
    whole = said(name, text, prefix=prefix)
    ids = [each.id for each in whole if each.id]
    for pieces in ([*text], *([text[:cut], text[cut:]] for cut in range(1, len(text)))):
        found = said(name, pieces, prefix=prefix)
        assert joined(found) == joined(whole)
        assert [each.id for each in found if each.id] == ids


@pytest.mark.parametrize(("name", "prefix", "text", "expected"), EXAMPLES, ids=IDS)
def test_nothing_of_a_cut_answer_is_lost(name: str, prefix: str, text: str, expected: object) -> None:
    """Wherever it ends, there is no exception, and calls that are open keep what they have."""
    for cut in range(len(text)):
        found = heard(name, text[:cut], prefix=prefix)
        if name in {"", "plain"} and "<think>" not in prefix + text:
            assert found == ([content(text[:cut])] if cut else [])


@settings(max_examples=400, deadline=None)
@given(
    name=st.sampled_from([*FORMATS]),
    prefix=st.sampled_from(["", "<think>\n", ">>>"]),
    pieces=st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=5)), max_size=20),
    cuts=st.lists(st.integers(0, 300), max_size=6),
)
def test_any_text_is_read_the_same_in_any_pieces(name: str, prefix: str, pieces: list[str], cuts: list[int]) -> None:
    """Also what is no answer at all; there is never an exception."""
    text = "".join(pieces)
    whole = heard(name, text, prefix=prefix)
    places = sorted({0, len(text), *(cut for cut in cuts if cut < len(text))})
    assert heard(name, [text[a:b] for a, b in pairwise(places)], prefix=prefix) == whole
    assert heard(name, pieces, prefix=prefix) == whole
    assert heard(name, [*text], prefix=prefix) == whole


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from([*FORMATS]),
    pieces=st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=5)), max_size=12),
)
def test_every_visible_character_is_heard(name: str, pieces: list[str]) -> None:
    """Without functions nothing is a call: what is not content or reasoning is a mark of the format."""
    text = "".join(pieces)
    form = FORMATS[name]
    found = "".join(part[-1] for part in heard(name, text, tools=()))
    marks = (*form.thinks, *form.frames, *form.marks, *form.openings, *form.shown, "<|return|>", "<|call|>")
    if not any(mark in text for mark in marks):
        assert "".join(found.split()) == "".join(text.split())


@pytest.mark.parametrize(
    "name", [name for name, form in FORMATS.items() if name not in {"harmony", "functionary-v3.2"}]
)
def test_without_functions_nothing_is_a_call(name: str) -> None:
    """A client that gave no tools gets the text."""
    for other, prefix, text, _ in EXAMPLES:
        if other == name:
            assert all(kind != "call" for kind, *_ in heard(name, text, prefix=prefix, tools=()))


def test_each_call_is_whole_and_has_an_id_of_its_own() -> None:
    """Ids differ between calls and jobs and are the same whenever a job's answer is read."""
    text = '<tool_call>{"name": "now"}</tool_call>' * 3
    first, again = said("hermes", text), said("hermes", text)
    assert first == again
    ids = [each.id for each in first if each.id]
    assert len(set(ids)) == 3
    assert all(each.startswith("call_") for each in ids)
    other = Speech(Dialect("hermes"), TOOLS, seed="another job")
    assert not {each.id for each in other.feed(text)} & set(ids)
    drawn = {each.id for _ in range(2) for each in Speech(Dialect("hermes"), TOOLS).feed(text) if each.id}
    assert len(drawn) == 6


def test_ids_that_models_make_are_kept_and_mistral_has_short_ones() -> None:
    """Its templates refuse others."""
    assert [each.id for each in said("mistral-args", "[TOOL_CALLS]now[CALL_ID]abc123def[ARGS]{}") if each.id] == [
        "abc123def"
    ]
    (made,) = [each.id for each in said("mistral", '[TOOL_CALLS][{"name": "now", "arguments": {}}]') if each.id]
    assert len(made) == 9
    assert made.isalnum()


def test_arguments_come_as_they_are_written() -> None:
    """Each piece of text gives its piece of the arguments; a text is not held back until it ends."""
    speech = Speech(Dialect("hermes"), TOOLS)
    assert speech.feed('<tool_call>{"name": "get_weather", ') == []
    begun = speech.feed('"arguments": {"city": "Pa')
    assert [(each.name, each.text) for each in begun] == [("get_weather", ""), ("", '{"city": "Pa')]
    assert [each.text for each in speech.feed("ris")] == ["ris"]
    coder = Speech(Dialect("qwen3-coder"), TOOLS)
    coder.feed("<function=get_weather><parameter=city>\n")
    assert "".join(each.text for each in coder.feed('New "Yor')) == 'New \\"Yor'


def test_content_is_not_held_back_without_reason() -> None:
    """Only blanks and what may be the begin of a mark wait."""
    speech = Speech(Dialect("hermes"), TOOLS)
    assert joined(speech.feed("Hello, world")) == [content("Hello, world")]
    assert speech.feed(" ") == []
    assert joined(speech.feed("<b> and <tool_c")) == [content(" <b> and")]
    assert joined(speech.feed("olour>")) == [content(" <tool_colour>")]
    without = Speech(Dialect("hermes"))
    assert joined(without.feed("Hello <tool_call> ")) == [content("Hello <tool_call> ")]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("hermes", "<think>\nHm. \n</think>\n\nYes.\n", [content("<think>\nHm. \n</think>\n\nYes.\n")]),
        ("harmony", "<|channel|>analysis<|message|>Hm.<|end|>", [content("Hm.")]),
    ],
)
def test_reasoning_can_be_left_in_the_content(name: str, text: str, expected: Any) -> None:
    """As it is, with its tags and blanks."""
    assert heard(name, text, tools=(), keeps_reasoning=True) == expected
    assert heard(name, [*text], tools=(), keeps_reasoning=True) == expected


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "integer"}, "2", 2),
        ({"type": "number"}, "2", 2),
        ({"type": "boolean"}, "True", True),
        ({"type": ["string", "null"]}, "None", None),
        ({"type": ["string", "null"]}, "2", "2"),
        ({"type": "string"}, "2", "2"),
        ({"enum": ["1", "2"]}, "2", "2"),
        ({"enum": [1, 2]}, "2", 2),
        ({"anyOf": [{"type": "string"}, {"type": "array"}]}, "[1]", [1]),
        ({"type": "object"}, '{"a": [1, null]}', {"a": [1, None]}),
        ({"type": "integer"}, "two", "two"),
        ({"type": "number"}, "NaN", "NaN"),
        ({}, "[1", "[1"),
        (True, "1", 1),
    ],
)
def test_values_in_tags_are_what_their_schemas_say(schema: Any, text: str, value: Any) -> None:
    """Texts stay texts, others are JSON if they are; nothing makes the arguments as a whole invalid."""
    tool = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"x": schema}}}}
    (found,) = heard("qwen3-coder", f"<function=f><parameter=x>\n{text}\n</parameter></function>", tools=[tool])
    assert json.loads(found[2]) == {"x": value}


@pytest.mark.parametrize("tools", [[{}], [{"function": "f"}], [{"function": {"name": 5}}], [WEATHER, {"type": "web"}]])
def test_what_is_no_function_is_left_out(tools: list[dict[str, Any]]) -> None:
    """Whoever reads requests refuses it; here it does no harm."""
    assert heard("hermes", "Hello.", tools=tools) == [content("Hello.")]
