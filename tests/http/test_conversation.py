"""Messages: what is read, and how what cannot be read is named."""

from typing import Any

import pytest

from velesio.errors import BadRequest, Unsupported
from velesio.http.conversation import messages_of, template_kwargs_of


def test_a_conversation_is_read() -> None:
    """Roles and texts; a developer speaks as the system; parts are lines; strangers are ignored."""
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "Ann"},
        {"role": "assistant", "content": "", "refusal": None, "tool_calls": [], "annotations": []},
    ]
    assert messages_of({"messages": messages}) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a\nb", "name": "Ann"},
        {"role": "assistant", "content": ""},
    ]


def user(content: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": "x"}, {"role": "user", "content": content}]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ("hello", "messages"),
        ([], "messages"),
        (["hello"], "messages[0]"),
        ([{"content": "x"}], "messages[0].role"),
        ([{"role": "king", "content": "x"}], "messages[0].role"),
        ([{"role": 5, "content": "x"}], "messages[0].role"),
        ([{"role": [], "content": "x"}], "messages[0].role"),
        (user(None), "messages[1].content"),
        (user(5), "messages[1].content"),
        (user({"type": "text"}), "messages[1].content"),
        (user(["x"]), "messages[1].content[0]"),
        (user([{"type": "text"}]), "messages[1].content[0].text"),
        (user([{"type": "poem", "poem": "x"}]), "messages[1].content[0].type"),
    ],
)
def test_bad_messages_are_named(messages: Any, param: str) -> None:
    """By their path in the body."""
    with pytest.raises(BadRequest) as caught:
        messages_of({"messages": messages})
    assert caught.value.param == param
    assert not isinstance(caught.value, Unsupported)


def test_no_messages() -> None:
    """They are required."""
    with pytest.raises(BadRequest, match="required"):
        messages_of({})


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "content": "x", "tool_call_id": "1"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]},
        {"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]},
    ],
)
def test_tools_and_pictures_are_refused(message: dict[str, Any]) -> None:
    """They are not ignored: the answer would be nonsense."""
    with pytest.raises(Unsupported):
        messages_of({"messages": [message]})


@pytest.mark.parametrize(
    ("raw", "kwargs"),
    [
        ({}, {}),
        ({"chat_template_kwargs": {"enable_thinking": False}}, {"enable_thinking": False}),
        ({"reasoning_effort": "none"}, {"enable_thinking": False}),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "low"}),
        ({"reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": True}}, {"enable_thinking": True}),
    ],
)
def test_variables_of_the_template(raw: dict[str, Any], kwargs: dict[str, Any]) -> None:
    """What is given by name counts more than what the effort means."""
    assert template_kwargs_of(raw) == kwargs


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"chat_template_kwargs": "x"}, "chat_template_kwargs"),
        ({"chat_template_kwargs": {"enable_thinking": "false"}}, "chat_template_kwargs.enable_thinking"),
        ({"chat_template_kwargs": {"n": 2**70}}, "chat_template_kwargs"),
        ({"reasoning_effort": 3}, "reasoning_effort"),
    ],
)
def test_bad_variables_are_named(raw: dict[str, Any], param: str) -> None:
    """Also a number that the queue cannot carry."""
    with pytest.raises(BadRequest) as caught:
        template_kwargs_of(raw)
    assert caught.value.param == param
