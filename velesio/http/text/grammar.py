"""What a body says about the form of the answer: grammars, JSON schemas, response formats. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from velesio.http.fields import given
from velesio.http.wire import INT_MAX, bad_field, within
from velesio.jobs import Grammar, Trigger

_IDLE: tuple[Any, ...] = ("", [])
"""Schemas of clients that send every field they have."""
_MAX_TRIGGERS = 64
_KINDS = {0: "token", 1: "word", 2: "pattern", 3: "pattern_full"}
"""llama.cpp's numbers for the kinds of triggers."""
_NUMBERS = {kind: number for number, kind in _KINDS.items()}


def grammar_of(raw: Mapping[str, Any]) -> Grammar | None:
    """The grammar that a native body asks for: `grammar`, or else `json_schema`.

    Raises:
        BadRequest: naming the field.
    """
    gbnf = _text(raw, "grammar")
    asked = not gbnf and raw.get("json_schema", "") not in _IDLE
    schema = schema_of(raw["json_schema"], "json_schema") if asked else None
    if not gbnf and schema is None:
        return None
    lazy = _flag(raw, "grammar_lazy")
    triggers = _triggers(raw.get("grammar_triggers", []))
    if lazy and not triggers:
        raise bad_field("grammar_triggers", "a lazy grammar needs at least one trigger")
    return Grammar(gbnf=gbnf, schema=schema, lazy=lazy, triggers=triggers, preserved=_preserved(raw))


def chat_grammar_of(raw: Mapping[str, Any]) -> Grammar | None:
    """The grammar that a chat asks for: `response_format` as well.

    Raises:
        BadRequest: naming the field.
    """
    if raw.get("grammar") and raw.get("json_schema", "") not in _IDLE:
        raise bad_field("grammar", "Cannot use both json_schema and grammar")
    if raw.get("grammar") and raw.get("tools") and raw.get("tool_choice") != "none":
        raise bad_field("grammar", "Cannot use custom grammar constraints with tools.")
    schema = _response_schema(raw)
    if schema is None:
        return grammar_of(raw)
    if raw.get("grammar"):
        raise bad_field("response_format", "Cannot use both json_schema and grammar")
    return Grammar(schema=schema)


def settings_of(grammar: Grammar | None, made: str = "") -> dict[str, Any]:
    """What llama.cpp's server reports of a grammar in `generation_settings`; `made` is what the engine made of it."""
    grammar = grammar or Grammar()
    return {
        "grammar": made or (grammar.gbnf if grammar.schema is None else _told(grammar.schema)),
        "grammar_lazy": grammar.lazy,
        "grammar_triggers": [_shown(trigger) for trigger in grammar.triggers],
        "preserved_tokens": grammar.preserved,
    }


def _told(schema: dict[str, Any] | bool) -> str:
    """A schema where a grammar is expected, for engines that tell of none: as a comment of one."""
    return f"# valid against the JSON schema {msgspec.json.encode(schema).decode()}\n"


def _response_schema(raw: Mapping[str, Any]) -> dict[str, Any] | bool | None:
    form = raw.get("response_format", {})
    if not isinstance(form, dict):
        raise bad_field("response_format", 'expected an object, like {"type": "json_object"}')
    kind = form.get("type", "")
    if kind == "json_object":
        if "schema" not in form and raw.get("json_schema", "") not in _IDLE:
            return schema_of(raw["json_schema"], "json_schema")
        return schema_of(form.get("schema") or {}, "response_format.schema")
    if kind == "json_schema":
        wrapper = form.get("json_schema", {})
        if not isinstance(wrapper, dict):
            raise bad_field("response_format.json_schema", 'expected an object, like {"name": …, "schema": …}')
        schema = wrapper.get("schema")
        return schema_of({} if schema is None else schema, "response_format.json_schema.schema")
    if kind not in {"", "text"}:
        raise bad_field("response_format.type", f"must be text, json_object or json_schema, but got {kind!r}")
    return None


def schema_of(value: Any, path: str) -> dict[str, Any] | bool:
    """A schema; an empty one means any object.

    Raises:
        BadRequest: it is none.
    """
    if value == {}:
        return {"type": "object"}
    if isinstance(value, dict | bool):
        return value
    raise bad_field(path, "expected a JSON schema: an object, true or false")


def _text(raw: Mapping[str, Any], name: str) -> str:
    value = raw.get(name, "")
    if not isinstance(value, str):
        raise bad_field(name, f"expected a string, but got {value!r:.40}")
    return value


def _flag(raw: Mapping[str, Any], name: str) -> bool:
    value = raw.get(name, False)
    if not isinstance(value, bool):
        raise bad_field(name, f"expected true or false, but got {value!r:.40}")
    return value


def _preserved(raw: Mapping[str, Any]) -> tuple[str, ...]:
    value = raw.get("preserved_tokens", [])
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise bad_field("preserved_tokens", "expected a list of strings")
    return tuple(value)


def _triggers(value: Any) -> tuple[Trigger, ...]:
    if not isinstance(value, list):
        raise bad_field("grammar_triggers", 'expected a list like [{"type": 1, "value": "<tool_call>"}]')
    if len(value) > _MAX_TRIGGERS:
        raise bad_field("grammar_triggers", f"at most {_MAX_TRIGGERS} are watched for")
    return tuple(_trigger(item, f"grammar_triggers[{index}]") for index, item in enumerate(value))


def _trigger(item: Any, path: str) -> Trigger:
    if not isinstance(item, dict) or not isinstance(item.get("value", ""), str):
        raise bad_field(path, 'expected an object like {"type": 1, "value": "<tool_call>"}')
    kind = item.get("type")
    kind = _KINDS.get(kind) if type(kind) is int else kind
    if kind == "token":
        token = item.get("token")
        if type(token) is not int:
            raise bad_field(f"{path}.token", "expected the id of a token")
        return Trigger("token", item.get("value", ""), within(f"{path}.token", token, 0, INT_MAX))
    if kind == "word" and item.get("value"):
        return Trigger("word", item["value"])
    if kind in {"pattern", "pattern_full"}:
        # A regular expression from outside could hold up everybody; those for tool calls are made in the worker.
        raise bad_field(f"{path}.type", "patterns are not taken from requests; use words (1) or tokens (0)")
    raise bad_field(f"{path}.type", "expected 0 (a token) or 1 (a word, which is not empty)")


def _shown(trigger: Trigger) -> dict[str, Any]:
    shown: dict[str, Any] = {"type": _NUMBERS[trigger.kind], "value": trigger.value}
    return shown | ({"token": trigger.token} if trigger.kind == "token" else {})


FIELDS = {
    "grammar": given(str, "GBNF, whose rule `root` is the answer; it counts before `json_schema`", default=""),
    "json_schema": given(dict[str, Any] | bool, "the answer is JSON that is valid against it; `{}`: any object"),
    "grammar_lazy": given(bool, "in force only from a trigger on", default=False),
    "grammar_triggers": given(
        list[dict[str, Any]],
        'what sets a lazy grammar in force: `{"type": 0, "token": 5}` or `{"type": 1, "value": "<word>"}`; '
        f"at most {_MAX_TRIGGERS}; patterns are refused",
        default=[],
    ),
    "preserved_tokens": given(list[str], "control tokens whose text belongs to the answer", default=[]),
}
"""Of native bodies."""

RESPONSE_FORMAT = given(
    dict[str, Any],
    '`{"type": "text"}`, `{"type": "json_object"}`, also with a `schema`, or '
    '`{"type": "json_schema", "json_schema": {"schema": …}}`',
)
