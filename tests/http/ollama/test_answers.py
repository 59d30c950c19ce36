"""Ollama's answers: lines of JSON and whole ones."""

import json
import time
from typing import Any

from velesio.dialects import Said
from velesio.errors import QueueFull
from velesio.http.ollama.answers import Frames, Writer, _Calls, lines_response, logprobs_of
from velesio.jobs import Completed, Delta, Event, Started, TextResult, Timings, TokenProbs, Usage

RESULT = TextResult("Hi you", (1, 2), usage=Usage(5, 2), timings=Timings(12.0, 30.0))
FINAL = [
    "model",
    "created_at",
    "response",
    "done",
    "done_reason",
    "context",
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
]


def writer(*, in_message: bool = False) -> Writer:
    return Writer("m:latest", None, time.monotonic(), in_message=in_message)


def streamed(frames: Frames, events: list[Event]) -> list[Any]:
    lines = b"".join(frame for event in events for frame in frames.frames(0, event)).splitlines()
    return [json.loads(line) for line in lines]


def test_a_stream_has_a_line_for_each_text_and_one_for_the_end() -> None:
    """The last has all counts and times, in nanoseconds; a chat's has no context."""
    events = [Started(5), Delta("Hi", (1,), 1), Delta(" you", (2,), 2), Completed(RESULT)]
    prompted = writer()
    prompted.context = (7, 8)
    first, second, last = streamed(Frames(prompted), events)
    assert list(first) == ["model", "created_at", "response", "done"]
    assert (first["response"], second["response"], first["done"]) == ("Hi", " you", False)
    assert list(last) == FINAL
    assert (last["response"], last["done_reason"], last["context"]) == ("", "stop", [7, 8])
    assert (last["prompt_eval_count"], last["eval_count"]) == (5, 2)
    assert (last["prompt_eval_duration"], last["eval_duration"]) == (12_000_000, 30_000_000)
    chat = streamed(Frames(writer(in_message=True)), events)
    assert chat[0]["message"] == {"role": "assistant", "content": "Hi"}
    assert list(chat[-1]) == ["message" if name == "response" else name for name in FINAL if name != "context"]


def test_a_whole_answer_is_the_last_line_with_the_text() -> None:
    """Same keys, whole text."""
    answer = writer().whole(RESULT)
    assert list(answer) == [name for name in FINAL if name != "context"]
    assert (answer["response"], answer["done"]) == ("Hi you", True)
    assert writer(in_message=True).whole(RESULT)["message"] == {"role": "assistant", "content": "Hi you"}


def test_a_limit_is_told() -> None:
    """`length` where the limit ended it, `stop` for everything else."""
    reasons = [writer().last(TextResult("x", stop=stop))["done_reason"] for stop in ("eos", "word", "limit")]
    assert reasons == ["stop", "stop", "length"]


def test_calls_come_whole() -> None:
    """With the arguments as an object, in the order of their begin, before what follows them."""
    calls = _Calls()
    call = Said("call", '{"city":', call=0, id="c1", name="weather")
    wholes = calls.take([Said("reasoning", "Hm"), Said("content", "Look"), call])
    assert [(each.kind, each.text) for each in wholes] == [("reasoning", "Hm"), ("content", "Look")]
    rest = calls.finish([Said("call", '"Bonn"}', call=0), Said("call", "", call=1, id="c2", name="time")])
    assert [each.value for each in rest] == [
        {"id": "c1", "function": {"index": 0, "name": "weather", "arguments": {"city": "Bonn"}}},
        {"id": "c2", "function": {"index": 1, "name": "time", "arguments": {}}},
    ]


def test_each_kind_stands_in_its_place() -> None:
    """Thoughts and calls are beside the text, in messages and in responses alike."""
    call = {"function": {"name": "f", "arguments": {}}}
    assert writer(in_message=True).part("a", "b", [call])["message"] == {
        "role": "assistant",
        "content": "a",
        "thinking": "b",
        "tool_calls": [call],
    }
    part = writer().part("a", "b", [call])
    assert (part["response"], part["thinking"], part["tool_calls"]) == ("a", "b", [call])


def test_likelihoods_belong_to_the_text_that_they_came_with() -> None:
    """Also where that text is held back: then to an empty part."""
    probs = (TokenProbs(1, b"Hi", -0.5, ((1, b"Hi", -0.5), (2, b"\xff", -1.0))),)
    told = {
        "logprobs": [
            {
                "token": "Hi",
                "logprob": -0.5,
                "bytes": [72, 105],
                "top_logprobs": [
                    {"token": "Hi", "logprob": -0.5, "bytes": [72, 105]},
                    {"token": "\N{REPLACEMENT CHARACTER}", "logprob": -1.0, "bytes": [255]},
                ],
            }
        ]
    }
    assert logprobs_of(probs) == told
    assert logprobs_of(()) == {}
    said, held = streamed(Frames(writer()), [Delta("Hi", (1,), 1, probs), Delta("", (1,), 2, probs)])
    assert (said["response"], said["logprobs"]) == ("Hi", told["logprobs"])
    assert (held["response"], held["logprobs"]) == ("", told["logprobs"])


def test_every_line_is_an_object() -> None:
    """Clients read blank lines as JSON too, and fail."""
    frames = Frames(writer())
    ping = json.loads(frames.ping())
    assert (ping["response"], ping["done"]) == ("", False)
    (failure,) = frames.failure(QueueFull("too much"))
    assert json.loads(failure)["error"].startswith("server busy, please try again.")
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in (frames.ping(), failure))
    assert frames.end() == []


def test_what_is_known_at_once_is_a_stream_or_its_last_line() -> None:
    """As the client asked."""
    lines = [{"status": "pulling"}, {"status": "success"}]
    assert lines_response(lines, stream=True).body == b'{"status":"pulling"}\n{"status":"success"}\n'
    assert lines_response(lines, stream=False).body == b'{"status":"success"}'
