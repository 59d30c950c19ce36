"""Messages: what is read, and how what cannot be read is named."""

from typing import Any

import pytest

from velesio.errors import BadRequest, Unsupported
from velesio.http.text.conversation import Conversation, conversation_of


def test_a_conversation_is_read() -> None:
    """Roles and texts; a developer speaks as the system; parts are lines; strangers are ignored."""
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "Ann"},
        {"role": "assistant", "content": "", "refusal": None, "tool_calls": [], "annotations": []},
    ]
    assert conversation_of({"messages": messages}).messages == [
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
        conversation_of({"messages": messages})
    assert caught.value.param == param
    assert not isinstance(caught.value, Unsupported)


def test_no_messages() -> None:
    """They are required."""
    with pytest.raises(BadRequest, match="required"):
        conversation_of({})


PIXEL = "data:image/png;base64,iVBORw0KGgo="


def test_pictures_and_sounds_are_parts() -> None:
    """Their bytes stand apart, numbered through the conversation; a message without any stays text."""
    messages = [
        {"role": "user", "content": "plain"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
                {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
            ],
        },
        {"role": "user", "content": [{"type": "input_image", "image_url": PIXEL}]},
    ]
    assert conversation_of({"messages": messages}) == Conversation(
        [
            {"role": "user", "content": "plain"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is this?"},
                    {"type": "media", "media": 0},
                    {"type": "media", "media": 1},
                ],
            },
            {"role": "user", "content": [{"type": "media", "media": 2}]},
        ],
        (b"\x89PNG\r\n\x1a\n", b"RIFF", b"\x89PNG\r\n\x1a\n"),
    )


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "image_url"}, "image_url"),
        ({"type": "image_url", "image_url": {}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png,abc"}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,???"}}, "image_url.url"),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}, "image_url.url"),
        ({"type": "input_audio"}, "input_audio"),
        ({"type": "input_audio", "input_audio": {}}, "input_audio.url"),
        ({"type": "input_audio", "input_audio": {"data": 5}}, "input_audio.data"),
    ],
)
def test_what_is_no_picture_is_named(part: dict[str, Any], param: str) -> None:
    """Nothing is fetched for anybody."""
    with pytest.raises(BadRequest) as caught:
        conversation_of({"messages": [{"role": "user", "content": [part]}]})
    assert caught.value.param == f"messages[0].content[0].{param}"


def test_files_are_refused() -> None:
    """Nobody reads them."""
    with pytest.raises(Unsupported):
        conversation_of({"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]})


def test_calls_and_their_results() -> None:
    """As templates expect them, the old words and arguments that are objects included."""
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "Hm."},
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "2"}]},
        {"role": "assistant", "function_call": {"name": "f", "arguments": {"a": 1}}},
        {"role": "function", "name": "f", "content": "3"},
    ]
    assert conversation_of({"messages": messages}).messages == [
        {"role": "assistant", "content": "", "reasoning_content": "Hm.", "tool_calls": [call]},
        {"role": "tool", "content": "2", "tool_call_id": "1"},
        {"role": "assistant", "content": "", "tool_calls": [{name: call[name] for name in ("type", "function")}]},
        {"role": "tool", "content": "3", "name": "f"},
    ]


@pytest.mark.parametrize(
    ("calls", "param"),
    [
        ("f", "tool_calls"),
        (["f"], "tool_calls[0]"),
        ([{"id": "1"}], "tool_calls[0]"),
        ([{"function": {"name": 5}}], "tool_calls[0]"),
        ([{"function": {"name": "f", "arguments": 5}}], "tool_calls[0].function.arguments"),
    ],
)
def test_bad_calls_are_named(calls: Any, param: str) -> None:
    """By their path in the body."""
    with pytest.raises(BadRequest) as caught:
        conversation_of({"messages": [{"role": "assistant", "content": "", "tool_calls": calls}]})
    assert caught.value.param == f"messages[0].{param}"
