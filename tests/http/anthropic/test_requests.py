"""Anthropic's bodies, field by field."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from tests.http.conftest import ANYTHING, bodies
from velesio.errors import BadRequest, Unsupported
from velesio.http.anthropic.requests import Asked, Body, read
from velesio.http.wire import encode, parse_object
from velesio.jobs import Chat, Grammar, Params, Sampling

HI = {"role": "user", "content": "Hi"}
WEATHER = {"name": "weather", "description": "Of a city", "input_schema": {"type": "object", "required": ["city"]}}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
BASE64 = {"type": "base64", "media_type": "image/png", "data": "aGk="}


def asked(**fields: Any) -> Asked:
    return read({"model": "m", "max_tokens": 5, "messages": [HI], **fields})


def chat(**fields: Any) -> Chat:
    return asked(**fields).chat


def turn(role: str, *blocks: dict[str, Any]) -> list[dict[str, Any]]:
    """What a message of these blocks becomes, after a question."""
    return chat(messages=[HI, {"role": role, "content": list(blocks)}]).messages[1:]


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def test_a_plain_request() -> None:
    """Sampling, limit and stops go to the job; what is not said has the server's defaults."""
    read_ = asked(temperature=0.5, top_p=0.9, top_k=7, stop_sequences=["END", ""], system="Be brief.", stream=True)
    assert (read_.model, read_.stream, read_.omits_thinking) == ("m", True, False)
    assert read_.chat == Chat(
        messages=[{"role": "system", "content": "Be brief."}, HI],
        sampling=Sampling(temperature=0.5, top_p=0.9, top_k=7),
        max_tokens=5,
        stop=("END",),
    )
    assert read({"messages": [HI]}).chat.max_tokens == 4096


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"seed": 7}, "sampling", Sampling(seed=7)),
        ({"max_tokens": 0}, "max_tokens", 0),
        ({"tools": [WEATHER], "tool_choice": {"type": "auto"}}, "tool_choice", "auto"),
        ({"tools": [WEATHER], "tool_choice": {"type": "any"}}, "tool_choice", "required"),
        ({"tools": [WEATHER], "tool_choice": {"type": "none"}}, "tool_choice", "none"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "weather"}}, "tool_choice", "=weather"),
        ({"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, "parallel_tool_calls", False),
        ({"tool_choice": {"type": "auto"}}, "parallel_tool_calls", None),
        ({"thinking": {"type": "enabled", "budget_tokens": 64}}, "reasoning_budget", 64),
        ({"thinking": {"type": "enabled", "budget_tokens": 64}}, "template_kwargs", {"enable_thinking": True}),
        ({"thinking": {"type": "adaptive"}}, "template_kwargs", {"enable_thinking": True}),
        ({"thinking": {"type": "disabled"}}, "template_kwargs", {"enable_thinking": False}),
        ({"thinking": {"type": "disabled"}}, "reasoning_budget", 0),
        ({}, "reasoning_budget", -1),
        ({"output_config": {"effort": "low"}}, "template_kwargs", {"reasoning_effort": "low"}),
        ({"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}}, "grammar", Grammar(schema=SCHEMA)),
        ({"output_format": {"type": "json_schema", "schema": SCHEMA}}, "grammar", Grammar(schema=SCHEMA)),
        ({"system": [text("One."), text("Two.")]}, "messages", [{"role": "system", "content": "One.\nTwo."}, HI]),
        ({"system": ""}, "messages", [HI]),
        ({"metadata": {"user_id": "me"}, "service_tier": "auto", "mcp_servers": []}, "messages", [HI]),
    ],
)
def test_fields(fields: dict[str, Any], name: str, value: Any) -> None:
    """Each is one field of the job, or asks for nothing."""
    assert getattr(chat(**fields), name) == value


def test_tools_are_openais() -> None:
    """Name, description and schema; what has no description has none."""
    tools = chat(tools=[WEATHER, {"type": "custom", "name": "time"}]).tools
    assert tools == (
        {
            "type": "function",
            "function": {
                "name": "weather",
                "parameters": WEATHER["input_schema"],
                "description": "Of a city",
            },
        },
        {"type": "function", "function": {"name": "time", "parameters": {"type": "object"}}},
    )


@pytest.mark.parametrize(
    ("block", "said"),
    [
        (text("Hello"), "Hello"),
        ({"type": "document", "source": {"type": "text", "data": "Once"}}, "Once"),
        ({"type": "document", "title": "Tale", "source": {"type": "text", "data": "Once"}}, "Tale\nOnce"),
        ({"type": "document", "source": {"type": "content", "content": [text("a"), text("b")]}}, "a\nb"),
        ({"type": "document", "source": {"type": "content", "content": "a"}}, "a"),
        ({"type": "search_result", "title": "T", "source": "http://x", "content": [text("a")]}, "T\nhttp://x\na"),
    ],
)
def test_blocks_of_text(block: dict[str, Any], said: str) -> None:
    """Everything that is text is read as text; several blocks are lines."""
    assert turn("user", block) == [{"role": "user", "content": said}]
    assert turn("user", block, text("End")) == [{"role": "user", "content": f"{said}\nEnd"}]


def test_what_was_thought_and_called_comes_back() -> None:
    """A turn of the assistant has its text, its thoughts and its calls; what only Anthropic can read is left out."""
    (message,) = turn(
        "assistant",
        {"type": "thinking", "thinking": "Hm.", "signature": "x"},
        {"type": "redacted_thinking", "data": "x"},
        text("Let me look."),
        {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Köln"}},
    )
    assert message == {
        "role": "assistant",
        "content": "Let me look.",
        "reasoning_content": "Hm.",
        "tool_calls": [
            {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}}
        ],
    }


def test_results_of_tools_are_messages_of_their_own() -> None:
    """Before the text of the same turn; a result may be empty."""
    results = [
        {"type": "tool_result", "tool_use_id": "t1", "content": "rain"},
        {"type": "tool_result", "tool_use_id": "t2", "content": [text("a"), text("b")]},
        {"type": "tool_result", "tool_use_id": "t3"},
    ]
    told = [
        {"role": "tool", "tool_call_id": "t1", "content": "rain"},
        {"role": "tool", "tool_call_id": "t2", "content": "a\nb"},
        {"role": "tool", "tool_call_id": "t3", "content": ""},
    ]
    assert turn("user", *results) == told
    assert turn("user", *results, text("And?")) == [*told, {"role": "user", "content": "And?"}]


def test_thinking_can_be_left_out_of_the_answer() -> None:
    """`display` changes what is shown, not what is thought."""
    assert asked(thinking={"type": "adaptive", "display": "omitted"}).omits_thinking
    assert not asked(thinking={"type": "adaptive", "display": "summarized"}).omits_thinking


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["Hi"]}, "messages[0].role"),
        ({"messages": [{"role": {}, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({"messages": [{"role": "user", "content": [{"type": "song"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_use"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content[0].source"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": BASE64 | {"data": 5}}]}]},
            "messages[0].content[0].source.data",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": 1}]}
                ]
            },
            "messages[0].content[0].input",
        ),
        ({"messages": [{"role": "assistant", "content": [{"type": "tool_use"}]}]}, "messages[0].content[0].name"),
        ({"system": 5}, "system"),
        ({"system": [{"type": "image", "source": BASE64}]}, "system"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"stream": 1}, "stream"),
        ({"stop_sequences": "END"}, "stop_sequences"),
        ({"temperature": "hot"}, "temperature"),
        ({"tools": {}}, "tools"),
        ({"tools": [5]}, "tools[0]"),
        ({"tools": [{"input_schema": {}}]}, "tools[0].name"),
        ({"tools": [WEATHER | {"input_schema": "x"}]}, "tools[0].input_schema"),
        ({"tool_choice": "auto"}, "tool_choice.type"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "tool", "name": "time"}, "tools": [WEATHER]}, "tool_choice.name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"thinking": True}, "thinking.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": "x"}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "budget_tokens": -2}}, "thinking.budget_tokens"),
        ({"thinking": {"type": "enabled", "display": "loud"}}, "thinking.display"),
        ({"thinking": {"type": "enabled", "display": []}}, "thinking.display"),
        ({"output_config": 5}, "output_config"),
        ({"output_config": {"effort": "some"}}, "output_config.effort"),
        ({"output_config": {"effort": ["low"]}}, "output_config.effort"),
        ({"output_config": {"format": {"type": "text"}}}, "output_config.format"),
        ({"output_format": 5}, "output_format"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], param: str) -> None:
    """Each refusal names the field."""
    with pytest.raises(BadRequest) as caught:
        read(parse_object(encode({"model": "m", "messages": [HI], **fields})))
    assert not isinstance(caught.value, Unsupported)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"container": "c"}, "container"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}
                ]
            },
            "messages[0].content[0].source",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "document", "source": BASE64}]}]},
            "messages[0].content[0].source",
        ),
    ],
)
def test_what_is_not_there(fields: dict[str, Any], param: str) -> None:
    """What only Anthropic's servers do is refused as such, with the field."""
    with pytest.raises(Unsupported) as caught:
        asked(**fields)
    assert caught.value.param == param


@settings(max_examples=200, deadline=None)
@given(bodies([Body, Sampling], messages=ANYTHING, system=ANYTHING, tools=ANYTHING, thinking=ANYTHING))
def test_any_body_is_read_or_refused(raw: dict[str, Any]) -> None:
    """Nothing but a refusal comes of nonsense; what is read can be queued."""
    try:
        params = read(parse_object(encode({**raw}))).chat
    except BadRequest:
        return
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=Params) == params
