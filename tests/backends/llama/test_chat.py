"""Chat templates: rendered as Hugging Face does, errors for the client, no harm from either side."""

import re
from datetime import datetime
from typing import Any

import pytest

from tests.backends.llama import reference
from tests.backends.llama.test_template import CONVERSATIONS, SOURCES
from velesio.backends.llama import template
from velesio.backends.llama.chat import ChatTemplate
from velesio.dialects import functions_of
from velesio.errors import BadRequest

USER = {"role": "user", "content": "Hi"}


def render(source: str, messages: list[dict[str, Any]] | None = None, **arguments: Any) -> str:
    return ChatTemplate(source, bos="<s>", eos="</s>").render(messages or [USER], **arguments).text


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>Hi</s>"),
        ("{% if add_generation_prompt %}yes{% endif %}", "yes"),
        ("a\n  {% if true %}\nb\n  {% endif %}\nc", "a\nb\nc"),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{{ {'a': '<é>', 'b': [1, none]} | tojson }}", '{"a": "<é>", "b": [1, null]}'),
        ("{{ {'a': 1} | tojson(indent=2) }}", '{\n  "a": 1\n}'),
        ("{{ '<b>' }}", "<b>"),
        ("{% generation %}x{% endgeneration %}", "x"),
        ("{{ tools is none }}", "True"),
        ("{{ missing is defined }}", "False"),
    ],
)
def test_templates_get_what_they_expect(source: str, expected: str) -> None:
    """Variables, whitespace, loop controls, JSON and blocks as in Hugging Face's environment."""
    assert render(source) == expected


def test_now_is_the_local_date() -> None:
    """`strftime_now` formats the present."""
    before = datetime.now().astimezone().year
    assert int(render("{{ strftime_now('%Y') }}")) - before in {0, 1}


def test_a_model_without_a_template_speaks_chatml() -> None:
    """The fallback, with and without the prompt for an answer."""
    system = {"role": "system", "content": "Be brief."}
    talk = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    assert render("", [system, USER]) == talk + "<|im_start|>assistant\n"
    assert render("", [system, USER], add_generation_prompt=False) == talk


def test_the_last_message_of_the_assistant_is_continued() -> None:
    """It becomes the begin of the answer, without an end mark."""
    begun = {"role": "assistant", "content": "Once"}
    assert render("", [USER, begun]).endswith("<|im_start|>assistant\nOnce")
    closed = render("", [USER, begun], add_generation_prompt=False)
    assert closed.endswith("<|im_start|>assistant\nOnce<|im_end|>\n")


def test_parts_are_joined() -> None:
    """Content may be a list of text parts, or missing."""
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert render("{{ messages[0].content }}", [{"role": "user", "content": parts}]) == "one\ntwo"
    assert render("[{{ messages[0].content }}]", [{"role": "user"}]) == "[]"


def test_arguments_reach_the_template_but_not_its_messages() -> None:
    """`template_kwargs` are variables; they cannot replace the conversation."""
    source = "{{ thinking }} {{ messages[0].content }}"
    assert render(source, arguments={"thinking": "on", "messages": []}) == "on Hi"


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([{"content": "x"}], r"messages\[0\]: give a role"),
        ([USER, {"role": 5}], r"messages\[1\]: give a role"),
        (["x"], r"messages\[0\]"),
        ([{"role": "user", "content": 5}], "text or a list"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "image_url"),
        ([{"role": "user", "content": ["x"]}], "str"),
        ([{"role": "user", "content": [{"type": "text"}]}], "text"),
        ([{"role": "assistant", "content": "a"}] * 2, "only the last"),
    ],
)
def test_what_is_no_conversation_is_refused(messages: list[Any], message: str) -> None:
    """The refusal names the message at fault."""
    with pytest.raises(BadRequest, match=message):
        render("", messages)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[5].content.x }}", "refused"),
        ("{{ 1 / 0 }}", "division"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ range(999999999) | list }}", "[Rr]ange"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "deep"),
        ("{% if %}", "cannot be compiled"),
    ],
)
def test_a_template_can_refuse_but_do_no_harm(source: str, message: str) -> None:
    """Its own message, or why it could not be rendered, goes to the client."""
    with pytest.raises(BadRequest, match=message):
        render(source)


