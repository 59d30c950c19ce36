"""OpenAI's chats: `/v1/chat/completions`."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.http import gaps, openai, sse
from velesio.http.conversation import messages_of, template_kwargs_of
from velesio.http.form import Form
from velesio.http.gateway import GATEWAY
from velesio.http.generation import Generation, generation_of
from velesio.http.llamacpp import progress_of
from velesio.http.openai import FINGERPRINT
from velesio.http.usage import StreamOptions, finish_reason, timings_of, usage_of
from velesio.http.wire import bad_field, convert, encode, read_object
from velesio.jobs import Chat, Completed, Delta, Event, Progress, TextResult


class Body(msgspec.Struct):
    """The fields that only chats have, beside the conversation."""

    stream_options: StreamOptions | None = None
    add_generation_prompt: bool = True


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request, read."""

    generation: Generation
    params: list[Chat]
    include_usage: bool = False

    @property
    def model(self) -> str:
        """The name that the request has for it."""
        return self.generation.model

    @property
    def chat(self) -> Chat:
        """The conversation with its first choice."""
        return self.params[0]


def read(raw: Mapping[str, Any]) -> Asked:
    """A chat request from its body.

    Raises:
        BadRequest: naming the field.
        Unsupported: it asks for something that is not there.
    """
    if raw.get("top_logprobs") and not raw.get("logprobs"):
        raise bad_field("top_logprobs", "needs logprobs to be true")
    gaps.refuse(raw, gaps.CHAT)
    generation = generation_of(raw)
    body = convert(raw, Body)
    return Asked(
        generation=generation,
        params=generation.each(
            Chat,
            messages=messages_of(raw),
            template_kwargs=template_kwargs_of(raw),
            add_generation_prompt=body.add_generation_prompt,
        ),
        include_usage=body.stream_options is not None and body.stream_options.include_usage,
    )


conversation_of = read
"""A body whose conversation matters only."""


class Writer(openai.Writer):
    """Writes chat completions."""

    prefix = "chatcmpl"
    object = "chat.completion"

    def choice(self, index: int, result: TextResult) -> dict[str, Any]:
        """A message."""
        message = {"role": "assistant", "content": result.text}
        return {"finish_reason": finish_reason(result), "index": index, "message": message}


class Frames(openai.Frames):
    """The stream: the role, the texts, the reason of the end, counts if asked for."""

    def __init__(self, asked: Asked, model: str, job_id: str = "") -> None:
        writer = Writer(asked, model, job_id)
        self._asked = asked
        self._envelope = {
            "created": writer.created,
            "id": writer.id,
            "model": writer.model,
            "system_fingerprint": FINGERPRINT,
            "object": "chat.completion.chunk",
        }
        self._tail = b"}}]," + encode(self._envelope)[1:] + b"\n\n"
        self._heads = [
            b'data: {"choices":[{"finish_reason":null,"index":%d,"delta":{"content":' % index
            for index in range(len(asked.params))
        ]
        self._greeted: set[int] = set()
        self._results: dict[int, TextResult] = {}

    def frames(self, index: int, event: Event) -> list[bytes]:
        """The chunks for an event; each choice begins with its role."""
        if isinstance(event, Progress):
            return self._progress(index, event)
        frames = [] if index in self._greeted else [self._greeting(index)]
        if type(event) is Delta:
            if event.text:
                frames.append(self._heads[index] + encode(event.text) + self._tail)
        elif isinstance(event, Completed) and isinstance(event.result, TextResult):
            self._results[index] = event.result
            frames.append(self._last(index, event.result))
        return frames

    def _greeting(self, index: int, extra: Mapping[str, Any] | None = None) -> bytes:
        self._greeted.add(index)
        return self._chunk([_choice(index, {"role": "assistant", "content": None})], extra)

    def _progress(self, index: int, event: Progress) -> list[bytes]:
        if not self._asked.generation.text.return_progress:
            return []
        return [self._greeting(index, {"prompt_progress": progress_of(event)})]

    def _last(self, index: int, result: TextResult) -> bytes:
        choices = [_choice(index, {}, finish_reason(result))]
        is_end = len(self._results) == len(self._heads) and not self._asked.include_usage
        return self._chunk(choices, {"timings": timings_of(result.usage, result.timings)} if is_end else {})

    def end(self) -> list[bytes]:
        """Counts, if they were asked for."""
        if not self._asked.include_usage:
            return [sse.DONE]
        results = [result for _, result in sorted(self._results.items())]
        counts = {
            "usage": usage_of(results, self._asked.generation.choices),
            "timings": timings_of(results[-1].usage, results[-1].timings),
        }
        return [self._chunk([], counts), sse.DONE]

    def _chunk(self, choices: list[dict[str, Any]], extra: Mapping[str, Any] | None = None) -> bytes:
        return sse.event(encode({"choices": choices, **self._envelope, **(extra or {})}))


def _choice(index: int, delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"finish_reason": reason, "index": index, "delta": delta}


def write(asked: Asked, model: str, job_id: str, results: Sequence[TextResult]) -> dict[str, Any]:
    """The answer without streaming."""
    return Writer(asked, model, job_id).whole(results)


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/chat/completions`."""
    asked = read(await read_object(request, request.app[GATEWAY].server.max_body))
    return await openai.answer(request, asked, write, Frames)


FORMS: Mapping[str, Form] = dict.fromkeys(("/v1/chat/completions", "/chat/completions"), Form(read, write))
"""By path."""

ROUTES = [web.post(path, chat_completions) for path in FORMS]
