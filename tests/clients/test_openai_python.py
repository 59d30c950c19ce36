"""OpenAI's Python client against a real server with a real model."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pydantic
import pytest

from tests.end_to_end.process import Server, eventually

MODEL = "smollm2-135m-instruct"
QUESTION: list[Any] = [{"role": "user", "content": "What is the capital city of France? Answer in one sentence."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
FLAT: Any = {"type": "function", **WEATHER["function"], "strict": True}
ASK: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]


class Report(pydantic.BaseModel):
    """What an answer must look like."""

    city: Literal["Paris", "Rome"]
    sunny: bool


@pytest.fixture
def client(velesio: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{velesio.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_chat(client: openai.OpenAI) -> None:
    """A whole answer with its counts and the request's id."""
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=24)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id


def test_several_choices(client: openai.OpenAI) -> None:
    """One prompt, several answers; a seed makes them repeatable and different from each other."""
    asked: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Tell me a story."}],
        "n": 3,
        "seed": 7,
        "temperature": 1.2,
        "max_tokens": 16,
    }
    one, two = (client.chat.completions.create(**asked) for _ in range(2))
    texts = [choice.message.content for choice in one.choices]
    assert [choice.index for choice in one.choices] == [0, 1, 2]
    assert len(set(texts)) > 1
    assert texts == [choice.message.content for choice in two.choices]


def test_stream(client: openai.OpenAI) -> None:
    """The same text, piece by piece, to the counts."""
    asked: dict[str, Any] = {"model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 24}
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens > 0
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason


def test_stream_helper(client: openai.OpenAI) -> None:
    """The client's own accumulation of a stream."""
    with client.chat.completions.stream(model=MODEL, messages=QUESTION, temperature=0, max_tokens=24) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert "Paris" in (final.choices[0].message.content or "")


def test_json_schema(client: openai.OpenAI) -> None:
    """An answer is what the schema says, plain and through `parse`."""
    form: Any = {"type": "json_schema", "json_schema": {"name": "report", "schema": Report.model_json_schema()}}
    plain = client.chat.completions.create(
        model=MODEL, messages=ASK, response_format=form, temperature=0, max_tokens=64
    )
    assert Report.model_validate_json(plain.choices[0].message.content or "").city in {"Paris", "Rome"}
    parsed = client.chat.completions.parse(
        model=MODEL, messages=ASK, response_format=Report, temperature=0, max_tokens=64
    )
    assert isinstance(parsed.choices[0].message.parsed, Report)
    any_object = client.chat.completions.create(
        model=MODEL, messages=ASK, response_format={"type": "json_object"}, temperature=0, max_tokens=200
    )
    if any_object.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(any_object.choices[0].message.content or ""), dict)


def test_tools(client: openai.OpenAI) -> None:
    """A required call names a function and has the arguments that it takes; its result can be answered."""
    answer = client.chat.completions.create(
        model=MODEL, messages=ASK, tools=[WEATHER], tool_choice="required", temperature=0, max_tokens=96
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments)["unit"] in {"C", "F"}
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "Sunny, 21 degrees."}
    told = client.chat.completions.create(
        model=MODEL, messages=[*ASK, choice.message, result], tools=[WEATHER], tool_choice="none", max_tokens=24
    )
    assert told.choices[0].message.tool_calls is None


def test_streamed_tools(client: openai.OpenAI) -> None:
    """The pieces of a call make up its arguments; id and name come with the first."""
    named: Any = {"type": "function", "function": {"name": "get_weather"}}
    chunks = client.chat.completions.create(
        model=MODEL, messages=ASK, tools=[WEATHER], tool_choice=named, temperature=0, max_tokens=96, stream=True
    )
    pieces = [piece for chunk in chunks if chunk.choices for piece in chunk.choices[0].delta.tool_calls or []]
    assert pieces[0].id
    assert pieces[0].function is not None
    assert pieces[0].function.name == "get_weather"
    arguments = "".join(piece.function.arguments or "" for piece in pieces if piece.function)
    assert set(json.loads(arguments)) == {"city", "unit"}


