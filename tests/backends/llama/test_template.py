"""Published chat templates, rendered as by the reference; bounds on what a template may compute."""

import functools
import importlib.util
import time
from typing import Any

import pytest

from tests.backends.llama import reference
from velesio.backends.llama import template
from velesio.backends.llama.discovery import demo_file
from velesio.backends.llama.gguf import read
from velesio.backends.llama.template import Template
from velesio.errors import BadRequest

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city, in °C.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Its <name>."},
                "days": {"type": "integer", "description": "How many.", "default": 1},
                "units": {"type": "string", "enum": ["C", "F"], "description": "Of the temperature."},
            },
            "required": ["city"],
        },
    },
}
NOW = {
    "type": "function",
    "function": {"name": "now", "description": "The time.", "parameters": {"type": "object", "properties": {}}},
}
TOOLS = [WEATHER, NOW]

SYSTEM = {"role": "system", "content": "Be brief & kind."}
USER = {"role": "user", "content": "Wie wird das Wetter in Köln? 🌧\n"}
ANSWER = {"role": "assistant", "content": "It rains."}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {
            "id": "abcdefghi",
            "type": "function",
            "function": {"name": "get_weather", "arguments": {"city": "Köln", "days": 2}},
        }
    ],
}
RESULT = {"role": "tool", "tool_call_id": "abcdefghi", "name": "get_weather", "content": '{"rain": "9 mm"}'}
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "user": {"messages": [USER]},
    "system": {"messages": [SYSTEM, USER]},
    "turns": {"messages": [SYSTEM, USER, ANSWER, {"role": "user", "content": "And now?"}]},
    "thought": {"messages": [USER, ANSWER | {"reasoning_content": "Clouds."}, USER]},
    "closed": {"messages": [USER, ANSWER], "add_generation_prompt": False},
    "tools": {"messages": [SYSTEM, USER], "tools": TOOLS},
    "call": {"messages": [USER, CALL, RESULT], "tools": TOOLS},
    "called": {"messages": [SYSTEM, USER, CALL, RESULT, ANSWER, USER], "tools": TOOLS},
    "no thinking": {"messages": [USER], "enable_thinking": False},
    "documents": {"messages": [USER], "documents": [{"title": "A", "text": "B"}]},
}


def sources() -> dict[str, str]:
    found = {file.stem: file.read_text(encoding="utf-8") for file in reference.FILES}
    if demo := demo_file():
        found["SmolLM2"] = read(demo).chat_template
    return found


SOURCES = sources()


@functools.cache
def compiled(name: str) -> Template:
    return Template(SOURCES[name])


def outcome(render: Any, *arguments: Any, **variables: Any) -> tuple[str, str]:
    """What came of it; whether it was refused matters, not by which exception."""
    try:
        return "prompt", render(*arguments, **variables)
    except Exception as error:
        return "refused", type(error).__name__ if not isinstance(error, BadRequest) else ""


def test_there_are_enough_templates() -> None:
    """Of different families, and SmolLM2's from its file."""
    assert len(SOURCES) >= 25
    assert "SmolLM2" in SOURCES


@pytest.mark.parametrize("conversation", CONVERSATIONS)
@pytest.mark.parametrize("name", SOURCES)
def test_prompts_are_those_of_the_reference(name: str, conversation: str) -> None:
    """Letter by letter; what the reference refuses is refused."""
    given = {"add_generation_prompt": True} | CONVERSATIONS[conversation]
    expected, prompt = outcome(reference.rendered, SOURCES[name], **given)
    variables = {"tools": None, "documents": None, **reference.TOKENS, **given}
    found = outcome(compiled(name).render, variables)
    assert found[0] == expected
    if expected == "prompt":
        assert found[1] == prompt


def test_the_templates_render_most_conversations() -> None:
    """The comparison is about prompts, not about refusals."""
    outcomes = [
        outcome(reference.rendered, source, **{"add_generation_prompt": True} | given)[0]
        for source in SOURCES.values()
        for given in CONVERSATIONS.values()
    ]
    assert outcomes.count("prompt") > 0.9 * len(outcomes)


@pytest.mark.skipif(importlib.util.find_spec("transformers") is None, reason="transformers is not installed")
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.filterwarnings("ignore")
def test_the_reference_is_what_transformers_does(name: str) -> None:
    """The set-up above against the library that it is taken from."""
    for given in CONVERSATIONS.values():
        variables = {"add_generation_prompt": True} | given
        expected = outcome(reference.by_transformers, SOURCES[name], **variables)
        found = outcome(reference.rendered, SOURCES[name], **variables)
        assert found[0] == expected[0]
        if found[0] == "prompt":
            assert found == expected


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    ],
)
def test_a_template_that_writes_nothing_is_stopped_too(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops and macros look at the clock."""
    monkeypatch.setattr(template, "MAX_SECONDS", 0.05)
    began = time.monotonic()
    with pytest.raises(BadRequest, match="too long"):
        Template(source).render({})
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 99999999 }}",
        "{{ 99999999 * 'x' }}",
        "{{ [1] * 99999999 }}",
        "{{ 9 ** 9999999 }}",
        "{% set ns = namespace(x='xx') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    ],
)
def test_nothing_large_is_computed_on_the_way(source: str) -> None:
    """It is refused before it takes the memory."""
    with pytest.raises(BadRequest, match="too l"):
        Template(source).render({})


def test_arithmetic_stays_what_it_is() -> None:
    """Bounds do not change results."""
    source = "{{ 2 * 3 }} {{ 'ab' * 2 }} {{ 1.5 + 2 }} {{ 'a' + 'b' }} {{ 2 ** 8 }} {{ [1] + [2] }}"
    assert Template(source).render({}) == "6 abab 3.5 ab 256 [1, 2]"
