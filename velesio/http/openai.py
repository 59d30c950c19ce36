"""OpenAI's API: chat completions and text completions."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from velesio import __version__
from velesio.errors import VelesioError
from velesio.http import gaps, sse
from velesio.http.conversation import messages_of, template_kwargs_of
from velesio.http.dispatch import find_model, jobs_of
from velesio.http.families import OPENAI
from velesio.http.gateway import GATEWAY
from velesio.http.generation import Generation, completions_of, generation_of
from velesio.http.idempotency import answers_to
from velesio.http.usage import finish_reason, timings_of, usage_of
from velesio.http.wire import answer_id, bad_field, convert, encode, json_response, read_object
from velesio.jobs import Chat, Completed, Completion, Delta, Event, TextResult, born, new_id

FINGERPRINT = f"velesio-{__version__}"


class _StreamOptions(msgspec.Struct):
    include_usage: bool = False


class _Body(msgspec.Struct):
    stream_options: _StreamOptions | None = None
    logprobs: bool | int = False
    top_logprobs: int = 0
    add_generation_prompt: bool = True


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request, read."""

    generation: Generation
    params: list[Chat] | list[Completion]
    include_usage: bool


def read_chat(raw: Mapping[str, Any]) -> Asked:
    """A chat request from its body.

    Raises:
        BadRequest: naming the field.
        Unsupported: it asks for something that is not there yet.
    """
    if raw.get("top_logprobs") and not raw.get("logprobs"):
        raise bad_field("top_logprobs", "needs logprobs to be true")
    gaps.refuse(raw, gaps.CHAT)
    generation = generation_of(raw)
    body = convert(raw, _Body)
    common = Chat(
        messages=messages_of(raw),
        max_tokens=generation.max_tokens,
        stop=generation.stop,
        cache_prompt=generation.cache_prompt,
        id_slot=generation.id_slot,
        template_kwargs=template_kwargs_of(raw),
        add_generation_prompt=body.add_generation_prompt,
    )
    return Asked(
        generation=generation,
        params=[msgspec.structs.replace(common, sampling=sampling) for sampling in generation.samplings],
        include_usage=body.stream_options is not None and body.stream_options.include_usage,
    )


def read_completion(raw: Mapping[str, Any]) -> Asked:
    """A text completion request from its body.

    Raises:
        BadRequest: naming the field.
        Unsupported: it asks for something that is not there yet.
    """
    gaps.refuse(raw, gaps.COMPLETION)
    generation = generation_of(raw)
    convert(raw, _Body)
    return Asked(generation=generation, params=completions_of(raw, generation), include_usage=True)


class _Writer:
    """What the chunks and answers of one request have in common."""

    prefix: str
    object: str

    def __init__(self, asked: Asked, model: str, job_id: str = "") -> None:
        """`job_id` is that of the (first) job that answers; the answer is called after it."""
        job_id = job_id or new_id()
        self.asked = asked
        self.model = model
        self.id = answer_id(self.prefix, job_id)
        self.created = int(born(job_id))

    def whole(self, results: Sequence[TextResult]) -> dict[str, Any]:
        """The answer without streaming."""
        return {
            "choices": [self.choice(index, result) for index, result in enumerate(results)],
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
            "object": self.object,
            "usage": usage_of(results, self.asked.generation.choices),
            "id": self.id,
            "timings": timings_of(results[-1].usage, results[-1].timings),
        }

    def choice(self, index: int, result: TextResult) -> dict[str, Any]:
        """One of the answers."""
        raise NotImplementedError


_W = TypeVar("_W", bound=_Writer)


class ChatWriter(_Writer):
    """Writes chat completions."""

    prefix = "chatcmpl"
    object = "chat.completion"

    def choice(self, index: int, result: TextResult) -> dict[str, Any]:
        """A message."""
        message = {"role": "assistant", "content": result.text}
        return {"finish_reason": finish_reason(result), "index": index, "message": message}


