"""Anthropic's answers: the captured shapes of llama.cpp's server, and blocks of every kind."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.http.conftest import sample
from velesio.dialects import Said
from velesio.errors import QueueFull
from velesio.http.anthropic.answers import Frames, Writer, blocks_of, stop_of
from velesio.http.anthropic.requests import read
from velesio.http.wire import encode
from velesio.jobs import Completed, Delta, Dialect, Event, Progress, Started, TextResult, Usage

HI = {"messages": [{"role": "user", "content": "Hi"}]}
CALL = Said("call", '{"city":', call=0, id="t1", name="weather")


def writer(**fields: Any) -> Writer:
    return Writer(read(HI | fields), "smollm2", "j1")


def ordered(body: bytes) -> Any:
    """JSON with the order of its keys."""
    return json.loads(body, object_pairs_hook=list)


def without_id(document: list[Any]) -> list[Any]:
    return [pair for pair in document if pair[0] != "id"]


def events(body: bytes) -> list[tuple[str, Any]]:
    """Name and data of each event; fails for anything else."""
    found = []
    for event in body.decode().removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    assert all(name == data["type"] for name, data in found)
    return found


def streamed(frames: Frames, stream: Sequence[Event]) -> bytes:
    parts = [frame for event in stream for frame in frames.frames(0, event)]
    return b"".join([*parts, *frames.end()])


def test_a_message_is_the_sample() -> None:
    """Same keys, same order, same values."""
    result = TextResult("Hello there!", stop="limit", usage=Usage(31, 3, 30))
    ours = encode(writer().whole(result))
    assert without_id(ordered(ours)) == without_id(ordered(sample("messages")))
    assert json.loads(ours)["id"] == "msg_j1"


def test_a_stream_is_the_sample() -> None:
    """The same events in the same order. At the end all counts are told again, as Anthropic's own server does."""
    deltas = [Delta("Hello", (1,), 1), Delta(" there", (2,), 2), Delta(",", (3,), 3)]
    result = TextResult("Hello there,", stop="limit", usage=Usage(31, 3, 30))
    ours = events(streamed(Frames(writer()), [Started(31, Dialect(), 30), Progress(1, 2), *deltas, Completed(result)]))
    raw = sample("messages_stream").removeprefix(b"\n")
    captured = events(raw.strip() + b"\n\n")
    assert [name for name, _ in ours] == [name for name, _ in captured]
    assert ours[1:-2] == captured[1:-2]
    assert ours[-1] == captured[-1]
    (_, begun), (_, ended) = ours[0], ours[-2]
    assert begun["message"].keys() == captured[0][1]["message"].keys()
    assert begun["message"]["usage"] == captured[0][1]["message"]["usage"]
    assert ended["delta"] == captured[-2][1]["delta"]
    assert ended["usage"] == {"cache_read_input_tokens": 30, "input_tokens": 1, "output_tokens": 3}


@pytest.mark.parametrize(
    ("result", "called", "reason", "sequence"),
    [
        (TextResult("x"), False, "end_turn", None),
        (TextResult("x"), True, "tool_use", None),
        (TextResult("x", stop="limit"), True, "max_tokens", None),
        (TextResult("x", stop="word", stopping_word="END"), False, "stop_sequence", "END"),
    ],
)
def test_why_a_message_ended(result: TextResult, called: bool, reason: str, sequence: str | None) -> None:
    """A limit counts more than a call: the call may be cut short."""
    assert stop_of(result, called=called) == {"stop_reason": reason, "stop_sequence": sequence}


def test_blocks_are_what_was_said_in_its_order() -> None:
    """Neighbours of one kind are one block; each call is a block with its arguments as an object."""
    said = [
        Said("reasoning", "Hm"),
        Said("reasoning", "."),
        Said("content", "I "),
        Said("content", "look."),
        CALL,
        Said("call", '"Köln"}', call=0),
        Said("call", "", call=1, id="t2", name="time"),
    ]
    assert blocks_of(said) == [
        {"type": "thinking", "thinking": "Hm.", "signature": ""},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Köln"}},
        {"type": "tool_use", "id": "t2", "name": "time", "input": {}},
    ]


@pytest.mark.parametrize("written", ['{"city":', "[1]", "5"])
def test_arguments_that_are_no_object_are_none(written: str) -> None:
    """As where a limit cut them short: SDKs read an object there."""
    (block,) = blocks_of([CALL._replace(text=written)])
    assert block["input"] == {}


def test_a_stream_opens_and_closes_each_block() -> None:
    """Thinking ends with a signature; a call's arguments come in pieces; the end says that a tool is wanted."""

    class Scripted(Frames):
        def frames_of(self, said: list[Said]) -> bytes:
            return b"".join([*self._pieces(said), *self._close(), *self._last(TextResult("x"))])

    said = [Said("reasoning", "Hm."), Said("content", "Look."), CALL, Said("call", '"Köln"}', call=0)]
    found = events(Scripted(writer()).frames_of(said))
    kinds = [(data.get("index"), data.get("content_block", data.get("delta", {})).get("type")) for _, data in found]
    assert kinds == [
        (0, "thinking"),
        (0, "thinking_delta"),
        (0, "signature_delta"),
        (0, None),
        (1, "text"),
        (1, "text_delta"),
        (1, None),
        (2, "tool_use"),
        (2, "input_json_delta"),
        (2, "input_json_delta"),
        (2, None),
        (None, None),
        (None, None),
    ]
    assert found[7][1]["content_block"] == {"type": "tool_use", "id": "t1", "name": "weather", "input": {}}
    assert "".join(found[place][1]["delta"]["partial_json"] for place in (8, 9)) == '{"city":"Köln"}'
    assert found[-2][1]["delta"]["stop_reason"] == "tool_use"


def test_thinking_that_is_left_out_keeps_its_block() -> None:
    """Clients that count on the block find it, without its text."""
    hiding = writer(thinking={"type": "adaptive", "display": "omitted"})
    assert hiding.shown(Said("reasoning", "secret")) == Said("reasoning", "")
    assert hiding.shown(Said("content", "Hi")) == Said("content", "Hi")
    assert b"secret" not in b"".join(Frames(hiding)._pieces([Said("reasoning", "secret")]))


def test_what_is_no_text_of_the_answer() -> None:
    """Pings and errors are named events."""
    frames = Frames(writer())
    assert frames.ping() == b'event: ping\ndata: {"type":"ping"}\n\n'
    (failure,) = frames.failure(QueueFull("too much"))
    assert events(failure) == [
        ("error", {"type": "error", "error": {"type": "overloaded_error", "message": "too much"}})
    ]
