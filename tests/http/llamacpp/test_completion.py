"""`/completion`: the captured shapes of llama.cpp's server, and the same over a socket."""

import asyncio
import json
import socket
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from tests.clients.unity import SAMPLING
from tests.http.conftest import ANYTHING, Site, bodies, events_of, sample
from tests.sockets import chunks_of, head_of
from velesio.errors import BadRequest, ContextExceeded, Unsupported
from velesio.http.llamacpp import completion
from velesio.http.llamacpp.completion import Frames, Writer, read, select
from velesio.http.text import generation
from velesio.http.wire import encode, parse_object
from velesio.jobs import Completed, Completion, Delta, Event, Progress, Sampling, Started, TextResult, Timings, Usage

HELLO = TextResult(
    "-by-date", (29, 1717, 29, 9471), stop="limit", usage=Usage(1, 4), timings=Timings(12.197, 21.978), slot=1
)
FIVE = TextResult(" 6 7 ", stop="word", stopping_word="8", usage=Usage(9, 6), timings=Timings(32.516, 38.065), slot=0)
UNITY = SAMPLING | {
    "prompt": "<|im_start|>system\nA chat between a curious human and an artificial intelligence assistant. <|im_end|>"
    "\n<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n",
    "n_keep": 20,
    "n_predict": 16,
    "stream": True,
}
UNITY_TEXT = [
    ("Hello", 19556),
    (" there", 665),
    ("!", 17),
    (" How", 1073),
    (" can", 416),
    (" I", 339),
    (" help", 724),
    (" you", 346),
    (" today", 1834),
    ("?", 47),
    (" Do", 3315),
    (" you", 346),
    (" have", 457),
    (" a", 253),
    (" question", 1962),
    (" about", 563),
]


def ordered(body: bytes) -> Any:
    """JSON with the order of its keys."""
    return json.loads(body, object_pairs_hook=list)


def streamed(raw: dict[str, Any], events: Sequence[Event]) -> bytes:
    frames = Frames(Writer(read(raw), "smollm2"))
    parts = [frame for event in events for frame in frames.frames(0, event)]
    return b"".join([*parts, *frames.end()])


@pytest.mark.parametrize(
    ("name", "raw", "result"),
    [
        ("completion", {"prompt": "Hello", "n_predict": 4, "temperature": 0, "seed": 1}, HELLO),
        ("completion_stopword", {"prompt": "1 2 3 4 5", "n_predict": 20, "temperature": 0, "stop": ["8"]}, FIVE),
    ],
)
def test_an_answer_is_the_sample(name: str, raw: dict[str, Any], result: TextResult) -> None:
    """Same keys, same order, same values, the rounding to float32 included."""
    ours = encode(Writer(read(raw), "smollm2").whole(0, result))
    assert ordered(ours) == ordered(sample(name))


def test_a_stream_is_the_sample() -> None:
    """Partial events and the last one, byte for byte in their frames."""
    events = [
        Started(1),
        Delta("-", (29,), 1),
        Delta("by", (1717,), 2),
        Progress(1, 2),
        Delta("-", (29,), 3),
        Completed(TextResult("-by-", stop="limit", usage=Usage(1, 3), timings=Timings(7.534, 14.951), slot=1)),
    ]
    ours = streamed({"prompt": "Hello", "n_predict": 3, "temperature": 0, "stream": True}, events)
    captured = events_of(sample("completion_stream"))
    assert [ordered(event) for event in events_of(ours)] == [ordered(event) for event in captured]
    assert events_of(ours)[:3] == captured[:3]


def test_what_unity_sends_is_answered_as_captured() -> None:
    """The whole body of LLMUnity's client, and the stream that it got."""
    text = "".join(piece for piece, _ in UNITY_TEXT)
    result = TextResult(text, stop="limit", usage=Usage(28, 16, 3), timings=Timings(61.273, 92.075), slot=1)
    deltas = [Delta(piece, (token,), number) for number, (piece, token) in enumerate(UNITY_TEXT, 1)]
    ours = streamed(UNITY, [Started(28), *deltas, Completed(result)])
    captured = events_of(sample("unity_stream"))
    assert [ordered(event) for event in events_of(ours)] == [ordered(event) for event in captured]


def test_there_are_49_settings() -> None:
    """As many as the reference reports."""
    whole = Writer(read({"prompt": "x"}), "m").whole(0, TextResult(""))
    assert len(whole["generation_settings"]) == 49


def test_tokens_come_only_if_asked_for() -> None:
    """Without streaming; the last event of a stream never has any."""
    plain = Writer(read({"prompt": "x"}), "m")
    asked = Writer(read({"prompt": "x", "return_tokens": True}), "m")
    assert list(plain.whole(0, HELLO)["tokens"]) == []
    assert asked.whole(0, HELLO)["tokens"] == HELLO.tokens


