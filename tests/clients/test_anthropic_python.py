"""Anthropic's Python client against a real server with a real model."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.end_to_end.process import Server, eventually

MODEL = "smollm2-135m-instruct"
QUESTION: list[Any] = [{"role": "user", "content": "What is the capital city of France? Answer in one sentence."}]
ASK: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
WEATHER: Any = {"name": "get_weather", "description": "The weather in a city.", "input_schema": SCHEMA}
GREEDY = {"temperature": 0}
"""Known to the server, but to this client no more."""
PICTURE: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}


@pytest.fixture
def client(velesio: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=velesio.url, api_key="none", max_retries=0) as made:
        yield made


def test_a_message(client: anthropic.Anthropic) -> None:
    """A whole answer with its counts, which fit those that are told without answering."""
    answer = client.messages.create(model=MODEL, max_tokens=24, messages=QUESTION, extra_body=GREEDY)
    (block,) = answer.content
    assert block.type == "text"
    assert "Paris" in block.text
    assert answer.model == MODEL
    assert answer._request_id
    read = answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)
    assert client.messages.count_tokens(model=MODEL, messages=QUESTION).input_tokens == read


def test_a_stream(client: anthropic.Anthropic) -> None:
    """The same text, and the message that the client puts together from the events."""
    asked: dict[str, Any] = {"model": MODEL, "max_tokens": 24, "messages": QUESTION, "extra_body": GREEDY}
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    total = final.usage.input_tokens + (final.usage.cache_read_input_tokens or 0)
    assert total == whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0)


def test_system_stop_and_limit(client: anthropic.Anthropic) -> None:
    """Each ending has its reason."""
    shouted = client.messages.create(
        model=MODEL, max_tokens=40, messages=QUESTION, system="Be brief.", stop_sequences=["France"], extra_body=GREEDY
    )
    assert (shouted.stop_reason, shouted.stop_sequence) == ("stop_sequence", "France")
    short = client.messages.create(model=MODEL, max_tokens=2, messages=QUESTION)
    assert (short.stop_reason, short.usage.output_tokens) == ("max_tokens", 2)


def test_an_answer_that_is_begun_is_continued(client: anthropic.Anthropic) -> None:
    """The assistant's last turn is a prefill."""
    begun = [*QUESTION, {"role": "assistant", "content": "The capital of France is"}]
    answer = client.messages.create(model=MODEL, max_tokens=6, messages=begun, extra_body=GREEDY)
    assert "Paris" in answer.content[0].text


def test_tools(client: anthropic.Anthropic) -> None:
    """A required call, and the turn after its result; streamed, the arguments are the same."""
    asked: dict[str, Any] = {
        "model": MODEL,
        "max_tokens": 96,
        "messages": ASK,
        "tools": [WEATHER],
        "tool_choice": {"type": "any"},
        "extra_body": GREEDY,
    }
    answer = client.messages.create(**asked)
    assert answer.stop_reason == "tool_use"
    (call,) = (block for block in answer.content if block.type == "tool_use")
    assert (call.name, set(call.input)) == ("get_weather", {"city", "unit"})
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    (again,) = (block for block in streamed.content if block.type == "tool_use")
    assert again.input == call.input
    told = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "12 degrees"}]}
    after = client.messages.create(
        model=MODEL,
        max_tokens=24,
        messages=[*ASK, {"role": "assistant", "content": answer.content}, told],
        tools=[WEATHER],
        tool_choice={"type": "none"},
    )
    assert after.content[0].type == "text"


def test_a_certain_tool(client: anthropic.Anthropic) -> None:
    """The one that is named, of several."""
    other: Any = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
    answer = client.messages.create(
        model=MODEL,
        max_tokens=64,
        messages=ASK,
        tools=[WEATHER, other],
        tool_choice={"type": "tool", "name": "get_time"},
        extra_body=GREEDY,
    )
    assert [block.name for block in answer.content if block.type == "tool_use"] == ["get_time"]


def test_an_answer_of_a_certain_form(client: anthropic.Anthropic) -> None:
    """`output_config` holds a JSON schema."""
    answer = client.messages.create(
        model=MODEL,
        max_tokens=64,
        messages=ASK,
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
    )
    said = json.loads(answer.content[0].text)
    assert said["city"] in {"Paris", "Rome"}
    assert said["unit"] in {"C", "F"}


def test_models(client: anthropic.Anthropic) -> None:
    """The list and one of it."""
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).display_name == MODEL


def test_errors(client: anthropic.Anthropic) -> None:
    """Each is the class that the client has for its status, with what is wrong."""
    with pytest.raises(anthropic.NotFoundError, match="smollm3"):
        client.messages.create(model="smollm3", max_tokens=5, messages=QUESTION)
    with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]\.role"):
        client.messages.create(model=MODEL, max_tokens=5, messages=[{"role": "nobody", "content": "x"}])
    with pytest.raises(anthropic.BadRequestError, match="context"):
        client.messages.create(model=MODEL, max_tokens=5, messages=[{"role": "user", "content": "word " * 9000}])
    seen: list[Any] = [{"role": "user", "content": [PICTURE]}]
    with pytest.raises(anthropic.APIStatusError, match="cannot see pictures") as caught:
        client.messages.create(model=MODEL, max_tokens=5, messages=seen)
    assert caught.value.status_code == 501


def test_a_client_that_leaves_cancels(client: anthropic.Anthropic, velesio: Server) -> None:
    """Long before the answer's end."""
    before = json.loads(velesio.get("/queue/status")[1])["cancelled"]
    story: list[Any] = [{"role": "user", "content": "Tell me a very long story."}]
    with client.messages.stream(model=MODEL, max_tokens=2000, messages=story) as stream:
        next(iter(stream.text_stream))
    eventually(lambda: json.loads(velesio.get("/queue/status")[1])["cancelled"] > before)
