"""The responses API: the captured shapes, and OpenAI's client over a socket."""

import json
from collections.abc import Sequence
from typing import Any

import openai
import pytest

from tests.http.conftest import Site, sample
from tests.http.likeness import differences, json_of
from velesio.errors import WorkerLost
from velesio.http.openai import responses
from velesio.http.openai.responses import frames, read, write
from velesio.jobs import Completed, Delta, Dialect, Event, Started, TextResult, Timings, TokenProbs, Usage

JOB = "0" * 31 + "1"
MORE = frozenset(
    {
        "error", "incomplete_details", "instructions", "max_output_tokens", "metadata", "parallel_tool_calls",
        "previous_response_id", "reasoning", "store", "temperature", "text", "tool_choice", "tools", "top_p",
        "truncation", "created_at", "model", "output", "sequence_number", "output_index", "content_index", "logprobs",
        "output_tokens_details",
    }
)  # fmt: skip
"""What OpenAI's clients want beside what llama.cpp's server sends."""
FREE = frozenset({"item_id"})
TOOLS = {"tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}]}
HERMES = Dialect("hermes")
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'


def told(raw: dict[str, Any], events: Sequence[Event]) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream: names and data."""
    framing = frames(read(raw), "smollm2", JOB)
    body = b"".join([*(frame for event in events for frame in framing.frames(0, event)), *framing.end()])
    return parsed(body)


def parsed(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for event in body.removesuffix(b"\n\n").split(b"\n\n"):
        name, data = event.split(b"\n")
        found.append((name.removeprefix(b"event: ").decode(), json.loads(data.removeprefix(b"data: "))))
    return found


def test_a_response_is_the_sample() -> None:
    """Its keys, in their order, with their values; OpenAI's own stand behind."""
    result = TextResult("Hello there!", usage=Usage(31, 3, 30))
    answer = write(read({"input": "Hi"}), "smollm2", JOB, [result])
    assert not differences(json_of(answer), sample("responses"), more=MORE)
    assert answer["id"] == f"resp_{JOB}"


def test_a_stream_is_the_sample() -> None:
    """The same events in the same order, with the same keys."""
    deltas = [Delta(text, (1,), number) for number, text in enumerate(("Hi", "!", " How"), 1)]
    result = TextResult("Hi! How", stop="limit", usage=Usage(31, 3, 30), timings=Timings(6.515, 12.394))
    ours = told({"input": "Hi", "stream": True}, [Started(31), *deltas, Completed(result)])
    captured = parsed(sample("responses_stream").replace(b"\r", b"").strip() + b"\n\n")
    assert [name for name, _ in ours] == [name for name, _ in captured]
    for (_, one), (_, two) in zip(ours, captured, strict=True):
        assert not differences(json_of(one), json_of(two), free=FREE, more=MORE)
    assert [data["sequence_number"] for _, data in ours] == list(range(len(ours)))


def test_reasoning_and_calls_are_items() -> None:
    """In their order, streamed and whole alike; a piece of each has its own event."""
    text = f"<think>\nHm.\n</think>\n\nI look.\n{CALL}"
    result = TextResult(text, usage=Usage(5, 20), dialect=HERMES)
    pieces = [Delta(character, (1,), number) for number, character in enumerate(text, 1)]
    events = told(TOOLS | {"input": "x", "stream": True}, [Started(5, HERMES), *pieces, Completed(result)])
    done = [data["item"] for name, data in events if name == "response.output_item.done"]
    assert [item["type"] for item in done] == ["reasoning", "message", "function_call"]
    assert done[0]["content"] == [{"text": "Hm.", "type": "reasoning_text"}]
    assert done[1]["content"][0]["text"] == "I look."
    assert (done[2]["name"], json.loads(done[2]["arguments"])) == ("f", {"a": 1})
    for name, kind in (("response.reasoning_text", 0), ("response.output_text", 1)):
        assert "".join(d["delta"] for n, d in events if n == f"{name}.delta") == done[kind]["content"][0]["text"]
    deltas = [data["delta"] for name, data in events if name == "response.function_call_arguments.delta"]
    assert "".join(deltas) == done[2]["arguments"]
    assert [data["output_index"] for name, data in events if name == "response.output_item.added"] == [0, 1, 2]
    whole = write(read(TOOLS | {"input": "x"}), "smollm2", JOB, [result])
    last = events[-1][1]["response"]
    assert [dict(item) for item in whole["output"]] == last["output"] == done
    assert whole["usage"]["output_tokens_details"]["reasoning_tokens"] == 1


def test_an_answer_that_says_nothing_is_an_empty_message() -> None:
    """Clients read the first one."""
    result = TextResult("", usage=Usage(5, 1))
    events = told({"input": "x"}, [Started(5), Completed(result)])
    (item,) = events[-1][1]["response"]["output"]
    assert item["content"][0]["text"] == ""
    assert write(read({"input": "x"}), "m", JOB, [result])["output"][0]["content"][0]["text"] == ""


def test_log_probabilities_come_with_their_text() -> None:
    """In the deltas, in the parts, in the whole."""
    probs = (TokenProbs(1, b"a", -0.5, ((1, b"a", -0.5),)), TokenProbs(2, b"b", -0.25, ()))
    raw = {"input": "x", "include": ["message.output_text.logprobs"]}
    result = TextResult("ab", (1, 2), usage=Usage(5, 2), probs=probs)
    events = told(raw, [Started(5), Delta("a", (1,), 1, probs[:1]), Delta("b", (2,), 2, probs[1:]), Completed(result)])
    deltas = [data["logprobs"] for name, data in events if name == "response.output_text.delta"]
    assert [[each["logprob"] for each in delta] for delta in deltas] == [[-0.5], [-0.25]]
    part = events[-1][1]["response"]["output"][0]["content"][0]
    assert [each["token"] for each in part["logprobs"]] == ["a", "b"]
    assert write(read(raw), "m", JOB, [result])["output"][0]["content"][0] == part


def test_a_limit_is_told() -> None:
    """Beside the status, which llama.cpp's server does not change for it."""
    answer = write(read({"input": "x", "max_output_tokens": 1}), "m", JOB, [TextResult("a", stop="limit")])
    assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer["max_output_tokens"] == 1


def test_an_error_in_a_stream_is_an_event() -> None:
    """Named as OpenAI names it."""
    ((name, data),) = parsed(b"".join(frames(read({"input": "x"}), "m", JOB).failure(WorkerLost("gone"))))
    assert (name, data["type"], data["code"], data["message"]) == ("error", "error", "worker_lost", "gone")


async def test_the_client_asks(site: Site) -> None:
    """Whole and streamed; both paths; counting; refusals with `param`."""
    async with openai.AsyncOpenAI(base_url=f"{site.address}/v1", api_key="none", max_retries=0) as client:
        response = await client.responses.create(model="parrot", input="one two three", max_output_tokens=2)
        assert (response.output_text, response.status, response.model) == ("one two", "completed", "parrot")
        assert response.usage is not None
        assert response.usage.output_tokens == 2
        stream = await client.responses.create(model="parrot", input="one two", stream=True)
        events = [event async for event in stream]
        assert events[0].type == "response.created"
        assert events[-1].type == "response.completed"
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "one two"
        with pytest.raises(openai.BadRequestError) as caught:
            await client.responses.create(model="parrot", input="x", previous_response_id="resp_1")
        assert caught.value.param == "previous_response_id"
    answer = await site.post("/responses", {"input": "one"})
    assert answer.json()["output"][0]["content"][0]["text"] == "one"
    for path in ("/v1/responses/input_tokens", "/responses/input_tokens"):
        counted = (await site.post(path, {"input": "Hi"})).json()
        assert counted == {"input_tokens": 20, "object": "response.input_tokens"}


def test_every_route_is_a_form() -> None:
    """So that it can be asked in the background."""
    assert {route.path for route in responses.ROUTES} == set(responses.FORMS)


async def test_speech_says_that_it_is_not_there(site: Site) -> None:
    """501 in OpenAI's shape, whatever is sent."""
    for path in ("/v1/audio/transcriptions", "/audio/transcriptions", "/v1/audio/speech"):
        answer = await site.post(path, b"--x\r\n", Content_Type="multipart/form-data; boundary=x")
        assert (answer.status, answer.json()["error"]["code"]) == (501, "not_supported")
