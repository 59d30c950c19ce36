"""Grammars for calls: what every format allows is what it reads again, and valid."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import validate

from tests.backends.llama.walks import texts
from tests.dialects.listening import heard
from velesio.backends.llama import gbnf
from velesio.backends.llama.calling import Calling
from velesio.backends.llama.chat import Rendered
from velesio.dialects import FORMATS, Format
from velesio.errors import BadRequest
from velesio.jobs import Chat, Grammar

SCHEMAS: dict[str, dict[str, Any]] = {
    "get_weather": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "enum": ["Rome", 'New "York"', "Köln"]},
            "days": {"type": "integer", "minimum": 1, "maximum": 7},
            "place": {"type": "object", "properties": {"x/y~": {"$ref": "#/$defs/n"}}, "required": ["x/y~"]},
        },
        "required": ["city"],
        "$defs": {"n": {"type": "integer", "minimum": 0, "maximum": 9}},
    },
    "now": {"type": "object", "properties": {}},
    "note": {
        "type": "object",
        "properties": {"text": {"type": "string"}, "kind": {"const": "n"}},
        "required": ["text"],
    },
}
TOOLS = tuple(
    {"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in SCHEMAS.items()
)
CALLING = [form for form in FORMATS.values() if form.name != "plain"]


NOTHING = Rendered("")


def grammar(form: Format, prompt: Rendered = NOTHING, **fields: Any) -> Grammar:
    made = Calling().grammar(Chat(messages=[], **({"tools": TOOLS} | fields)), form, prompt)
    assert made is not None
    return made


def drawn(grammar: Grammar, count: int) -> Iterator[str]:
    """Texts that it allows."""
    return texts(gbnf.parse(grammar.gbnf, lambda text: None), grammar.gbnf, count)


def prefix_of(form: Format) -> str:
    return form.openings[0] if form.openings else ""


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("form", CALLING, ids=lambda form: form.name)
def test_what_a_grammar_allows_is_read_as_valid_calls(form: Format, parallel: bool) -> None:
    """Texts drawn from the grammar of each format, by the format's own reader."""
    made = grammar(form, Rendered("", prefix_of(form)), tool_choice="required", parallel_tool_calls=parallel)
    counts = set()
    for text in drawn(made, 40):
        found = heard(form.name, text, tools=TOOLS, prefix=prefix_of(form))
        assert found, text
        for kind, *rest in found:
            assert kind == "call", (text, found)
            validate(json.loads(rest[1]), SCHEMAS[rest[0]])
        counts.add(len(found))
    assert counts == {1} if not parallel else 1 in counts
    if parallel and form.name != "harmony":
        assert max(counts) > 1


@pytest.mark.parametrize("form", CALLING, ids=lambda form: form.name)
def test_reasoning_comes_before_calls(form: Format) -> None:
    """Where there may be some."""
    begin = form.thinks[0]
    made = grammar(form, Rendered("", begin, thinks=True), tool_choice="=now", parallel_tool_calls=False)
    for text in drawn(made, 20):
        *before, call = heard(form.name, text, tools=TOOLS, prefix=begin)
        assert call == ("call", "now", "{}")
        assert [kind for kind, *_ in before] in ([], ["reasoning"])


@pytest.mark.parametrize("form", CALLING, ids=lambda form: form.name)
def test_a_form_of_the_content_does_not_keep_from_calling(form: Format) -> None:
    """`auto` with a response format: either of the two."""
    own = Grammar(schema={"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]})
    made = grammar(form, Rendered("", prefix_of(form)), grammar=own, parallel_tool_calls=False)
    kinds = set()
    for text in drawn(made, 40):
        ((kind, *rest),) = heard(form.name, text, tools=TOOLS, prefix=prefix_of(form))
        kinds.add(kind)
        if kind == "content":
            assert isinstance(json.loads(rest[0])["ok"], bool)
    assert kinds == {"call", "content"}


@pytest.mark.parametrize("form", CALLING, ids=lambda form: form.name)
def test_a_free_answer_is_bound_from_its_trigger_on(form: Format) -> None:
    """`auto`: the grammar is lazy, and each trigger can be what it begins with."""
    made = grammar(form)
    assert made.lazy
    assert made.triggers
    assert made.preserved == form.shown
    for trigger in made.triggers:
        assert trigger.kind in {"word", "pattern"}


def test_the_own_grammar_of_a_request_stays_as_it_is() -> None:
    """If nothing stands before the content."""
    own = Grammar(gbnf='root ::= "x"')
    assert Calling().grammar(Chat(messages=[], grammar=own), FORMATS["hermes"], Rendered("")) is own
    assert Calling().grammar(Chat(messages=[]), FORMATS["hermes"], Rendered("", thinks=True)) is None


def test_the_own_grammar_of_a_request_follows_the_reasoning() -> None:
    """Under another name for its root, which only stands for the rule where it is one."""
    own = Grammar(gbnf='root ::= "root" rooted [root] # root\nrooted ::= "a" | root-b\nroot-b ::= "b"')
    made = grammar(FORMATS["plain"], Rendered("", "<think>\n", thinks=True), tools=(), grammar=own)
    assert made.gbnf.startswith('content-root ::= "root" rooted [root] # root\n')
    (text,) = drawn(made, 1)
    (content,) = [text for kind, text, *_ in heard("plain", text, prefix="<think>\n") if kind == "content"]
    assert content[:5] in {"roota", "rootb"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_choice": "=rm"}, "tool_choice"),
        ({"tools": (), "tool_choice": "required"}, "tool_choice"),
        ({"grammar": Grammar(gbnf='root ::= "x"')}, "grammar"),
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any], param: str) -> None:
    """Naming the field."""
    with pytest.raises(BadRequest) as caught:
        grammar(FORMATS["hermes"], **fields)
    assert caught.value.param == param


@pytest.mark.parametrize("form", CALLING, ids=lambda form: form.name)
def test_schemas_that_a_grammar_cannot_follow_are_loosened_or_refused(form: Format) -> None:
    """Refused for strict functions."""
    odd = {
        "name": "odd",
        "parameters": {"type": "object", "properties": {"x": {"not": {"type": "null"}}}, "required": ["x"]},
    }
    made = grammar(form, tools=({"function": odd},), tool_choice="required")
    gbnf.parse(made.gbnf, lambda text: None)
    with pytest.raises(BadRequest, match="tools: odd"):
        grammar(form, tools=({"function": odd | {"strict": True}},), tool_choice="required")


def test_grammars_are_kept() -> None:
    """The same wishes give the same grammar; not too many are kept."""
    calling = Calling()
    chat = Chat(messages=[], tools=TOOLS)
    first = calling.grammar(chat, FORMATS["hermes"], Rendered("a"))
    assert calling.grammar(Chat(messages=[{"role": "user"}], tools=TOOLS), FORMATS["hermes"], Rendered("b")) is first
    for number in range(40):
        other = Chat(messages=[], tools=({"function": {"name": f"f{number}"}},))
        calling.grammar(other, FORMATS["hermes"], Rendered(""))
    assert calling.grammar(chat, FORMATS["hermes"], Rendered("a")) is not first