def test_rendering_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that writes without end is stopped."""
    loops = "{% for i in range(99999) %}{% for j in range(99999) %}xxxxxxxxxxxxxxxx{{ j }}{% endfor %}{% endfor %}"
    monkeypatch.setattr(template, "MAX_LENGTH", 10_000)
    with pytest.raises(BadRequest, match="too long"):
        render(loops)
    monkeypatch.setattr(template, "MAX_LENGTH", 1 << 40)
    monkeypatch.setattr(template, "MAX_SECONDS", 0.05)
    with pytest.raises(BadRequest, match="too long"):
        render(loops)


def test_chatml_is_what_the_demo_model_speaks() -> None:
    """Nothing in the fallback is left to the template language."""
    assert re.search(r"\{|\}", render("")) is None


# what clients send, as templates want it

LLAMA3 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set messages = messages[1:] %}{% else %}{% set system = '' %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\n{% if tools %}Environment: ipython\n{% endif %}"
    "{{ system }}<|eot_id|>"
    "{% for m in messages %}"
    "{% if tools and loop.first %}{% for tool in tools %}{{ tool | tojson(indent=4) }}\n\n{% endfor %}{% endif %}"
    "{% if m.tool_calls %}{% if m.tool_calls | length != 1 %}{{ raise_exception('one call at once') }}{% endif %}"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{% set call = m.tool_calls[0].function %}"
    '{"name": "{{ call.name }}", "parameters": {{ call.arguments | tojson }}}<|eot_id|>'
    "{% elif m.role == 'tool' %}<|start_header_id|>ipython<|end_header_id|>\n\n{{ m.content | tojson }}<|eot_id|>"
    "{% else %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
COMMAND_R7B = (
    "{{ bos_token }}{% if tools %}<|SYSTEM_TOKEN|>{{ tools | tojson }} Begin calls with <|START_ACTION|>.{% endif %}"
    "{% for m in messages %}<|START_OF_TURN_TOKEN|>{{ m.role }}: {{ m.content }}"
    "{% if m.tool_calls %}<|START_ACTION|>[{% for c in m.tool_calls %}"
    '{"tool_call_id": "{{ loop.index0 }}", "tool_name": "{{ c.function.name }}", '
    '"parameters": {{ c.function.arguments | tojson }}}{% endfor %}]<|END_ACTION|>{% endif %}<|END_OF_TURN_TOKEN|>'
    "{% endfor %}{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>"
    "{% if not tools %}<|START_RESPONSE|>{% endif %}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}"
    "{% endif %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n"
    "{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SYSTEM = {"role": "system", "content": "Be brief."}
TOOL = {
    "type": "function",
    "function": {"name": "now", "parameters": {"type": "object", "properties": {"zone": {"type": "string"}}}},
}
CALLED = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "now", "arguments": '{"zone": "é"}'}}],
}
RESULT = {"role": "tool", "tool_call_id": "toolu_1", "name": "now", "content": "noon"}


def chat_of(source: str, **more: Any) -> ChatTemplate:
    return ChatTemplate(source, bos="<s>", eos="</s>", **more)


def test_arguments_of_calls_come_as_the_template_wants_them() -> None:
    """Clients send them as text; some templates want objects."""
    messages = [USER, CALLED, RESULT]
    assert '"parameters": {"zone": "é"}' in chat_of(LLAMA3).render(messages, tools=[TOOL]).text
    as_text = (
        "{% for m in messages %}{{ m.content }}{% for c in m.tool_calls %}"
        "{{ c.function.name + c.function.arguments }}{% endfor %}{% endfor %}"
    )
    assert '{"zone": "é"}' in chat_of(as_text).render(messages).text
    given = [USER, CALLED | {"tool_calls": [{"function": {"name": "now", "arguments": {"zone": "é"}}}]}]
    assert 'now{"zone": "é"}' in chat_of(as_text).render(given).text


@pytest.mark.parametrize("source", [LLAMA3, COMMAND_R7B])
def test_what_a_template_can_do_is_left_to_it(source: str) -> None:
    """The prompt is the reference's, given what the template wants."""
    objects = CALLED | {
        "content": "",
        "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "now", "arguments": {"zone": "é"}}}],
    }
    expected = reference.rendered(source, [SYSTEM, USER, objects, RESULT], tools=[TOOL], add_generation_prompt=True)
    assert chat_of(source).render([SYSTEM, USER, CALLED, RESULT], tools=[TOOL]).text == expected


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("conversation", ["user", "turns", "tools"])
def test_real_templates_get_what_the_reference_gives_them(name: str, conversation: str) -> None:
    """Where they have a place for all of it."""
    chat, given = chat_of(SOURCES[name]), CONVERSATIONS[conversation]
    tools = given.get("tools", [])
    native = not tools or chat.format(list(functions_of(tools).values())).name != "json"
    if native and (chat.abilities.system or given["messages"][0]["role"] != "system"):
        expected = reference.rendered(SOURCES[name], given["messages"], tools=tools or None, add_generation_prompt=True)
        assert chat.render(given["messages"], tools=tools).text == expected


def test_a_template_without_a_system_gets_its_words_from_the_user() -> None:
    """Gemma's refuses the role, and two messages of one role in a row."""
    prompt = chat_of(GEMMA).render([SYSTEM, USER]).text
    assert prompt == "<s><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\n"


def test_a_template_without_functions_is_told_of_them_in_words() -> None:
    """In the system's message, or for lack of one in the user's."""
    told = chat_of("").render([SYSTEM, USER, CALLED, RESULT], tools=[TOOL]).text
    assert told.startswith("<|im_start|>system\nBe brief.\n\nYou can call functions.")
    assert '{"tool_calls": [{"name": "now", "arguments": {"zone": "é"}}]}' in told
    assert '<|im_start|>user\n{"tool_results": [{"name": "now", "content": "noon"}]}' in told
    gemma = chat_of(GEMMA).render([USER], tools=[TOOL]).text
    assert "call functions" in gemma
    assert gemma.endswith("Hi<end_of_turn>\n<start_of_turn>model\n")


