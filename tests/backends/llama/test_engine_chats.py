"""Chats through the engine with SmolLM2: calls under grammar, reasoning with its budget, answers that are continued."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import validate

from tests.backends.conformance import Desk
from tests.backends.llama.conftest import subject_of
from tests.dialects.listening import joined
from velesio.backends.llama import gbnf
from velesio.dialects import Said, Speech
from velesio.jobs import Chat, Failed, Grammar, PromptResult, Render, Sampling, Started, TextResult

CITY = {"type": "string", "pattern": "^[A-Z][a-z]{2,9}$"}
WEATHER = {
    "type": "object",
    "properties": {"city": CITY, "days": {"type": "integer", "minimum": 1, "maximum": 7}},
    "required": ["city", "days"],
}
DICE = {"type": "object", "properties": {"sides": {"enum": [6, 20]}}, "required": ["sides"]}
SCHEMAS = {"get_weather": WEATHER, "roll": DICE, "now": {"type": "object", "properties": {}}}
TOOLS = tuple(
    {"type": "function", "function": {"name": name, "description": f"Does {name}.", "parameters": schema}}
    for name, schema in SCHEMAS.items()
)
HELLO = [{"role": "user", "content": "What is the weather in Paris?"}]

THINKING = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is not defined or enable_thinking %}"
    "<think>\n{% endif %}{% endif %}"
)
HERMES = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"
    "Call with <tool_call>{...}</tool_call>.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
    "{% for call in message.tool_calls %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def desk_of(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Desk]]:
    """A desk whose model speaks by a template; "": its own. One for each, loaded once."""
    desks: dict[str, Desk] = {}

    def of(template: str) -> Desk:
        if template not in desks:
            options: dict[str, Any] = {"context": 1024, "slots": 2}
            if template:
                file = tmp_path_factory.mktemp("templates") / "chat.jinja"
                file.write_text(template)
                options["chat_template"] = str(file)
            desks[template] = Desk(subject_of(smollm2, **options))
        return desks[template]

    yield of
    for desk in desks.values():
        desk.engine.close()


def asked(seed: int = 1, temperature: float = 1.0, **fields: Any) -> Chat:
    fields = {"messages": HELLO, "max_tokens": 200} | fields
    return Chat(sampling=Sampling(seed=seed, temperature=temperature), **fields)


def said(result: TextResult, tools: Any = TOOLS) -> list[Said]:
    speech = Speech(result.dialect, tools)
    return [*speech.feed(result.text), *speech.end()]


def calls(result: TextResult) -> list[tuple[str, Any]]:
    """(name, arguments), valid against the functions' schemas; there is nothing else."""
    found = []
    for kind, *rest in joined(said(result)):
        assert kind == "call", result.text
        name, arguments = rest
        validate(json.loads(arguments), SCHEMAS[name])
        found.append((name, json.loads(arguments)))
    return found


@pytest.mark.parametrize("template", ["", HERMES])
@pytest.mark.parametrize("seed", range(2))
def test_a_call_that_is_required_is_made_and_valid(desk_of: Callable[[str], Desk], template: str, seed: int) -> None:
    """By a model whose template has no place for functions, and by one that was made for them."""
    result = desk_of(template).text(asked(seed, tools=TOOLS, tool_choice="required", parallel_tool_calls=False))
    assert result.stop == "eos"
    assert len(calls(result)) >= 1
    assert result.dialect.name == ("hermes" if template else "json")


@pytest.mark.parametrize("template", ["", HERMES])
def test_a_certain_function_is_called(desk_of: Callable[[str], Desk], template: str) -> None:
    """And no other, and once."""
    for name in SCHEMAS:
        result = desk_of(template).text(asked(tools=TOOLS, tool_choice=f"={name}", parallel_tool_calls=False))
        assert [called for called, _ in calls(result)] == [name]


