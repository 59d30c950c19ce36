"""Ollama's answers: whole, or as lines of JSON."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.dialects import Said, Speech
from velesio.errors import VelesioError
from velesio.http.families import OLLAMA
from velesio.http.ollama.models import now
from velesio.http.wire import encode, json_response
from velesio.jobs import Chat, Completed, Delta, Dialect, Event, Started, TextParams, TextResult, TokenProbs

HEADERS = {"Content-Type": "application/x-ndjson", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def lines_response(lines: Sequence[Any], *, stream: bool) -> web.Response:
    """What is known at once, as a stream of lines or as the last of them alone."""
    if not stream:
        return json_response(lines[-1])
    return web.Response(body=b"".join(encode(line) + b"\n" for line in lines), headers=HEADERS)


class Writer:
    """Writes what one request gets; `/api/generate` and `/api/chat` differ in where the text stands."""

    def __init__(self, model: str, params: TextParams | None, arrived: float, *, in_message: bool) -> None:
        """`model` is what the client calls it, `arrived` the request's monotonic time; `in_message`: as a chat."""
        self.model = model
        self.tools: tuple[dict[str, Any], ...] = params.tools if isinstance(params, Chat) else ()
        self.context: Sequence[int] | None = None
        """Tokens of prompt and answer, for the next request; None: the answer does not tell them."""
        self.dialect: Dialect | None = None
        """That of the conversation which became the job's prompt; None: the job knows it."""
        self._in_message = in_message
        self._arrived = arrived
        self._begun = arrived

    def begin(self) -> None:
        """A worker has begun: what came before counts as loading."""
        self._begun = time.monotonic()

    def speech(self, dialect: Dialect) -> Speech:
        """Sorts the text of a job that says it has that dialect."""
        return Speech(self.dialect or dialect, self.tools)

    def part(self, content: str = "", thinking: str = "", calls: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """A part of the answer."""
        return {"model": self.model, "created_at": now(), **self._text(content, thinking, calls), "done": False}

    def loaded(self, reason: str) -> dict[str, Any]:
        """The answer to a request without a prompt."""
        return self.part() | {"done": True, "done_reason": reason}

    def last(self, result: TextResult, said: dict[str, Any] | None = None) -> dict[str, Any]:
        """The last part, or with what was `said` the whole answer, with counts and times in nanoseconds."""
        used, times = result.usage, result.timings
        return {
            **(said or self.part()),
            "done": True,
            "done_reason": "length" if result.stop == "limit" else "stop",
            **({} if self.context is None else {"context": self.context}),
            "total_duration": _nanoseconds(time.monotonic() - self._arrived),
            "load_duration": _nanoseconds(self._begun - self._arrived),
            "prompt_eval_count": used.prompt_tokens,
            "prompt_eval_duration": _nanoseconds(times.prompt_ms / 1000),
            "eval_count": used.completion_tokens,
            "eval_duration": _nanoseconds(times.predicted_ms / 1000),
        }

    def whole(self, result: TextResult) -> dict[str, Any]:
        """The answer without streaming."""
        speech = self.speech(result.dialect)
        calls = _Calls()
        said = calls.finish([*speech.feed(result.text), *speech.end()])
        answer = self.part(
            "".join(each.text for each in said if each.kind == "content"),
            "".join(each.text for each in said if each.kind == "reasoning"),
            [each.value for each in said if each.kind == "call"],
        )
        return self.last(result, answer | logprobs_of(result.probs))

    def _text(self, content: str, thinking: str, calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        beside = ({"thinking": thinking} if thinking else {}) | ({"tool_calls": list(calls)} if calls else {})
        if self._in_message:
            return {"message": {"role": "assistant", "content": content, **beside}}
        return {"response": content, **beside}


class Frames:
    """The stream of one request: a line of JSON for each part."""

    one_by_one = False

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._speech = Speech()
        self._calls = _Calls()

    def frames(self, _: int, event: Event) -> list[bytes]:
        """The lines for an event."""
        if type(event) is Delta:
            said = self._calls.take(self._speech.feed(event.text))
            return self._lines(said, logprobs_of(event.probs))
        if isinstance(event, Started):
            self._writer.begin()
            self._speech = self._writer.speech(event.dialect)
        elif isinstance(event, Completed) and isinstance(event.result, TextResult):
            rest = self._lines(self._calls.finish(self._speech.end()), {})
            return [*rest, _line(self._writer.last(event.result))]
        return []

    def _lines(self, said: Sequence["_Whole"], probs: dict[str, Any]) -> list[bytes]:
        parts = [self._part(each) for each in said]
        if probs and not parts:
            parts = [self._writer.part()]
        if parts:
            parts[0] |= probs
        return [_line(part) for part in parts]

    def _part(self, said: "_Whole") -> dict[str, Any]:
        if said.kind == "call":
            return self._writer.part(calls=[said.value])
        return self._writer.part(said.text) if said.kind == "content" else self._writer.part(thinking=said.text)

    def ping(self) -> bytes:
        """A part without text: clients read every line as JSON."""
        return _line(self._writer.part())

    def failure(self, error: VelesioError) -> list[bytes]:
        """The error as a line."""
        return [_line(OLLAMA.body(error))]

    def end(self) -> list[bytes]:
        """Nothing."""
        return []


class _Whole(msgspec.Struct, frozen=True):
    """Text, or a call in one piece."""

    kind: str
    text: str = ""
    value: dict[str, Any] = {}


class _Calls:
    """Puts the pieces of calls together: Ollama's clients get each as a whole, with its arguments as an object."""

    def __init__(self) -> None:
        self._open: Said | None = None
        self._count = 0

    def take(self, said: Iterable[Said]) -> list[_Whole]:
        """What is whole by now."""
        wholes: list[_Whole] = []
        for each in said:
            if each.kind == "call" and self._open is not None and each.call == self._open.call:
                self._open = self._open._replace(text=self._open.text + each.text)
                continue
            wholes += self._close()
            if each.kind == "call":
                self._open = each
            elif each.text:
                wholes.append(_Whole(each.kind, each.text))
        return wholes

    def finish(self, said: Iterable[Said]) -> list[_Whole]:
        """The same at the end of the answer."""
        return [*self.take(said), *self._close()]

    def _close(self) -> list[_Whole]:
        call, self._open = self._open, None
        if call is None:
            return []
        function = {"index": self._count, "name": call.name, "arguments": _arguments(call.text)}
        self._count += 1
        return [_Whole("call", value={"id": call.id, "function": function})]


def _arguments(text: str) -> dict[str, Any]:
    """The object that a call's arguments are; a model that was cut short wrote only a part of it."""
    try:
        value = msgspec.json.decode(text or "{}")
    except msgspec.DecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def logprobs_of(probs: Iterable[TokenProbs]) -> dict[str, Any]:
    """The field `logprobs`, where there are any."""
    listed = [
        _likelihood(each.piece, each.logprob)
        | {"top_logprobs": [_likelihood(piece, logprob) for _, piece, logprob in each.top]}
        for each in probs
    ]
    return {"logprobs": listed} if listed else {}


def _likelihood(piece: bytes, logprob: float) -> dict[str, Any]:
    return {"token": piece.decode(errors="replace"), "logprob": logprob, "bytes": list(piece)}


def _nanoseconds(seconds: float) -> int:
    return max(0, round(seconds * 1e9))


def _line(value: Mapping[str, Any]) -> bytes:
    return encode(value) + b"\n"
