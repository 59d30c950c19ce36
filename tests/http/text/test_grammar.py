"""Grammar fields of bodies: which of them counts, what is refused."""

from typing import Any

import pytest

from velesio.errors import BadRequest
from velesio.http.text.grammar import chat_grammar_of, grammar_of, settings_of
from velesio.jobs import Grammar, Trigger

ANY = {"type": "object"}
SCHEMA = {"type": "integer"}


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, None),
        ({"grammar": ""}, None),
        ({"grammar": "root ::= [a]"}, Grammar(gbnf="root ::= [a]")),
        ({"json_schema": SCHEMA}, Grammar(schema=SCHEMA)),
        ({"json_schema": {}}, Grammar(schema=ANY)),
        ({"json_schema": True}, Grammar(schema=True)),
        ({"grammar": "g", "json_schema": SCHEMA}, Grammar(gbnf="g")),
        ({"grammar": "", "json_schema": SCHEMA}, Grammar(schema=SCHEMA)),
        ({"grammar": "", "json_schema": ""}, None),
        ({"json_schema": []}, None),
        (
            {
                "grammar": "g",
                "grammar_lazy": True,
                "grammar_triggers": [{"type": 1, "value": "<t>"}, {"type": 0, "value": "x", "token": 7}],
                "preserved_tokens": ["<t>"],
            },
            Grammar(
                gbnf="g",
                lazy=True,
                triggers=(Trigger("word", "<t>"), Trigger("token", "x", 7)),
                preserved=("<t>",),
            ),
        ),
        ({"response_format": {"type": "json_object"}}, None),
    ],
)
def test_native_bodies(raw: dict[str, Any], expected: Grammar | None) -> None:
    """A grammar wins over a schema, an empty schema means any object; `response_format` belongs to chats."""
    assert grammar_of(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {}}, None),
        ({"response_format": {"type": "json_object"}}, Grammar(schema=ANY)),
        ({"response_format": {"type": "json_object", "schema": SCHEMA}}, Grammar(schema=SCHEMA)),
        ({"response_format": {"type": "json_object", "schema": {}}}, Grammar(schema=ANY)),
        ({"response_format": {"type": "json_object"}, "json_schema": SCHEMA}, Grammar(schema=SCHEMA)),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "strict": True, "schema": SCHEMA},
                }
            },
            Grammar(schema=SCHEMA),
        ),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}}, Grammar(schema=ANY)),
        ({"json_schema": SCHEMA}, Grammar(schema=SCHEMA)),
        ({"grammar": "g"}, Grammar(gbnf="g")),
        ({"grammar": "g", "tools": [{}], "tool_choice": "none"}, Grammar(gbnf="g")),
    ],
)
def test_chats(raw: dict[str, Any], expected: Grammar | None) -> None:
    """OpenAI's response formats, and the native fields beside them."""
    assert chat_grammar_of(raw) == expected


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"grammar": 7}, "grammar"),
        ({"json_schema": "x"}, "json_schema"),
        ({"grammar": "g", "grammar_lazy": 1}, "grammar_lazy"),
        ({"grammar": "g", "grammar_lazy": True}, "grammar_triggers"),
        ({"grammar": "g", "grammar_triggers": "x"}, "grammar_triggers"),
        ({"grammar": "g", "grammar_triggers": [7]}, "grammar_triggers[0]"),
        ({"grammar": "g", "grammar_triggers": [{"type": 1, "value": ""}]}, "grammar_triggers[0].type"),
        ({"grammar": "g", "grammar_triggers": [{"type": 2, "value": "(a+)+$"}]}, "grammar_triggers[0].type"),
        ({"grammar": "g", "grammar_triggers": [{"type": 9, "value": "x"}]}, "grammar_triggers[0].type"),
        ({"grammar": "g", "grammar_triggers": [{"type": 0, "value": "x"}]}, "grammar_triggers[0].token"),
        ({"grammar": "g", "grammar_triggers": [{"type": 0, "token": -1}]}, "grammar_triggers[0].token"),
        ({"grammar": "g", "grammar_triggers": [{"type": 1, "value": "x"}] * 65}, "grammar_triggers"),
        ({"grammar": "g", "preserved_tokens": [1]}, "preserved_tokens"),
    ],
)
def test_what_is_wrong_is_named(raw: dict[str, Any], param: str) -> None:
    """Native and chat alike."""
    for read in (grammar_of, chat_grammar_of):
        with pytest.raises(BadRequest) as caught:
            read(raw)
        assert caught.value.param == param


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema", "json_schema": 3}}, "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": 3}}},
            "response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "json_object", "schema": "x"}}, "response_format.schema"),
        ({"grammar": "g", "json_schema": SCHEMA}, "grammar"),
        ({"grammar": "g", "response_format": {"type": "json_object"}}, "response_format"),
        ({"grammar": "g", "tools": [{}]}, "grammar"),
    ],
)
def test_what_chats_refuse(raw: dict[str, Any], param: str) -> None:
    """Two forms at once, and forms that are not known."""
    with pytest.raises(BadRequest) as caught:
        chat_grammar_of(raw)
    assert caught.value.param == param


def test_settings_show_what_was_asked() -> None:
    """llama.cpp's numbers for the kinds; nothing where there is no grammar."""
    grammar = Grammar(gbnf="g", lazy=True, triggers=(Trigger("word", "w"), Trigger("token", "t", 3)), preserved=("w",))
    assert settings_of(grammar) == {
        "grammar": "g",
        "grammar_lazy": True,
        "grammar_triggers": [{"type": 1, "value": "w"}, {"type": 0, "value": "t", "token": 3}],
        "preserved_tokens": ("w",),
    }
    assert settings_of(Grammar(schema=SCHEMA))["grammar"] == '# valid against the JSON schema {"type":"integer"}\n'
    assert settings_of(None) == {
        "grammar": "",
        "grammar_lazy": False,
        "grammar_triggers": [],
        "preserved_tokens": (),
    }