class CompletionWriter(_Writer):
    """Writes text completions."""

    prefix = "cmpl"
    object = "text_completion"

    def choice(self, index: int, result: TextResult) -> dict[str, Any]:
        """A text."""
        return {"text": result.text, "index": index, "logprobs": None, "finish_reason": finish_reason(result)}


class _Frames:
    """What the streams of both routes have in common: comments as pings, an error object, `[DONE]`."""

    one_by_one = False

    def ping(self) -> bytes:
        """A comment."""
        return sse.COMMENT

    def failure(self, error: VelesioError) -> list[bytes]:
        """The error as a chunk, at which the SDKs raise."""
        return [sse.event(encode(OPENAI.body(error))), sse.DONE]


class ChatFrames(_Frames):
    """The stream of a chat: the role, the texts, the reason of the end, counts if asked for."""

    def __init__(self, writer: ChatWriter) -> None:
        self._asked = writer.asked
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
            for index in range(len(writer.asked.params))
        ]
        self._greeted: set[int] = set()
        self._results: dict[int, TextResult] = {}

    def frames(self, index: int, event: Event) -> list[bytes]:
        """The chunks for an event; each choice begins with its role."""
        frames = [] if index in self._greeted else [self._greeting(index)]
        if type(event) is Delta:
            if event.text:
                frames.append(self._heads[index] + encode(event.text) + self._tail)
        elif isinstance(event, Completed) and isinstance(event.result, TextResult):
            self._results[index] = event.result
            frames.append(self._last(index, event.result))
        return frames

    def _greeting(self, index: int) -> bytes:
        self._greeted.add(index)
        return self._chunk([{"finish_reason": None, "index": index, "delta": {"role": "assistant", "content": None}}])

    def _last(self, index: int, result: TextResult) -> bytes:
        choices = [{"finish_reason": finish_reason(result), "index": index, "delta": {}}]
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


class CompletionFrames(_Frames):
    """The stream of a text completion; counts come with the end of each choice."""

    def __init__(self, writer: CompletionWriter) -> None:
        self._writer = writer
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
            for index in range(len(writer.asked.params))
        ]

    def frames(self, index: int, event: Event) -> list[bytes]:
        """The chunk for an event."""
        if type(event) is Delta:
            return [b'data: {"choices":[{"text":' + encode(event.text) + self._tails[index]] if event.text else []
        if isinstance(event, Completed) and isinstance(event.result, TextResult):
            return [self._last(index, event.result)]
        return []

    def _last(self, index: int, result: TextResult) -> bytes:
        choice = self._writer.choice(index, result) | {"text": ""}
        end = {
            "usage": usage_of([result]),
            "id": self._writer.id,
            "timings": timings_of(result.usage, result.timings),
        }
        return sse.event(encode({"choices": [choice]} | self._envelope | end))

    def end(self) -> list[bytes]:
        """Nothing but the mark."""
        return [sse.DONE]


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/chat/completions`."""
    asked = read_chat(await read_object(request, request.app[GATEWAY].server.max_body))
    return await _answer(request, asked, ChatWriter, ChatFrames)


async def completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/completions`."""
    asked = read_completion(await read_object(request, request.app[GATEWAY].server.max_body))
    return await _answer(request, asked, CompletionWriter, CompletionFrames)


async def _answer(
    request: web.Request, asked: Asked, write: type[_W], frame: Callable[[_W], sse.Framing[Event]]
) -> web.StreamResponse:
    generation = asked.generation
    card = await find_model(request, generation.model, "text")
    jobs = jobs_of(request, card.name, asked.params, stream=generation.stream)
    async with answers_to(request, jobs) as answers:
        writer = write(asked, card.name, answers.ids[0])
        if generation.stream:
            await answers.begin()
            return await sse.respond(request, answers, frame(writer), generation.ping_interval)
        results = await answers.texts()
    return json_response(writer.whole(results))


ROUTES = [
    web.post("/v1/chat/completions", chat_completions),
    web.post("/chat/completions", chat_completions),
    web.post("/v1/completions", completions),
]
