"""What a chat's answer says, as OpenAI's chats write it: messages, and the deltas of a stream."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from velesio.dialects import Said, Speech
from velesio.http.text.reasoning import Format
from velesio.jobs import Dialect, TextResult


class Hearing(NamedTuple):
    """How the answers to one request are heard."""

    tools: Sequence[dict[str, Any]] = ()
    """Those that may be called."""
    form: Format = "auto"
    seed: str = ""
    """What the ids of calls follow from: who writes the answer again finds the same."""

    def speech(self, dialect: Dialect, index: int, *, keeps_reasoning: bool) -> Speech:
        """The answer with that index, whose reasoning is content where `keeps_reasoning`."""
        seed = f"{self.seed}.{index}" if self.seed else ""
        return Speech(dialect, self.tools, seed=seed, keeps_reasoning=keeps_reasoning)

    def streamed(self, dialect: Dialect, index: int) -> Speech:
        """The same, for a stream."""
        return self.speech(dialect, index, keeps_reasoning=self.form in {"none", "deepseek-legacy"})

    def said(self, result: TextResult, index: int, *, keeps_reasoning: bool | None = None) -> list[Said]:
        """All that an answer says."""
        keeps = self.form == "none" if keeps_reasoning is None else keeps_reasoning
        speech = self.speech(result.dialect, index, keeps_reasoning=keeps)
        return [*speech.feed(result.text), *speech.end()]

    def message(self, result: TextResult, index: int) -> dict[str, Any]:
        """The message of an answer."""
        message = message_of(self.said(result, index))
        if self.form == "deepseek-legacy" and "reasoning_content" in message:
            whole = message_of(self.said(result, index, keeps_reasoning=True))
            message["content"] = whole["content"]
        return message


def message_of(said: Iterable[Said]) -> dict[str, Any]:
    """Pieces as one message."""
    content, reasoning, calls = "", "", Calls()
    for each in said:
        if each.kind == "call":
            calls.add(each)
        elif each.kind == "reasoning":
            reasoning += each.text
        else:
            content += each.text
    message: dict[str, Any] = {"role": "assistant", "content": content}
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls.whole:
        message["tool_calls"] = calls.whole
    return message


class Calls:
    """Calls of tools, put together from their pieces."""

    def __init__(self) -> None:
        self.whole: list[dict[str, Any]] = []
        self._places: dict[int, dict[str, Any]] = {}

    def add(self, said: Said) -> None:
        """The next piece of one of them."""
        call = self._places.get(said.call)
        if call is None:
            call = {"type": "function", "function": {"name": "", "arguments": ""}, "id": ""}
            self._places[said.call] = call
            self.whole.append(call)
        call["id"] = call["id"] or said.id
        call["function"]["name"] = call["function"]["name"] or said.name
        call["function"]["arguments"] += said.text


def delta_of(said: Said) -> dict[str, Any]:
    """A piece as a delta; the first of a call has its id and name."""
    if said.kind == "content":
        return {"content": said.text}
    if said.kind == "reasoning":
        return {"reasoning_content": said.text}
    function = {"name": said.name, "arguments": said.text} if said.name else {"arguments": said.text}
    head = {"id": said.id, "type": "function"} if said.name else {}
    return {"tool_calls": [{"index": said.call, **head, "function": function}]}
