"""Requests of the responses API: the chat that they mean."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from tests.http.conftest import ANYTHING, bodies
from velesio.errors import BadRequest, Unsupported
from velesio.http.openai.responses_requests import Body, read
from velesio.http.text import generation
from velesio.http.wire import encode, parse_object
from velesio.jobs import Chat, Grammar, Sampling

TOOL = {"type": "function", "name": "f", "description": "F.", "parameters": {"type": "object"}, "strict": True}
NESTED = {
    "type": "function",
    "function": {"name": "f", "description": "F.", "parameters": {"type": "object"}, "strict": True},
}
PIXEL = "data:image/png;base64,iVBORw0KGgo="


def chat(raw: dict[str, Any]) -> Chat:
    (params,) = read({"input": "Hi"} | raw).params
    return params


@pytest.mark.parametrize(
    ("raw", "messages"),
    [
        ({"input": "Hi"}, [{"role": "user", "content": "Hi"}]),
        (
            {"instructions": "Be brief.", "input": [{"role": "developer", "content": "x"}]},
            [{"role": "system", "content": "Be brief."}, {"role": "system", "content": "x"}],
        ),
        (
            {
                "input": [
                    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
                    {"role": "assistant", "content": [{"type": "output_text", "text": "b", "annotations": []}]},
                    {"role": "user", "content": "c"},
                ]
            },
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"},
                {"role": "user", "content": "c"},
            ],
        ),
        (
            {
                "input": [
                    {"role": "user", "content": "q"},
                    {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
                    {"role": "assistant", "content": "I look."},
                    {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
                    {"type": "function_call", "call_id": "2", "name": "f", "arguments": "{}", "id": "fc_2"},
                    {"type": "function_call_output", "call_id": "1", "output": "one"},
                    {"type": "function_call_output", "call_id": "2", "output": [{"type": "input_text", "text": "two"}]},
                ]
            },
            [
                {"role": "user", "content": "q"},
                {
                    "role": "assistant",
                    "content": "I look.",
                    "reasoning_content": "Hm.",
                    "tool_calls": [
                        {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                        {"id": "2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    ],
                },
                {"role": "tool", "tool_call_id": "1", "content": "one"},
                {"role": "tool", "tool_call_id": "2", "content": "two"},
            ],
        ),
        (
            {"input": [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]},
            [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}],
        ),
    ],
)
def test_items_are_messages(raw: dict[str, Any], messages: list[dict[str, Any]]) -> None:
    """Reasoning, text and calls that follow each other are one answer."""
    assert chat(raw).messages == messages


def test_pictures_are_media() -> None:
    """As in chats, with the address by itself."""
    params = chat({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": PIXEL}]}]})
    assert params.messages[0]["content"] == [{"type": "media", "media": 0}]
    assert len(params.media) == 1


def test_what_a_request_becomes() -> None:
    """Limits, tools, reasoning, the form of the answer, log probabilities."""
    params = chat(
        {
            "max_output_tokens": 9,
            "temperature": 0.5,
            "tools": [TOOL],
            "tool_choice": {"type": "function", "name": "f"},
            "parallel_tool_calls": False,
            "reasoning": {"effort": "low", "summary": "auto"},
            "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
            "top_logprobs": 4,
        }
    )
    assert (params.max_tokens, params.sampling.temperature) == (9, 0.5)
    assert (params.tools, params.tool_choice, params.parallel_tool_calls) == ((NESTED,), "=f", False)
    assert params.template_kwargs == {"reasoning_effort": "low"}
    assert params.n_probs == 4
    assert chat({"include": ["reasoning.encrypted_content"]}).n_probs == 0


@pytest.mark.parametrize(
    ("form", "grammar"),
    [
        ({}, None),
        ({"type": "text"}, None),
        ({"type": "json_object"}, Grammar(schema={"type": "object"})),
        ({"type": "json_schema", "name": "n", "schema": {"type": "integer"}}, Grammar(schema={"type": "integer"})),
        ({"type": "json_schema", "name": "n", "schema": {}}, Grammar(schema={"type": "object"})),
    ],
)
def test_the_form_of_the_answer(form: dict[str, Any], grammar: Grammar | None) -> None:
    """Flat, where chats have it nested."""
    assert chat({"text": {"format": form}}).grammar == grammar


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [5]}, "input[0]"),
        ({"input": [{"type": 5}]}, "input[0]"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"type": "poem"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "1"}]}, "input[0].output"),
        ({"input": [{"type": "reasoning", "content": "x"}]}, "input[0].content"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"instructions": 5}, "instructions"),
        ({"max_output_tokens": -2}, "max_output_tokens"),
        ({"top_logprobs": 101}, "top_logprobs"),
        ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "schema": 5}}}, "text.format.schema"),
        ({"tools": "f"}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [TOOL | {"name": ""}]}, "tools[0].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "x"}}, "conversation"),
        ({"n": 2}, "n"),
    ],
)
def test_mistakes_are_named(raw: dict[str, Any], param: str) -> None:
    """By their path in the body, as 400."""
    body = {name: value for name, value in ({"input": "Hi"} | raw).items() if value is not None}
    with pytest.raises(BadRequest) as caught:
        read(body)
    assert caught.value.param == param
    assert not isinstance(caught.value, Unsupported)


@pytest.mark.parametrize(
    "raw",
    [
        {"background": True},
        {"prompt": {"id": "pmpt_1"}},
        {"tools": [{"type": "web_search"}]},
        {"input": [{"type": "computer_call"}]},
    ],
)
def test_what_openais_servers_do_is_refused(raw: dict[str, Any]) -> None:
    """It is not ignored."""
    with pytest.raises(Unsupported):
        read({"input": "Hi"} | raw)


@settings(max_examples=200, deadline=None)
@given(bodies([Body, generation.Body, Sampling], input=ANYTHING, tools=ANYTHING, tool_choice=ANYTHING))
def test_any_body_is_read_or_refused(raw: dict[str, Any]) -> None:
    """What is read can be queued."""
    try:
        asked = read(parse_object(encode(raw)))
    except BadRequest:
        return
    (params,) = asked.params
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=Chat) == params