def test_settings_show_what_was_asked() -> None:
    """Bias, seed and limits as the request had them."""
    raw = {"prompt": "x", "logit_bias": [[5, False], ["a", 0.1]], "seed": 5, "max_tokens": 7, "n_discard": 3}
    settings = Writer(read(raw), "m").whole(0, TextResult(""))["generation_settings"]
    assert settings["logit_bias"] == [{"bias": None, "token": 5}, {"bias": 0.10000000149011612, "token": "a"}]
    assert (settings["seed"], settings["max_tokens"], settings["n_predict"], settings["n_discard"]) == (5, 7, 7, 3)


def test_the_prompt_of_token_ids_is_told_by_the_worker() -> None:
    """The gateway has no vocabulary."""
    writer = Writer(read({"prompt": [1, 2]}), "m")
    assert writer.whole(0, TextResult("", prompt="Once"))["prompt"] == "Once"


def test_max_tokens_brings_openai_fields_as_well() -> None:
    """In the answer and in every event of a stream; not for n_predict."""
    writer = Writer(read({"prompt": "Hello", "max_tokens": 4}), "m")
    whole = writer.whole(0, HELLO)
    assert whole["object"] == "text_completion"
    assert whole["choices"] == [{"text": "-by-date", "index": 0, "logprobs": None, "finish_reason": "length"}]
    assert whole["usage"]["total_tokens"] == 5
    assert whole["id"].startswith("cmpl-")
    assert isinstance(whole["created"], int)
    events = [Started(1), Delta("-", (29,), 1), Completed(HELLO)]
    partial, last = (
        json.loads(event) for event in events_of(streamed({"prompt": "x", "max_tokens": 4, "stream": True}, events))
    )
    assert partial["choices"] == [{"text": "-", "index": 0, "logprobs": None, "finish_reason": None}]
    assert "usage" not in partial
    assert last["choices"] == [{"text": "", "index": 0, "logprobs": None, "finish_reason": "length"}]
    assert last["usage"]["completion_tokens"] == 4
    assert partial["id"] == last["id"]
    native = Writer(read({"prompt": "x", "n_predict": 4}), "m").whole(0, HELLO)
    assert not {"id", "object", "created", "choices", "usage"} & native.keys()


def test_timings_for_each_token() -> None:
    """All nine numbers, finite, in every event."""
    events = [Started(4), Delta("a", (1,), 1), Delta("b", (2,), 2), Completed(HELLO)]
    raw = {"prompt": "x", "timings_per_token": True, "stream": True}
    first, second, last = (json.loads(event)["timings"] for event in events_of(streamed(raw, events)))
    assert list(first) == list(second) == list(last)
    assert first["prompt_n"] == 4
    assert (first["predicted_n"], second["predicted_n"]) == (1, 2)
    assert first["predicted_per_second"] == 0.0


def test_a_ping_is_an_event_without_content() -> None:
    """Comments would break LLMUnity's reader."""
    frames = Frames(Writer(read({"prompt": "x"}), "m"))
    frames.frames(0, Started(3))
    frames.frames(0, Delta("a", (1,), 1))
    (event,) = events_of(frames.ping())
    assert json.loads(event) == {
        "index": 0,
        "content": "",
        "tokens": [],
        "stop": False,
        "id_slot": -1,
        "tokens_predicted": 1,
        "tokens_evaluated": 3,
    }


def test_an_error_in_a_stream_is_an_event() -> None:
    """With an integer code; no `[DONE]`."""
    frames = Frames(Writer(read({"prompt": "x"}), "m"))
    (frame,) = frames.failure(ContextExceeded.of(9, 8))
    (event,) = events_of(frame)
    assert json.loads(event)["error"]["code"] == 400
    assert list(frames.end()) == []


@pytest.mark.parametrize(
    ("paths", "found"),
    [
        ([], {"a": 1, "b": {"c": 2, "d": {"e": 3}}}),
        (["a"], {"a": 1}),
        (["b/c", "b/d/e"], {"c": 2, "e": 3}),
        (["b/x", "x", "a/c", "a/c/d"], {}),
        (["b"], {"b": {"c": 2, "d": {"e": 3}}}),
    ],
)
def test_response_fields(paths: list[str], found: dict[str, Any]) -> None:
    """`a/b` comes out as `b`; what is not there is left out."""
    assert select({"a": 1, "b": {"c": 2, "d": {"e": 3}}}, paths) == found


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({}, "prompt"),
        ({"prompt": "x", "n_predict": -5}, "n_predict"),
        ({"prompt": "x", "n_keep": -2}, "n_keep"),
        ({"prompt": "x", "n_discard": -1}, "n_discard"),
        ({"prompt": "x", "id_slot": -2}, "id_slot"),
        ({"prompt": "x", "stream": "yes"}, "stream"),
        ({"prompt": "x", "response_fields": "content"}, "response_fields"),
        ({"prompt": "x", "grammar": 5}, "grammar"),
        ({"prompt": "x", "n_probs": 101}, "n_probs"),
        ({"prompt": "x", "image_data": [{"id": 1}]}, "image_data"),
    ],
)
def test_bad_fields_are_named(raw: dict[str, Any], param: str) -> None:
    """Whatever is wrong with a body has a place."""
    with pytest.raises((BadRequest, Unsupported)) as caught:
        read(raw)
    assert caught.value.param == param


