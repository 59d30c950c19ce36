"""OpenAI's text completions: `/v1/completions`."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import ContextExceeded
from velesio.http import sse
from velesio.http.fields import Fields, passed, refuse, refused, unless
from velesio.http.form import Form
from velesio.http.gateway import GATEWAY
from velesio.http.openai import answers
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.http.text.generation import GENERATION, SAMPLING, Generation, completions_of, generation_of
from velesio.http.text.grammar import grammar_of
from velesio.http.text.logprobs import openai_logprobs, probs_of
from velesio.http.text.native import native
from velesio.http.text.prompts import PROMPT
from velesio.http.text.usage import (
    FINGERPRINT,
    Stopwatch,
    finish_reason,
    progress_of,
    progress_timings,
    timings_of,
    usage_of,
)
from velesio.http.wire import encode, read_object
from velesio.jobs import Completed, Completion, Delta, Event, Progress, Started, TextResult, TokenProbs, Usage

FIELDS: Fields = {
    "prompt": PROMPT,
    "stream_options": passed("the counts come with the end of each choice, asked for or not"),
    "echo": refused("answers with the prompt in them are", final=True),
    "suffix": refused("text after the answer is", instead="use /infill", final=True),
    "best_of": refused("choosing the best of several answers is", unless(1), instead="use n", final=True),
    "user": passed("nobody is told"),
}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request, read."""

    generation: Generation
    params: list[Completion]

    @property
    def model(self) -> str:
        """The name that the request has for it."""
        return self.generation.model


def read(raw: Mapping[str, Any]) -> Asked:
    """A text completion request from its body.

    Raises:
        BadRequest: naming the field.
        Unsupported: it asks for something that is not there.
    """
    refuse(raw, FIELDS)
    generation = generation_of(raw, grammar_of(raw), probs_of(raw))
    return Asked(generation=generation, params=completions_of(raw, generation))


class Writer(answers.Writer):
    """Writes text completions."""

    prefix = "cmpl"
    object = "text_completion"

    def __init__(self, asked: Asked, model: str, job_id: str = "") -> None:
        super().__init__(asked, model, job_id)
        self._asked = asked

    def choice(self, index: int, result: TextResult) -> dict[str, Any]:
        """A text."""
        return {
            "text": result.text,
            "index": index,
            "logprobs": self.logprobs(result.probs),
            "finish_reason": finish_reason(result),
        }

    def logprobs(self, probs: Sequence[TokenProbs]) -> dict[str, Any] | None:
        """Of some tokens."""
        return openai_logprobs(probs, post=self.generation.text.post_sampling_probs)

    def verbose(self, result: TextResult, index: int = 0) -> dict[str, Any]:
        """The same in llama.cpp's own shape."""
        return native(self.generation, self._asked.params[index], result, self.model, index)


class Frames(answers.Frames):
    """The stream; counts come with the end of each choice."""

    def __init__(self, asked: Asked, model: str, job_id: str = "") -> None:
        self._writer = writer = Writer(asked, model, job_id)
        self._generation = asked.generation
        self._envelope = {
            "created": writer.created,
            "model": writer.model,
            "system_fingerprint": FINGERPRINT,
            "object": writer.object,
        }
        self._tails = [
            b',"index":%d,"logprobs":null,"finish_reason":null}],' % index
            + encode(self._envelope | {"id": writer.id})[1:]
            + b"\n\n"
            for index in range(len(asked.params))
        ]
        timed = asked.generation.timings_per_token
        self._watches = [Stopwatch() for _ in asked.params] if timed else []

    def frames(self, index: int, event: Event) -> list[bytes]:
        """The chunk for an event."""
        if type(event) is Delta:
            return self._piece(index, event)
        if isinstance(event, Completed) and isinstance(event.result, TextResult):
            return [self._last(index, event.result)]
        if isinstance(event, Progress) and self._generation.text.return_progress:
            timings = {"timings": progress_timings(event)} if self._watches else {}
            return [self._chunk(index, "", timings | {"prompt_progress": progress_of(event)})]
        if isinstance(event, Started) and self._watches:
            self._watches[index].start(event.prompt_tokens)
        return []

    def _piece(self, index: int, delta: Delta) -> list[bytes]:
        if not delta.text and not delta.probs:
            return []
        if not delta.probs and not self._watches:
            return [b'data: {"choices":[{"text":' + encode(delta.text) + self._tails[index]]
        timings = {"timings": self._watches[index].timings(delta.predicted)} if self._watches else {}
        return [self._chunk(index, delta.text, timings, delta.probs)]

    def _chunk(self, index: int, text: str, extra: Mapping[str, Any], probs: Sequence[TokenProbs] = ()) -> bytes:
        choice = {"text": text, "index": index, "logprobs": self._writer.logprobs(probs), "finish_reason": None}
        return sse.event(encode({"choices": [choice], **self._envelope, "id": self._writer.id, **extra}))

    def _last(self, index: int, result: TextResult) -> bytes:
        choice = self._writer.choice(index, result) | {"text": "", "logprobs": None}
        verbose = {"__verbose": self._writer.verbose(result, index)} if self._generation.verbose else {}
        end = {
            "usage": usage_of([result]),
            "id": self._writer.id,
            **verbose,
            "timings": timings_of(result.usage, result.timings),
        }
        return sse.event(encode({"choices": [choice]} | self._envelope | end))

    def end(self) -> list[bytes]:
        """Nothing but the mark."""
        return [sse.DONE]


def write(asked: Asked, model: str, job_id: str, results: Sequence[TextResult]) -> dict[str, Any]:
    """The answer without streaming."""
    return Writer(asked, model, job_id).whole(results)


async def completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/completions`."""
    asked = read(await read_object(request, request.app[GATEWAY].server.max_body))
    return await answers.answer(request, asked, write, Frames)


FORMS: Mapping[str, Form] = {"/v1/completions": Form(read, write)}
"""By path."""

ROUTES = [web.post(path, completions) for path in FORMS]

_EXAMPLE = {"prompt": "The capital of France is", "max_tokens": 8}


def _answer() -> Any:
    result = TextResult(" Paris.", usage=Usage(5, 3, 1))
    return write(read(_EXAMPLE), "smollm2-135m-instruct", "0" * 32, [result])


API = (
    Operation(
        method="POST",
        paths=tuple(FORMS),
        summary="Continues a prompt, in OpenAI's shape. Several prompts are several choices.",
        fields=FIELDS,
        groups=(GENERATION, SAMPLING),
        example=_EXAMPLE,
        answer=_answer,
        streams="text/event-stream",
        errors=(*OF_EVERY_JOB, ContextExceeded),
    ),
)
