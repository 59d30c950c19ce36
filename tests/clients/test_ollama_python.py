"""Ollama's Python client against a real server with a real model."""

import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.end_to_end.process import Server, eventually

MODEL = "smollm2-135m-instruct"
TAGGED = f"{MODEL}:latest"
QUESTION = [{"role": "user", "content": "What is the capital city of France? Answer in one sentence."}]
GREEDY = {"temperature": 0, "num_predict": 24}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Paris", "Rome"]}, "unit": {"enum": ["C", "F"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather.", "parameters": SCHEMA}}
CALLING: dict[str, Any] = {
    "type": "object",
    "properties": {
        "tool_calls": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "properties": {"name": {"const": "get_weather"}, "arguments": SCHEMA},
                "required": ["name", "arguments"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["tool_calls"],
    "additionalProperties": False,
}
"""What a model writes that calls the function; a small one does not think of it by itself."""


@pytest.fixture
def client(velesio: Server) -> Iterator[ollama.Client]:
    with ollama.Client(host=velesio.url) as made:
        yield made


def test_a_chat(client: ollama.Client) -> None:
    """Whole and streamed: the same text, with the counts at the end."""
    whole = client.chat(MODEL, QUESTION, options=GREEDY)
    assert "Paris" in (whole.message.content or "")
    parts = list(client.chat(TAGGED, QUESTION, stream=True, options=GREEDY))
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert [part.done for part in parts[-2:]] == [False, True]
    assert parts[-1].eval_count == whole.eval_count
    assert parts[-1].prompt_eval_count == whole.prompt_eval_count
    assert parts[-1].model == TAGGED


def test_a_prompt_and_its_context(client: ollama.Client) -> None:
    """What was said before is remembered by its tokens alone."""
    first = client.generate(MODEL, "My name is Ottokar.", options=GREEDY)
    assert first.context
    body = {"model": MODEL, "prompt": "What is my name?", "context": list(first.context), "stream": False}
    second = client.generate(**body, options=GREEDY)
    assert second.context
    assert list(second.context[: len(first.context)]) == list(first.context)
    assert (second.prompt_eval_count or 0) > len(first.context)
    streamed = list(client.generate(MODEL, "My name is Ottokar.", options=GREEDY, stream=True))
    assert "".join(part.response for part in streamed) == first.response
    assert streamed[-1].context == first.context


def test_a_raw_prompt_is_continued(client: ollama.Client) -> None:
    """No template stands around it."""
    answer = client.generate(MODEL, "The capital of France is", raw=True, options=GREEDY | {"stop": ["."]})
    assert "Paris" in answer.response
    assert answer.prompt_eval_count == 5


def test_a_system(client: ollama.Client) -> None:
    """It stands before the prompt."""
    plain = client.generate(MODEL, "Hi", options=GREEDY)
    told = client.generate(MODEL, "Hi", system="You are a parrot who repeats every word twice.", options=GREEDY)
    assert told.prompt_eval_count != plain.prompt_eval_count


def test_answers_of_a_certain_form(client: ollama.Client) -> None:
    """Any JSON object, or what a schema says."""
    options = {"temperature": 0, "num_predict": 200}
    said = json.loads(client.chat(MODEL, QUESTION, format=SCHEMA, options=options).message.content or "")
    assert said["city"] in {"Paris", "Rome"}
    strict = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99}}, "required": ["n"]}
    strict["additionalProperties"] = False
    assert list(json.loads(client.generate(MODEL, "A number", format=strict, options=options).response)) == ["n"]
    text = client.generate(MODEL, "Say something as JSON", format="json", options=options).response
    assert text.lstrip().startswith("{")


@pytest.mark.parametrize("stream", [False, True])
def test_tools(client: ollama.Client, stream: bool) -> None:
    """A call comes whole, with an object; its result can be told."""
    asked: Any = [{"role": "user", "content": "What is the weather in Paris?"}]
    options = {"temperature": 0, "num_predict": 96}
    answer = client.chat(MODEL, asked, tools=[WEATHER], format=CALLING, options=options, stream=stream)
    parts: list[Any] = list(answer) if stream else [answer]
    (call,) = (call for part in parts for call in part.message.tool_calls or [])
    assert call.function.name == "get_weather"
    assert set(call.function.arguments) == {"city", "unit"}
    said = {"role": "assistant", "content": "", "tool_calls": [call]}
    result = {"role": "tool", "tool_name": "get_weather", "content": "12 degrees"}
    told = client.chat(MODEL, [*asked, said, result], options=GREEDY)
    assert told.message.content


