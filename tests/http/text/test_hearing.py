"""Messages of chats: content, reasoning, calls, whole and streamed."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.http.conftest import events_of
from velesio.dialects import Said
from velesio.errors import BadRequest
from velesio.http.openai import chat
from velesio.http.text.hearing import delta_of, message_of
from velesio.jobs import Completed, Delta, Dialect, Event, Progress, Started, TextResult, Timings, TokenProbs, Usage

HERMES = Dialect("hermes")
OPENED = Dialect("hermes", "<think>\n")
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
CALL = '<tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
TEXT = f"<think>\nHm.\n</think>\n\nI look.\n{CALL}"
ASKED = {"messages": [{"role": "user", "content": "x"}], "tools": TOOLS}
JOB = "1" * 32


def whole(raw: dict[str, Any], text: str, dialect: Dialect = HERMES, **fields: Any) -> dict[str, Any]:
    """The only choice."""
    result = TextResult(text, dialect=dialect, **fields)
    answer = chat.write(chat.read(ASKED | raw), "m", JOB, [result])
    choice: dict[str, Any] = answer["choices"][0]
    return choice


def streamed(raw: dict[str, Any], events: Sequence[Event]) -> list[dict[str, Any]]:
    """The chunks."""
    frames = chat.ChatFrames(chat.read(ASKED | raw | {"stream": True}), "m", JOB)
    body = b"".join([*(frame for event in events for frame in frames.frames(0, event)), *frames.end()])
    return [json.loads(event) for event in events_of(body) if event != b"[DONE]"]


def spoken(text: str, dialect: Dialect = HERMES) -> list[Event]:
    """A stream of single characters."""
    deltas = [Delta(character, (1,), number) for number, character in enumerate(text, 1)]
    return [Started(5, dialect), *deltas, Completed(TextResult(text, usage=Usage(5, len(text)), dialect=dialect))]


def gathered(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """What a client makes of the deltas."""
    message: dict[str, Any] = {}
    for delta in (chunk["choices"][0]["delta"] for chunk in chunks):
        for name in ("content", "reasoning_content"):
            if delta.get(name):
                message[name] = message.get(name, "") + delta[name]
        for piece in delta.get("tool_calls", []):
            calls = message.setdefault("tool_calls", {})
            call = calls.setdefault(piece["index"], {"arguments": ""})
            call |= {name: piece[name] for name in ("id", "type") if name in piece}
            call["arguments"] += piece["function"]["arguments"]
            call |= {"name": piece["function"]["name"]} if "name" in piece["function"] else {}
    return message


def test_a_message_has_its_parts() -> None:
    """Calls with arguments as JSON in a string."""
    choice = whole({}, TEXT)
    message = choice["message"]
    (call,) = message["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert list(message) == ["role", "content", "reasoning_content", "tool_calls"]
    assert (message["content"], message["reasoning_content"]) == ("I look.", "Hm.")
    assert (call["type"], call["function"]["name"]) == ("function", "f")
    assert json.loads(call["function"]["arguments"]) == {"a": 1}


def test_ids_of_calls_can_be_found_again() -> None:
    """Who fetches an answer later gets the same; other answers have others."""
    one, two = (whole({}, TEXT)["message"]["tool_calls"][0]["id"] for _ in range(2))
    result = TextResult(TEXT, dialect=HERMES)
    choices = chat.write(chat.read(ASKED | {"n": 2}), "m", JOB, [result, result])["choices"]
    ids = [choice["message"]["tool_calls"][0]["id"] for choice in choices]
    assert one == two == ids[0] != ids[1]


def test_a_stream_says_the_same() -> None:
    """Piece by piece: id and name with the first piece of a call, the reason at the end."""
    chunks = streamed({}, spoken(TEXT))
    message, expected = gathered(chunks), whole({}, TEXT)["message"]
    (call,) = message["tool_calls"].values()
    assert message["content"] == expected["content"]
    assert message["reasoning_content"] == expected["reasoning_content"]
    assert call["id"] == expected["tool_calls"][0]["id"]
    assert (call["type"], call["name"]) == ("function", "f")
    assert call["arguments"] == expected["tool_calls"][0]["function"]["arguments"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    heads = [piece for chunk in chunks for piece in chunk["choices"][0]["delta"].get("tool_calls", []) if "id" in piece]
    assert len(heads) == 1


@pytest.mark.parametrize(
    ("form", "content", "reasoning", "in_stream"),
    [
        ("auto", "Yes.", "Hm.", "Yes."),
        ("deepseek", "Yes.", "Hm.", "Yes."),
        ("none", "<think>\nHm.\n</think>\n\nYes.", None, "<think>\nHm.\n</think>\n\nYes."),
        ("deepseek-legacy", "<think>\nHm.\n</think>\n\nYes.", "Hm.", "<think>\nHm.\n</think>\n\nYes."),
    ],
)
def test_where_reasoning_is_told(form: str, content: str, reasoning: str | None, in_stream: str) -> None:
    """Apart, in the content, or in both."""
    text = "<think>\nHm.\n</think>\n\nYes."
    message = whole({"reasoning_format": form}, text)["message"]
    assert (message["content"], message.get("reasoning_content")) == (content, reasoning)
    assert gathered(streamed({"reasoning_format": form}, spoken(text)))["content"] == in_stream


def test_a_template_may_open_the_reasoning() -> None:
    """Then the answer begins in the middle of it."""
    message = whole({}, "Hm.\n</think>\n\nYes.", OPENED)["message"]
    assert (message["content"], message["reasoning_content"]) == ("Yes.", "Hm.")


def test_tools_that_may_not_be_called_are_content() -> None:
    """The text of the model is what it is."""
    message = whole({"tool_choice": "none"}, CALL)["message"]
    assert "tool_calls" not in message
    assert message["content"] == CALL


def test_a_limit_counts_more_than_a_call() -> None:
    """The arguments may be cut short."""
    assert whole({}, TEXT[:-20], stop="limit")["finish_reason"] == "length"


def test_pieces_by_kind() -> None:
    """Of several calls each has its own place."""
    said = [Said("call", "", 0, "a", "f"), Said("call", "{}", 0), Said("call", "", 1, "b", "g"), Said("call", "{}", 1)]
    assert [call["id"] for call in message_of(said)["tool_calls"]] == ["a", "b"]
    assert delta_of(said[0]) == {
        "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]
    }
    assert delta_of(said[3]) == {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}


PROBS = tuple(TokenProbs(token, bytes([token]), -0.5, ((token, bytes([token]), -0.5),)) for token in b"ab")
LOGPROBS = {"tools": [], "logprobs": True, "top_logprobs": 1}


def test_log_probabilities_come_with_the_choice() -> None:
    """Behind the message."""
    choice = whole(LOGPROBS, "ab", Dialect(), probs=PROBS)
    assert list(choice) == ["finish_reason", "index", "message", "logprobs"]
    assert [each["token"] for each in choice["logprobs"]["content"]] == ["a", "b"]


def test_log_probabilities_are_never_lost_in_a_stream() -> None:
    """Those of text that is held back come with what is told next, or at the end."""
    result = TextResult("ab", usage=Usage(5, 2), probs=PROBS, dialect=HERMES)
    events: list[Event] = [
        Started(5, HERMES),
        Delta("<", (1,), 1, PROBS[:1]),
        Delta("b", (2,), 2, PROBS[1:]),
        Completed(result),
    ]
    chunks = streamed(LOGPROBS, events)
    told = [each for chunk in chunks for each in (chunk["choices"][0].get("logprobs") or {}).get("content", [])]
    assert [each["token"] for each in told] == ["a", "b"]


def test_timings_for_each_token() -> None:
    """And while the prompt is computed, with its progress."""
    events: list[Event] = [
        Started(5),
        Progress(0, 5),
        Progress(5, 5, 2, 7.0),
        Delta("a", (1,), 1),
        Completed(TextResult("a", usage=Usage(5, 1, 2), timings=Timings(7.0, 1.0))),
    ]
    chunks = streamed({"timings_per_token": True, "return_progress": True}, events)
    progress = [chunk["prompt_progress"]["processed"] for chunk in chunks if "prompt_progress" in chunk]
    assert progress == [0, 5]
    assert all("timings" in chunk for chunk in chunks[1:])
    assert chunks[2]["timings"]["prompt_n"] == 3
    assert not any("prompt_progress" in chunk for chunk in streamed({}, events))


def test_the_native_answer_on_request() -> None:
    """Behind everything but the timings; with the settings of this answer."""
    result = TextResult("ab", dialect=Dialect("hermes", "<think>\n"), prompt="The prompt.")
    answer = chat.write(chat.read(ASKED | {"verbose": True}), "m", JOB, [result])
    assert list(answer)[-2:] == ["__verbose", "timings"]
    told = answer["__verbose"]
    assert (told["content"], told["prompt"]) == ("ab", "The prompt.")
    assert told["generation_settings"]["chat_format"] == "hermes"
    assert told["generation_settings"]["generation_prompt"] == "<think>\n"
    assert "__verbose" in streamed({"verbose": True}, spoken("x"))[-1]


def test_a_last_message_of_the_assistant_is_continued() -> None:
    """Unless the client says no; two of them are one too many."""
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "He"}]
    assert chat.read({"messages": messages}).chat.continue_final is None
    assert chat.read({"messages": messages, "continue_final_message": False}).chat.continue_final is False
    assert chat.read({"messages": messages, "continue_final_message": True}).chat.continue_final is True
    for raw in (
        {"messages": [*messages, messages[1]]},
        {"messages": messages[:1], "continue_final_message": True},
    ):
        with pytest.raises(BadRequest):
            chat.read(raw)
