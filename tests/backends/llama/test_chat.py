"""Chat templates: rendered as Hugging Face does, errors for the client, no harm from either side."""

import re
from datetime import datetime
from typing import Any

import pytest

from velesio.backends.llama import template
from velesio.backends.llama.chat import ChatTemplate
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
