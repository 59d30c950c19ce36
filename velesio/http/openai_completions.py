"""OpenAI's text completions: `/v1/completions`."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.http import gaps, openai, sse
from velesio.http.form import Form
from velesio.http.gateway import GATEWAY
from velesio.http.generation import Generation, completions_of, generation_of
from velesio.http.llamacpp import progress_of
from velesio.http.openai import FINGERPRINT
from velesio.http.usage import StreamOptions, finish_reason, timings_of, usage_of
from velesio.http.wire import convert, encode, read_object
from velesio.jobs import Completed, Completion, Delta, Event, Progress, TextResult


class Body(msgspec.Struct):
    """The fields that only this route has."""

    stream_options: StreamOptions | None = None
    """Accepted: counts come in any case."""


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
    gaps.refuse(raw, gaps.COMPLETION)
    convert(raw, Body)
    generation = generation_of(raw)
    return Asked(generation=generation, params=completions_of(raw, generation))


class Writer(openai.Writer):
    """Writes text completions."""

    prefix = "cmpl"
    object = "text_completion"

    def choice(self, index: int, result: TextResult) -> dict[str, Any]:
        """A text."""
        return {"text": result.text, "index": index, "logprobs": None, "finish_reason": finish_reason(result)}


class Frames(openai.Frames):
    """The stream; counts come with the end of each choice."""

    def __init__(self, asked: Asked, model: str, job_id: str = "") -> None:
        self._writer = writer = Writer(asked, model, job_id)
        self._with_progress = asked.generation.text.return_progress
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

    def frames(self, index: int, event: Event) -> list[bytes]:
        """The chunk for an event."""
        if type(event) is Delta:
            if not event.text:
                return []
            return [b'data: {"choices":[{"text":' + encode(event.text) + self._tails[index]]
        if isinstance(event, Completed) and isinstance(event.result, TextResult):
            return [self._last(index, event.result)]
        if isinstance(event, Progress) and self._with_progress:
            return [self._chunk(index, {"prompt_progress": progress_of(event)})]
        return []

    def _chunk(self, index: int, extra: Mapping[str, Any]) -> bytes:
        choice = {"text": "", "index": index, "logprobs": None, "finish_reason": None}
        return sse.event(encode({"choices": [choice], **self._envelope, "id": self._writer.id, **extra}))

    def _last(self, index: int, result: TextResult) -> bytes:
        choice = self._writer.choice(index, result) | {"text": "", "logprobs": None}
        end = {
            "usage": usage_of([result]),
            "id": self._writer.id,
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
    return await openai.answer(request, asked, write, Frames)


FORMS: Mapping[str, Form] = {"/v1/completions": Form(read, write)}
"""By path."""

ROUTES = [web.post(path, completions) for path in FORMS]