def test_a_template_for_functions_is_used_where_there_are_some() -> None:
    """Files may have one beside the other."""
    chat = chat_of("", tool_source="{{ tools | tojson }}<tool_call>{% for m in messages %}{{ m.content }}{% endfor %}")
    assert chat.render([USER]).text.startswith("<|im_start|>")
    assert chat.render([USER], tools=[TOOL]).text.startswith('[{"type": "function"')


def test_a_template_that_wants_functions_gets_an_empty_list() -> None:
    """Where there are none and it goes through them all the same."""
    source = "{% for tool in tools %}{{ tool }}{% endfor %}{{ messages[0].content }}"
    assert chat_of(source).render([USER]).text == "Hi"


def test_ids_are_as_mistral_wants_them() -> None:
    """Nine letters and digits, the same for a call and its result."""
    prompt = chat_of(SOURCES["mistralai-Mistral-Nemo-Instruct-2407"]).render([USER, CALLED, RESULT], tools=[TOOL]).text
    called = re.search(r'"id": "([a-z0-9]{9})"', prompt)
    assert called
    assert prompt.count(called[1]) == 2


@pytest.mark.parametrize(
    ("name", "arguments", "prefix", "thinks"),
    [
        ("Qwen-Qwen3-0.6B", {}, "", True),
        ("Qwen-Qwen3-0.6B", {"enable_thinking": False}, "", False),
        ("Qwen-Qwen2.5-7B-Instruct", {}, "", False),
        ("llama-cpp-deepseek-r1", {}, "<think>\n", True),
        ("deepseek-ai-DeepSeek-V3.1", {"thinking": True}, "<think>", True),
        ("deepseek-ai-DeepSeek-V3.1", {}, "", False),
        ("openai-gpt-oss-120b", {}, "<|start|>assistant", True),
        ("meetkai-functionary-medium-v3.2", {}, ">>>", False),
        ("MiniMax-M2", {}, "<think>\n", True),
        ("GLM-4.7-Flash", {}, "<think>", True),
    ],
)
def test_the_end_of_a_prompt_tells_where_the_answer_is(name: str, arguments: Any, prefix: str, thinks: bool) -> None:
    """In its reasoning, before it, or past it."""
    rendered = chat_of(SOURCES[name]).render([USER], arguments=arguments)
    assert (rendered.prefix, rendered.thinks) == (prefix, thinks)


def test_command_r_begins_its_answer_in_the_prompt() -> None:
    """With the mark of a response, which is no content."""
    rendered = chat_of(COMMAND_R7B).render([USER])
    assert rendered.prefix == "<|START_RESPONSE|>"
    assert not chat_of(COMMAND_R7B).render([USER], tools=[TOOL]).prefix


@pytest.mark.parametrize("name", SOURCES)
def test_any_template_lets_an_answer_go_on(name: str) -> None:
    """The prompt ends with what is begun; blanks at its end stay."""
    begun = {"role": "assistant", "content": "It will "}
    rendered = chat_of(SOURCES[name]).render([USER, begun])
    assert rendered.text.endswith("It will ")
    assert not rendered.prefix.startswith("<think>")


def test_begun_reasoning_goes_on() -> None:
    """As the content's begin, or in a field of its own; after its end it is content that goes on."""
    chat = chat_of(SOURCES["Qwen-Qwen3-0.6B"])
    for begun in ({"content": "<think>\nHm"}, {"content": "", "reasoning_content": "Hm"}):
        rendered = chat.render([USER, {"role": "assistant", **begun}])
        assert rendered.text.endswith("<think>\nHm")
        assert rendered.prefix == "<think>\nHm"
        assert rendered.thinks
    over = chat.render([USER, {"role": "assistant", "content": "It", "reasoning_content": "Hm"}])
    assert over.text.endswith("<think>\nHm\n</think>\n\nIt")
    assert not over.thinks


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "tool_calls": "x"},
        {"role": "assistant", "tool_calls": [{}]},
        {"role": "assistant", "tool_calls": ["x"]},
    ],
)
def test_calls_that_are_none_are_refused(message: Any) -> None:
    """With the message."""
    with pytest.raises(BadRequest, match=r"messages\[1\].tool_calls"):
        chat_of(LLAMA3).render([USER, message, USER], tools=[TOOL])


def test_an_unclosed_message_may_be_asked_for() -> None:
    """`continue_final` without a generation prompt; what is not the assistant's cannot be continued."""
    begun = {"role": "assistant", "content": "It"}
    assert chat_of("").render([USER, begun], add_generation_prompt=False, continue_final=True).text.endswith("\nIt")
    with pytest.raises(BadRequest, match="could be continued"):
        chat_of("").render([USER], continue_final=True)