def test_calls_may_be_parallel_or_not(desk_of: Callable[[str], Desk]) -> None:
    """As the request says: the grammar ends after the first, or does not."""
    begun = '{"tool_calls": [{"name": "now", "arguments": {}}'
    sent = tuple(desk_of("").engine._model.tokenize(begun))
    alone = desk_of("").text(asked(tools=TOOLS, tool_choice="required", parallel_tool_calls=False), sent=sent)
    assert [name for name, _ in calls(alone)] == ["now"]
    more = tuple(desk_of("").engine._model.tokenize(f"{begun}, "))
    several = desk_of("").text(asked(tools=TOOLS, tool_choice="required", parallel_tool_calls=True), sent=more)
    begun_calls = [each for each in joined(said(several)) if each[0] == "call"]
    assert len(begun_calls) >= 2  # the last may be cut by the limit


def test_without_must_the_answer_is_free_until_a_call_begins(desk_of: Callable[[str], Desk]) -> None:
    """`auto`: plain text stays plain text; once the model writes the begin of a call, it is a valid one."""
    desk = desk_of(HERMES)
    free = desk.text(asked(tools=TOOLS, max_tokens=30, temperature=0))
    assert joined(said(free))[0][0] == "content"
    for seed in range(2):
        sent = tuple(desk.engine._model.tokenize("Let me look.\n<tool_call>"))
        result = desk.text(asked(seed, tools=TOOLS, parallel_tool_calls=False), sent=sent)
        first, (_, name, arguments) = joined(said(result))
        assert first == ("content", "Let me look.")
        validate(json.loads(arguments), SCHEMAS[name])
        assert result.stop == "eos"


def test_a_model_that_was_told_is_held_to_valid_calls_too(desk_of: Callable[[str], Desk]) -> None:
    """The begin of the object is the trigger."""
    sent = tuple(desk_of("").engine._model.tokenize('{"tool_calls"'))
    assert calls(desk_of("").text(asked(tools=TOOLS), sent=sent))


def test_no_call_is_made_where_none_may_be(desk_of: Callable[[str], Desk]) -> None:
    """`none`: the prompt does not even tell of the functions."""
    desk = desk_of(HERMES)
    render = Render(asked(tools=TOOLS, tool_choice="none"))
    (final,) = desk.finish(desk.start(render))
    assert isinstance(final.result, PromptResult)
    assert "get_weather" not in final.result.prompt
    told = desk.finish(desk.start(Render(asked(tools=TOOLS))))[0].result
    assert "get_weather" in told.prompt
    assert told.dialect.name == "hermes"


def test_instructions_stand_in_the_prompt_of_a_template_without_functions(desk_of: Callable[[str], Desk]) -> None:
    """Calls and results of before as well, in the same words."""
    call = {"id": "1", "type": "function", "function": {"name": "now", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "name": "now", "content": "noon"},
    ]
    prompt = desk_of("").finish(desk_of("").start(Render(asked(messages=messages, tools=TOOLS))))[0].result.prompt
    assert "Be brief.\n\nYou can call functions." in prompt
    assert '{"tool_calls": [{"name": "now", "arguments": {}}]}' in prompt
    assert '{"tool_results": [{"name": "now", "content": "noon"}]}' in prompt
    assert prompt.endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("fields", "param", "reason"),
    [
        ({"tool_choice": "=rm"}, "tool_choice", "no function 'rm'"),
        ({"tools": (), "tool_choice": "required"}, "tool_choice", "no function"),
        ({"grammar": Grammar(gbnf='root ::= "x"')}, "grammar", "custom grammar"),
        ({"continue_final": True}, "messages", "could be continued"),
    ],
)
def test_what_cannot_be_is_refused(desk_of: Callable[[str], Desk], fields: Any, param: str, reason: str) -> None:
    """With the field that is at fault."""
    failed = desk_of("").run(asked(**({"tools": TOOLS} | fields)))
    assert isinstance(failed, Failed)
    assert failed.details == {"param": param}
    assert reason in failed.message