@settings(max_examples=200, deadline=None)
@given(bodies([completion.Body, generation.Body, Sampling], prompt=ANYTHING))
def test_any_body_is_read_or_refused(raw: dict[str, Any]) -> None:
    """Nothing but a refusal comes of nonsense; what is read can be queued, and its answer written."""
    try:
        asked = read(parse_object(encode(raw)))
    except BadRequest:
        return
    for index, params in enumerate(asked.params):
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=Completion) == params
        encode(Writer(asked, "m").whole(index, TextResult("")))


async def test_an_answer_over_the_wire(site: Site) -> None:
    """Both paths, with the headers of every answer."""
    for path in ("/completion", "/completions"):
        response = await site.post(path, {"prompt": "one two three", "n_predict": 2}, X_Request_ID="mine-1")
        answer = response.json()
        assert response.status == 200
        assert (answer["content"], answer["stop_type"], answer["tokens_evaluated"]) == ("one two", "limit", 3)
        assert response.headers["Content-Type"] == "application/json; charset=utf-8"
        assert response.headers["Server"] == "velesio"
        assert response.headers["X-Request-ID"] == "mine-1"
        assert len(response.headers["X-Velesio-Job-Id"]) == 32


async def test_a_stream_over_the_wire_has_one_event_in_each_chunk(site: Site) -> None:
    """What LLMUnity's reader needs: an HTTP chunk is an event, whole and alone, below 4,090 bytes."""
    body = {"prompt": "word " * 50, "stream": True}
    headers, chunks = await asyncio.to_thread(raw_chunks, site.port, body)
    assert headers["transfer-encoding"] == "chunked"
    assert headers["content-type"] == "text/event-stream"
    assert headers["x-accel-buffering"] == "no"
    assert headers["cache-control"] == "no-cache"
    events = [json.loads(events_of(chunk)[0]) for chunk in chunks]
    assert all(len(events_of(chunk)) == 1 and len(chunk) < 4090 for chunk in chunks)
    assert "".join(event["content"] for event in events) == body["prompt"]
    assert [event["stop"] for event in events] == [False] * (len(events) - 1) + [True]
    assert all(event["tokens_evaluated"] == events[-1]["tokens_evaluated"] for event in events)
    assert [token for event in events for token in event["tokens"]] == list(range(51))


def raw_chunks(port: int, body: dict[str, Any]) -> tuple[dict[str, str], list[bytes]]:
    """Headers and HTTP chunks as they are on the socket."""
    data = encode(body)
    head = f"POST /completion HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as reader:
        connection.sendall(head.encode() + data)
        return head_of(reader).headers, list(chunks_of(reader))


async def test_several_prompts_are_a_list_of_answers(site: Site) -> None:
    """In their order, whatever order they were done in; one prompt in a list is one answer."""
    response = await site.post("/completion", {"prompt": ["[[sleep 0.02]]one two", "three", [4, 5]]})
    assert [(answer["index"], answer["content"]) for answer in response.json()] == [
        (0, "one two"),
        (1, "three"),
        (2, "4 5"),
    ]
    assert "X-Velesio-Job-Id" not in response.headers
    response = await site.post("/completion", {"prompt": ["one"]})
    assert response.json()["content"] == "one"


async def test_several_prompts_in_one_stream(site: Site) -> None:
    """Events tell by `index` whose they are; each has its own end."""
    response = await site.post("/completion", {"prompt": ["a b", "c d e"], "stream": True})
    texts, ends = {0: "", 1: ""}, []
    for event in response.events():
        texts[event["index"]] += event["content"]
        ends += [event["index"]] if event["stop"] else []
    assert texts == {0: "a b", 1: "c d e"}
    assert sorted(ends) == [0, 1]


async def test_warming_up_answers_with_nothing(site: Site) -> None:
    """`n_predict` 0: what LLMUnity sends first."""
    response = await site.post("/completion", {"prompt": "one two", "n_predict": 0})
    answer = response.json()
    assert (answer["content"], answer["tokens_predicted"], answer["stop"]) == ("", 0, True)


async def test_silence_is_filled_with_empty_events(site: Site) -> None:
    """As often as the request asks; the text is not touched."""
    body = {"prompt": "[[sleep 0.2]]one two", "stream": True, "sse_ping_interval": 0.05}
    events = (await site.post("/completion", body)).events()
    empty = [event for event in events if not event["content"] and not event["stop"]]
    assert len(empty) >= 2
    assert all(event["tokens"] == [] for event in empty)
    assert "".join(event["content"] for event in events) == "one two"


async def test_get_is_not_found(site: Site) -> None:
    """As in the reference, a wrong method is 404."""
    response = await site.get("/completion")
    assert response.status == 404
    assert response.json()["error"]["message"] == "File Not Found"
