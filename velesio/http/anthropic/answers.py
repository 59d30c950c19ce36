"""Anthropic's answers: whole messages, and streams of named events."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from velesio.dialects import Said, Speech
from velesio.errors import VelesioError
from velesio.http import sse
from velesio.http.anthropic.requests import Asked
from velesio.http.families import ANTHROPIC
from velesio.http.wire import encode
from velesio.jobs import Completed, Delta, Dialect, Event, Started, TextResult, Usage

_BLOCKS = {"content": "text", "reasoning": "thinking", "call": "tool_use"}
"""Kind of a piece → type of the block that it belongs to."""


class Writer:
    """Writes one message."""

    def __init__(self, asked: Asked, model: str, job_id: str) -> None:
        """The message is called after the job."""
        self.tools = () if asked.chat.tool_choice == "none" else asked.chat.tools
        self.omits_thinking = asked.omits_thinking
        self._model = model
        self._job_id = job_id

    def speech(self, dialect: Dialect) -> Speech:
        """Reads the answer; its calls are called after the job, so that they are the same when it is read again."""
        return Speech(dialect, self.tools, seed=self._job_id)

    def whole(self, result: TextResult) -> dict[str, Any]:
        """The message without streaming."""
        speech = self.speech(result.dialect)
        blocks = blocks_of([self.shown(said) for said in (*speech.feed(result.text), *speech.end())])
        called = any(block["type"] == "tool_use" for block in blocks)
        return self.message(blocks, usage_of(result.usage)) | stop_of(result, called=called)

    def shown(self, said: Said) -> Said:
        """A piece without what the client does not want to see."""
        return said._replace(text="") if self.omits_thinking and said.kind == "reasoning" else said

    def message(self, blocks: Sequence[Mapping[str, Any]], usage: Mapping[str, int]) -> dict[str, Any]:
        """A message that has not ended."""
        return {
            "id": f"msg_{self._job_id}",
            "type": "message",
            "role": "assistant",
            "content": blocks,
            "model": self._model,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }


def usage_of(usage: Usage) -> dict[str, int]:
    """The counts; `input_tokens` are those that were not cached."""
    return {
        "cache_read_input_tokens": usage.cached_tokens,
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }


def stop_of(result: TextResult, *, called: bool) -> dict[str, Any]:
    """Why a message ended."""
    if result.stop == "word":
        return {"stop_reason": "stop_sequence", "stop_sequence": result.stopping_word}
    if result.stop == "limit":
        return {"stop_reason": "max_tokens", "stop_sequence": None}
    return {"stop_reason": "tool_use" if called else "end_turn", "stop_sequence": None}


def blocks_of(said: Iterable[Said]) -> list[dict[str, Any]]:
    """Pieces as blocks, each with all of its text or arguments."""
    blocks: list[dict[str, Any]] = []
    arguments: dict[int, str] = {}
    last = None
    for each in said:
        if (each.kind, each.call) != last:
            last = each.kind, each.call
            blocks.append(_opened(each))
        if each.kind == "call":
            written = arguments[each.call] = arguments.get(each.call, "") + each.text
            blocks[-1]["input"] = _object(written)
        else:
            blocks[-1][_BLOCKS[each.kind]] += each.text
    return blocks


def _opened(said: Said) -> dict[str, Any]:
    """A block before its text."""
    if said.kind == "call":
        return {"type": "tool_use", "id": said.id, "name": said.name, "input": {}}
    if said.kind == "reasoning":
        return {"type": "thinking", "thinking": "", "signature": ""}
    return {"type": "text", "text": ""}


def _object(text: str) -> dict[str, Any]:
    """Arguments as an object; those that a limit cut short are none yet."""
    try:
        value = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


class Frames:
    """The stream: the begun message, its blocks one after another with their text, why it ended."""

    one_by_one = False

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._speech = Speech()
        self._block: tuple[str, int] | None = None
        self._index = -1
        self._called = False

    def frames(self, _: int, event: Event) -> list[bytes]:
        """The events for an event."""
        if isinstance(event, Started):
            self._speech = self._writer.speech(event.dialect)
            begun = Usage(event.prompt_tokens, cached_tokens=event.cached_tokens)
            return [_event("message_start", message=self._writer.message([], usage_of(begun)))]
        if type(event) is Delta:
            return self._pieces(self._speech.feed(event.text))
        if isinstance(event, Completed) and isinstance(event.result, TextResult):
            return [*self._pieces(self._speech.end()), *self._close(), *self._last(event.result)]
        return []

    def _pieces(self, said: Iterable[Said]) -> list[bytes]:
        frames: list[bytes] = []
        for each in map(self._writer.shown, said):
            if (each.kind, each.call) != self._block:
                frames += self._close()
                frames.append(self._open(each))
            if each.text:
                frames.append(self._delta(each))
        return frames

    def _open(self, said: Said) -> bytes:
        self._block = said.kind, said.call
        self._index += 1
        self._called = self._called or said.kind == "call"
        return _event("content_block_start", index=self._index, content_block=_opened(said))

    def _delta(self, said: Said) -> bytes:
        if said.kind == "call":
            delta = {"type": "input_json_delta", "partial_json": said.text}
        elif said.kind == "reasoning":
            delta = {"type": "thinking_delta", "thinking": said.text}
        else:
            delta = {"type": "text_delta", "text": said.text}
        return _event("content_block_delta", index=self._index, delta=delta)

    def _close(self) -> list[bytes]:
        block, self._block = self._block, None
        if block is None:
            return []
        end = [_event("content_block_stop", index=self._index)]
        if block[0] == "reasoning":
            # Clients wait for a signature; it says who thought this, which nobody here can prove.
            signature = {"type": "signature_delta", "signature": ""}
            return [_event("content_block_delta", index=self._index, delta=signature), *end]
        return end

    def _last(self, result: TextResult) -> list[bytes]:
        delta = stop_of(result, called=self._called)
        return [_event("message_delta", delta=delta, usage=usage_of(result.usage)), _event("message_stop")]

    def ping(self) -> bytes:
        """An event of its own."""
        return _event("ping")

    def failure(self, error: VelesioError) -> list[bytes]:
        """The error, at which the SDKs raise."""
        return [b"event: error\n" + sse.event(encode(ANTHROPIC.body(error)))]

    def end(self) -> list[bytes]:
        """Nothing; `message_stop` is the last."""
        return []


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\n%b" % (kind.encode(), sse.event(encode({"type": kind, **fields})))