def test_schemas_that_a_grammar_cannot_follow_allow_any_object(desk_of: Callable[[str], Desk]) -> None:
    """Unless the function is strict."""
    schema = {"type": "object", "properties": {"x": {"not": {"type": "string"}}}}
    function = {"name": "odd", "parameters": schema}
    (found,) = joined(
        said(
            desk_of("").text(asked(tools=[{"function": function}], tool_choice="required", max_tokens=400)),
            [{"function": function}],
        )
    )
    assert found[:2] == ("call", "odd")
    failed = desk_of("").run(asked(tools=[{"function": function | {"strict": True}}], tool_choice="required"))
    assert isinstance(failed, Failed)
    assert "odd" in failed.message
    assert failed.details == {"param": "tools"}


def test_functions_that_are_too_many_for_a_grammar_are_still_called(
    desk_of: Callable[[str], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held to their names alone: the arguments are the beginning of some object."""
    monkeypatch.setattr(gbnf, "MAX_SOURCE", 2000)
    schema = {"type": "object", "properties": {"kind": {"enum": [f"{number}-{'x' * 8}" for number in range(20)]}}}
    tools = [{"function": {"name": f"f{number}", "parameters": schema}} for number in range(3)]
    result = desk_of("").text(asked(tools=tools, tool_choice="required", max_tokens=400, temperature=0))
    (kind, name, arguments), *_ = joined(said(result, tools))
    assert (kind, name[0]) == ("call", "f")
    assert arguments.lstrip().startswith("{")  # whether this small model ever comes to its end is another matter


# reasoning


def thought_of(result: TextResult) -> tuple[str, str]:
    found = dict(joined(said(result, ())))
    return found.get("reasoning", ""), found.get("content", "")


def test_reasoning_that_the_template_begins_is_told_apart(desk_of: Callable[[str], Desk]) -> None:
    """The dialect says how the prompt ends."""
    desk = desk_of(THINKING)
    work = desk.start(asked(temperature=0, max_tokens=20))
    (final,) = desk.finish(work)
    started = desk.of(work)[0]
    assert isinstance(started, Started)
    assert started.dialect == final.result.dialect
    assert started.dialect.prefix == "<think>\n"
    reasoning, content = thought_of(final.result)
    assert reasoning.strip() == final.result.text.strip()
    assert not content


@pytest.mark.parametrize("budget", [1, 5, 12])
def test_reasoning_ends_after_its_budget(desk_of: Callable[[str], Desk], budget: int) -> None:
    """So many tokens, then the tag; the answer goes on behind it."""
    desk = desk_of(THINKING)
    free = desk.text(asked(temperature=0, max_tokens=40))
    result = desk.text(asked(temperature=0, max_tokens=40, reasoning_budget=budget))
    assert result.tokens[:budget] == free.tokens[:budget]
    begin, end, rest = result.text.partition("</think>")
    assert end
    assert rest.strip()
    reasoning, content = thought_of(result)
    assert reasoning == begin.strip()
    assert content.strip() == rest.strip()


def test_without_a_budget_there_is_no_reasoning(desk_of: Callable[[str], Desk]) -> None:
    """The template is asked for none; one that begins it all the same is ended at once."""
    desk = desk_of(THINKING)
    assert not thought_of(desk.text(asked(max_tokens=10, reasoning_budget=0)))[0]
    stubborn = desk_of(THINKING.replace("enable_thinking is not defined or enable_thinking", "true"))
    result = stubborn.text(asked(max_tokens=20, reasoning_budget=0))
    assert result.text.lstrip().startswith("</think>")
    assert not thought_of(result)[0]


def test_a_budget_is_kept_across_workers(desk_of: Callable[[str], Desk]) -> None:
    """Wherever the first one was lost: in the reasoning, within its end, after it."""
    desk = desk_of(THINKING)
    params = asked(temperature=0, max_tokens=14, reasoning_budget=6)
    whole = desk.text(params)
    end = whole.text.index("</think>") + len("</think>")
    for cut in range(1, 13):
        assert desk.text(params, sent=whole.tokens[:cut]).text[:end] == whole.text[:end]


def test_running_reasoning_can_be_ended(desk_of: Callable[[str], Desk]) -> None:
    """By the flag that the event loop sets; it changes nothing for an answer that does not reason."""
    desk = desk_of(THINKING)
    work = desk.start(asked(temperature=0, max_tokens=40), stream=True)
    for _ in range(6):
        desk.engine.step()
    work.thought_enough = True
    (final,) = desk.finish(work)
    reasoning, content = thought_of(final.result)
    assert reasoning
    assert content
    other = desk_of("")
    plain = other.text(asked(temperature=0, max_tokens=10))
    work = other.start(asked(temperature=0, max_tokens=10))
    work.thought_enough = True
    assert other.finish(work)[0].result.text == plain.text


@pytest.mark.parametrize(
    "grammar", [Grammar(schema=DICE), Grammar(gbnf='root ::= "{\\"sides\\": " [0-9]{1,3} "}" # root')]
)
def test_a_form_is_for_what_follows_the_reasoning(desk_of: Callable[[str], Desk], grammar: Grammar) -> None:
    """Reasoning is free, the content is not; also when another worker goes on."""
    desk = desk_of(THINKING)
    params = asked(max_tokens=120, reasoning_budget=5, grammar=grammar)
    whole = desk.text(params)
    reasoning, content = thought_of(whole)
    assert reasoning
    assert set(json.loads(content)) == {"sides"}
    for cut in (2, 7, len(whole.tokens) - 2):
        assert set(json.loads(thought_of(desk.text(params, sent=whole.tokens[:cut]))[1])) == {"sides"}


def test_calls_follow_the_reasoning(desk_of: Callable[[str], Desk]) -> None:
    """What reasoning says of calls is none; then one must come."""
    desk = desk_of(HERMES + "{% if add_generation_prompt %}<think>\n{% endif %}")
    for choice in ("required", "=roll"):
        result = desk.text(asked(tools=TOOLS, tool_choice=choice, reasoning_budget=6, parallel_tool_calls=False))
        thought, *rest = joined(said(result))
        assert thought[0] == "reasoning"
        assert rest
        assert {kind for kind, *_ in rest} == {"call"}
    sent = tuple(desk.engine._model.tokenize("I could <tool_call> it"))
    lazy = desk.text(asked(tools=TOOLS, max_tokens=12), sent=sent)
    assert "it" in joined(said(lazy))[0][1]


# continued answers


def test_an_answer_goes_on_from_what_is_given(desk_of: Callable[[str], Desk]) -> None:
    """The prompt ends in it, and the answer does not repeat it."""
    desk = desk_of("")
    begun = [*HELLO, {"role": "assistant", "content": "The weather in Paris is"}]
    prompt = desk.finish(desk.start(Render(asked(messages=begun))))[0].result.prompt
    assert prompt.endswith("<|im_start|>assistant\nThe weather in Paris is")
    assert not desk.text(asked(messages=begun, max_tokens=5)).text.startswith("The weather")
    closed = desk.finish(desk.start(Render(asked(messages=begun, continue_final=False))))[0].result.prompt
    assert closed.endswith("is<|im_end|>\n<|im_start|>assistant\n")


def test_reasoning_goes_on_from_what_is_given(desk_of: Callable[[str], Desk]) -> None:
    """And is still reasoning."""
    desk = desk_of(THINKING)
    begun = [*HELLO, {"role": "assistant", "content": "", "reasoning_content": "The user wants"}]
    prompt = desk.finish(desk.start(Render(asked(messages=begun))))[0].result
    assert prompt.prompt.endswith("<think>\nThe user wants")
    result = desk.text(asked(messages=begun, max_tokens=8, temperature=0))
    reasoning, content = thought_of(result)
    assert reasoning
    assert not content