def test_likelihoods(client: ollama.Client) -> None:
    """Of each token and of its rivals."""
    answer = client.generate(MODEL, "Hi", logprobs=True, top_logprobs=2, options={"temperature": 0, "num_predict": 3})
    assert answer.logprobs
    assert len(answer.logprobs) == 3
    for each in answer.logprobs:
        assert each.logprob <= 0
        assert each.top_logprobs
        assert len(each.top_logprobs) == 2
        assert each.top_logprobs[0].logprob >= each.top_logprobs[1].logprob


def test_embeddings(client: ollama.Client) -> None:
    """Several texts at once; the older form has one."""
    answer = client.embed(MODEL, ["A cat sleeps.", "A dog barks."])
    assert [len(vector) for vector in answer.embeddings] == [576, 576]
    assert sum(value**2 for value in answer.embeddings[0]) == pytest.approx(1)
    short = client.embed(MODEL, "A cat sleeps.", dimensions=64)
    assert len(short.embeddings[0]) == 64
    older = client.embeddings(MODEL, "A cat sleeps.")
    length = sum(value**2 for value in older.embedding) ** 0.5
    assert [value / length for value in older.embedding] == pytest.approx(list(answer.embeddings[0]), abs=1e-4)


def test_what_there_is(client: ollama.Client) -> None:
    """The list, the facts, what is loaded."""
    assert TAGGED in [model.model for model in client.list().models]
    shown = client.show(MODEL)
    assert shown.capabilities
    assert "completion" in shown.capabilities
    assert shown.modelinfo
    assert shown.modelinfo["general.architecture"] == "llama"
    client.generate(MODEL, "Hi", options=GREEDY)
    (loaded,) = (model for model in client.ps().models if model.model == TAGGED)
    assert loaded.expires_at is not None
    assert loaded.expires_at.year > 2000
    (status,) = {client.pull(MODEL).status, client.pull(TAGGED).status}
    assert status == "success"


def test_a_model_is_loaded_and_unloaded(client: ollama.Client) -> None:
    """As long as `keep_alive` says."""

    def loaded() -> list[str | None]:
        return [model.model for model in client.ps().models]

    assert client.generate(MODEL, keep_alive=0).done_reason == "unload"
    assert TAGGED not in loaded()
    assert client.generate(MODEL, keep_alive="5m").done_reason == "load"
    assert TAGGED in loaded()
    client.chat(MODEL, QUESTION, options=GREEDY, keep_alive=0)
    eventually(lambda: TAGGED not in loaded())
    assert client.chat(MODEL, keep_alive=-1).done_reason == "load"


def test_a_long_conversation_is_cut(client: ollama.Client) -> None:
    """The oldest messages go, the question stays."""
    long = [{"role": "user", "content": "word " * 9000}, {"role": "assistant", "content": "Well."}]
    answer = client.chat(MODEL, [*long, *QUESTION], options=GREEDY)
    assert answer.prompt_eval_count == client.chat(MODEL, [long[1], *QUESTION], options=GREEDY).prompt_eval_count
    assert "Paris" in (answer.message.content or "")
    with pytest.raises(ollama.ResponseError, match="context"):
        client._request_raw(
            "POST", "/api/chat", json={"model": MODEL, "messages": [*long, *QUESTION], "truncate": False}
        )


def test_errors(client: ollama.Client) -> None:
    """A status, and one string that says what is wrong."""
    with pytest.raises(ollama.ResponseError, match=r"model 'llama3\.2' not found") as missing:
        client.chat("llama3.2", QUESTION)
    assert missing.value.status_code == 404
    for call in (lambda: client.delete(MODEL), lambda: client.copy(MODEL, "other"), lambda: client.push(MODEL)):
        with pytest.raises(ollama.ResponseError, match=r"config\.toml") as refused:
            call()
        assert refused.value.status_code == 501
    with pytest.raises(ollama.ResponseError, match="does not support thinking"):
        client.chat(MODEL, QUESTION, think=True)
    with pytest.raises(ollama.ResponseError, match=r"options\.temperature"):
        list(client.chat(MODEL, QUESTION, stream=True, options={"temperature": "hot"}))
    with pytest.raises(ollama.ResponseError, match="cannot see pictures"):
        client.generate(MODEL, "What is this?", images=[b"\x89PNG\r\n\x1a\n"])


def test_a_client_that_leaves_cancels(client: ollama.Client, velesio: Server) -> None:
    """Long before the answer's end."""
    before = json.loads(velesio.get("/queue/status")[1])["cancelled"]
    stream = client.generate(MODEL, "Tell me a very long story.", stream=True, options={"num_predict": 2000})
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    eventually(lambda: json.loads(velesio.get("/queue/status")[1])["cancelled"] > before)