def test_log_probabilities(client: openai.OpenAI) -> None:
    """One for each token, the chosen one first where the likeliest is chosen; streamed as well."""
    asked: dict[str, Any] = {
        "model": MODEL, "messages": QUESTION, "temperature": 0, "max_tokens": 4, "logprobs": True, "top_logprobs": 3,
    }  # fmt: skip
    whole = client.chat.completions.create(**asked).choices[0].logprobs
    assert whole is not None
    tokens = whole.content or []
    assert len(tokens) == 4
    assert all(len(each.top_logprobs) == 3 and each.top_logprobs[0].token == each.token for each in tokens)
    chunks = [chunk.choices[0] for chunk in client.chat.completions.create(**asked, stream=True) if chunk.choices]
    streamed = [each.token for choice in chunks if choice.logprobs for each in choice.logprobs.content or []]
    assert streamed == [each.token for each in tokens]


def test_completions(client: openai.OpenAI) -> None:
    """Several prompts are several choices; a stream says the same; stop strings stop."""
    prompts = ["The capital of France is", "1 2 3 4 5"]
    whole = client.completions.create(model=MODEL, prompt=prompts, temperature=0, max_tokens=8, stop=["8"])
    assert "Paris" in whole.choices[0].text
    assert "8" not in whole.choices[1].text
    chunks = client.completions.create(model=MODEL, prompt=prompts[0], temperature=0, max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text


def test_embeddings(client: openai.OpenAI) -> None:
    """Base64, which the client asks for by itself, and floats are the same; like texts are near each other."""
    texts = ["A cat sleeps.", "A kitten is sleeping.", "The stock market fell by three percent."]
    floats = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    packed = client.embeddings.create(model=MODEL, input=texts)
    one, two, three = (entry.embedding for entry in floats.data)
    for entry, vector in zip(packed.data, (one, two, three), strict=True):
        assert entry.embedding == pytest.approx(vector)
    assert sum(a * b for a, b in zip(one, two, strict=True)) > sum(a * b for a, b in zip(one, three, strict=True))
    assert floats.usage.prompt_tokens > 10


def test_responses(client: openai.OpenAI) -> None:
    """Whole and streamed: the same text, in the order of OpenAI's events."""
    asked: dict[str, Any] = {"model": MODEL, "input": QUESTION, "temperature": 0, "max_output_tokens": 24}
    whole = client.responses.create(**asked)
    assert "Paris" in whole.output_text
    events = list(client.responses.create(**asked, stream=True))
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == whole.output_text
    with client.responses.stream(**asked) as stream:
        assert stream.until_done().get_final_response().output_text == whole.output_text


def test_responses_parse(client: openai.OpenAI) -> None:
    """The form of the answer, and calls of functions with their results."""
    parsed = client.responses.parse(
        model=MODEL, input="The weather in Paris?", text_format=Report, temperature=0, max_output_tokens=64
    )
    assert isinstance(parsed.output_parsed, Report)
    called = client.responses.create(
        model=MODEL, input=ASK, tools=[FLAT], tool_choice="required", temperature=0, max_output_tokens=96
    )
    (call,) = (item for item in called.output if item.type == "function_call")
    assert set(json.loads(call.arguments)) == {"city", "unit"}
    result: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny."}
    inputs: Any = [*ASK, call, result]
    told = client.responses.create(model=MODEL, input=inputs, tools=[FLAT], tool_choice="none", max_output_tokens=16)
    assert [item.type for item in told.output] == ["message"]


def test_models(client: openai.OpenAI) -> None:
    """Listed, and found by name."""
    assert MODEL in {model.id for model in client.models.list()}
    assert client.models.retrieve(MODEL).object == "model"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing")


def test_errors(client: openai.OpenAI) -> None:
    """Each refusal is the client's own exception, with status, code and the field at fault."""
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="nothing", messages=QUESTION)
    assert (missing.value.status_code, missing.value.code, missing.value.param) == (404, "model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=MODEL, messages=QUESTION, temperature="hot")  # type: ignore[arg-type]
    assert (bad.value.status_code, bad.value.param) == (400, "temperature")
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=MODEL, prompt="word " * 20000)
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as grammar:
        client.completions.create(model=MODEL, prompt="x", extra_body={"grammar": "root ::= nothing"})
    assert grammar.value.param == "grammar"
    content: Any = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]
    with pytest.raises(openai.APIStatusError) as picture:
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": content}])
    assert (picture.value.status_code, picture.value.code) == (501, "not_supported")


def test_cancel(velesio: Server, client: openai.OpenAI) -> None:
    """Closing a stream frees the model: nothing is computed for it any more."""
    cancelled = velesio.metric("velesio_cancelled_total")
    stream = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=2000, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    stream.close()
    eventually(lambda: velesio.metric("velesio_engine_sequences") == 0)
    assert velesio.metric("velesio_cancelled_total") == cancelled + 1
