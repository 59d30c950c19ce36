"""The stream of a chat completion: the role, pieces of the message, the reason of the end, counts if asked for."""

from collections.abc import Mapping
from typing import Any, Protocol

from velesio.dialects import Said
from velesio.http import sse
from velesio.http.openai import answers
from velesio.http.text.generation import Generation
from velesio.http.text.hearing import Hearing, delta_of
from velesio.http.text.logprobs import openai_logprobs
from velesio.http.text.usage import (
    FINGERPRINT,
    Stopwatch,
    finish_reason,
    progress_of,
    progress_timings,
    timings_of,
    usage_of,
)
from velesio.http.wire import encode
from velesio.jobs import Completed, Delta, Dialect, Event, Progress, Started, TextResult, TokenProbs


class Writer(Protocol):
    """What the chunks have in common."""

    generation: Generation
    model: str
    id: str
    created: int
    hearing: Hearing

    def verbose(self, result: TextResult, index: int = 0) -> dict[str, Any]:
        """An answer in llama.cpp's own shape."""


class Frames(answers.Frames):
    """The chunks of one request."""

    def __init__(self, writer: Writer, *, choices: int, include_usage: bool) -> None:
        self._writer = writer
        self._include_usage = include_usage
        self._envelope = {
            "created": writer.created,
            "id": writer.id,
            "model": writer.model,
            "system_fingerprint": FINGERPRINT,
            "object": "chat.completion.chunk",
        }
        self._tail = b"}}]," + encode(self._envelope)[1:] + b"\n\n"
        timed = writer.generation.timings_per_token
        self._answers = [_Answer(index, writer.hearing, timed=timed) for index in range(choices)]
        self._results: dict[int, TextResult] = {}

    def frames(self, index: int, event: Event) -> list[bytes]:
        """The chunks for an event; each choice begins with its role."""
        answer = self._answers[index]
        if isinstance(event, Progress):
            return self._progress(answer, event)
        frames = [] if answer.greeted else [self._greeting(answer)]
        if type(event) is Delta:
            answer.predicted = event.predicted
            answer.probs.extend(event.probs)
            frames += [self._piece(answer, said) for said in answer.speech.feed(event.text)]
        elif isinstance(event, Started):
            answer.start(event)
        elif isinstance(event, Completed) and isinstance(event.result, TextResult):
            frames += [self._piece(answer, said) for said in answer.speech.end()]
            self._results[index] = event.result
            frames.append(self._last(answer, event.result))
        return frames

    def _greeting(self, answer: "_Answer", extra: Mapping[str, Any] | None = None) -> bytes:
        answer.greeted = True
        return self._chunk([_choice(answer.index, {"role": "assistant", "content": None})], extra)

    def _progress(self, answer: "_Answer", event: Progress) -> list[bytes]:
        if not self._writer.generation.text.return_progress:
            return []
        timings = {"timings": progress_timings(event)} if answer.watch else {}
        return [self._greeting(answer, timings | {"prompt_progress": progress_of(event)})]

    def _piece(self, answer: "_Answer", said: Said) -> bytes:
        answer.called = answer.called or said.kind == "call"
        if said.kind == "content" and not answer.probs and answer.watch is None:
            # Nearly every chunk of nearly every stream: its constant parts are written once.
            return answer.head + encode(said.text) + self._tail
        choice = _choice(answer.index, delta_of(said)) | self._logprobs(answer)
        timings = {} if answer.watch is None else {"timings": answer.watch.timings(answer.predicted)}
        return self._chunk([choice], timings)

    def _logprobs(self, answer: "_Answer") -> dict[str, Any]:
        """Of the tokens since the last chunk."""
        probs, answer.probs = answer.probs, []
        logprobs = openai_logprobs(probs, post=self._writer.generation.text.post_sampling_probs)
        return {} if logprobs is None else {"logprobs": logprobs}

    def _last(self, answer: "_Answer", result: TextResult) -> bytes:
        reason = finish_reason(result, called=answer.called)
        choices = [_choice(answer.index, {}, reason) | self._logprobs(answer)]
        extra = {}
        if self._writer.generation.verbose:
            extra["__verbose"] = self._writer.verbose(result, answer.index)
        if len(self._results) == len(self._answers) and not self._include_usage:
            extra["timings"] = timings_of(result.usage, result.timings)
        return self._chunk(choices, extra)

    def end(self) -> list[bytes]:
        """Counts, if they were asked for."""
        if not self._include_usage:
            return [sse.DONE]
        results = [result for _, result in sorted(self._results.items())]
        counts = {
            "usage": usage_of(results, self._writer.generation.choices),
            "timings": timings_of(results[-1].usage, results[-1].timings),
        }
        return [self._chunk([], counts), sse.DONE]

    def _chunk(self, choices: list[dict[str, Any]], extra: Mapping[str, Any] | None = None) -> bytes:
        return sse.event(encode({"choices": choices, **self._envelope, **(extra or {})}))


class _Answer:
    """One choice on its way."""

    def __init__(self, index: int, hearing: Hearing, *, timed: bool) -> None:
        self.index = index
        self.head = b'data: {"choices":[{"finish_reason":null,"index":%d,"delta":{"content":' % index
        self.greeted = False
        self.called = False
        self.predicted = 0
        self.probs: list[TokenProbs] = []
        """Of tokens that no chunk has told yet."""
        self.watch = Stopwatch() if timed else None
        self._hearing = hearing
        self.speech = hearing.streamed(Dialect(), index)

    def start(self, event: Started) -> None:
        """What the answer is written in is known."""
        self.speech = self._hearing.streamed(event.dialect, self.index)
        if self.watch is not None:
            self.watch.start(event.prompt_tokens)


def _choice(index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"finish_reason": reason, "index": index, "delta": delta}
