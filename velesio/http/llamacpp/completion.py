"""llama.cpp server's own API: `/completion`."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import ContextExceeded, VelesioError
from velesio.http import sse
from velesio.http.dispatch import jobs_of, scaled
from velesio.http.families import NATIVE
from velesio.http.fields import Fields, of, passed, refuse, refused
from velesio.http.finding import find_model
from velesio.http.form import Form
from velesio.http.gateway import GATEWAY
from velesio.http.idempotency import answers_to
from velesio.http.llamacpp import unity_stream
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.http.text.generation import GENERATION, SAMPLING, Generation, completions_of, generation_of
from velesio.http.text.grammar import grammar_of
from velesio.http.text.logprobs import native_probs, probs_of
from velesio.http.text.native import native
from velesio.http.text.prompts import PROMPT
from velesio.http.text.usage import (
    Stopwatch,
    StreamOptions,
    finish_reason,
    progress_of,
    progress_timings,
    usage_of,
)
from velesio.http.wire import answer_id, convert, encode, json_response, read_object
from velesio.jobs import (
    Completed,
    Completion,
    Delta,
    Event,
    Infill,
    Progress,
    Started,
    TextResult,
    Usage,
    born,
    new_id,
)


class Body(msgspec.Struct):
    """The fields that only llama.cpp's own routes have."""

    return_tokens: bool = False
    response_fields: list[str] = []
    stream_options: StreamOptions | None = None


_OF_CHATS = "is what chats set for themselves; see `/v1/chat/completions`"

OWN: Fields = of(
    Body,
    return_tokens="tell the answer's token ids; a stream tells them always",
    response_fields="only these keys of the answer; `a/b` comes out as `b`",
    stream_options="`include_usage`: the end counts tokens in OpenAI's words as well",
) | {
    "image_data": refused("pictures beside the prompt are (send `{\"prompt_string\", \"multimodal_data\"}`)"),
    **dict.fromkeys(
        (
            "chat_format", "chat_parser", "generation_prompt", "reasoning_format", "reasoning_in_content",
            "parse_tool_calls", "continue_final_message", "echo", "message_delimiters",
        ),
        passed(_OF_CHATS),
    ),
}  # fmt: skip
"""Fields of `/completion` and `/infill` beside those of every generation."""

FIELDS: Fields = {"prompt": PROMPT, **OWN}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request for completions, read."""

    generation: Generation
    params: list[Completion] | list[Infill]
    body: Body
    openai: bool = False
    """Whether `max_tokens` was given: the answer then has OpenAI's fields as well."""

    @property
    def model(self) -> str:
        """The name that the request has for it."""
        return self.generation.model

    @property
    def include_usage(self) -> bool:
        """Whether the end of a stream counts tokens in OpenAI's words."""
        options = self.body.stream_options
        return self.openai or (options is not None and options.include_usage)


def read(raw: Mapping[str, Any]) -> Asked:
    """A request from its body.

    Raises:
        BadRequest: naming the field.
        Unsupported: it asks for something that is not there yet.
    """
    refuse(raw, FIELDS)
    generation = generation_of(raw, grammar_of(raw), probs_of(raw), tells_settings=True)
    return Asked(
        generation=generation,
        params=completions_of(raw, generation),
        body=convert(raw, Body),
        openai="max_tokens" in raw,
    )


class Writer:
    """Writes what one request gets, in llama.cpp's shapes."""

    def __init__(self, asked: Asked, model: str, job_id: str = "") -> None:
        """`job_id` is that of the (first) job that answers; the answer is called after it."""
        job_id = job_id or new_id()
        self.asked = asked
        self.model = model
        self.id = answer_id("cmpl", job_id)
        self.created = int(born(job_id))

    def final(self, index: int, result: TextResult, content: str, tokens: Sequence[int]) -> dict[str, Any]:
        """The answer without streaming, or the last event of a stream."""
        whole = native(self.asked.generation, self.asked.params[index], result, self.model, index) | {
            "content": content,
            "tokens": tokens,
        }
        if self.asked.openai:
            whole |= self.openai_fields(index, content, finish_reason(result))
        if self.asked.include_usage:
            whole["usage"] = usage_of([result])
        return whole

    def whole(self, index: int, result: TextResult) -> dict[str, Any]:
        """The answer to one prompt without streaming."""
        whole = self.final(index, result, result.text, result.tokens if self.asked.body.return_tokens else ())
        if result.probs:
            post = self.asked.generation.text.post_sampling_probs
            whole["completion_probabilities"] = native_probs(result.probs, post=post)
        return select(whole, self.asked.body.response_fields)

    def answer(self, results: Sequence[TextResult]) -> dict[str, Any] | list[dict[str, Any]]:
        """The answer to the request without streaming."""
        wholes = [self.whole(index, result) for index, result in enumerate(results)]
        return wholes[0] if len(wholes) == 1 else wholes

    def openai_fields(self, index: int, text: str, reason: str | None) -> dict[str, Any]:
        """What OpenAI's text completions have beside the native fields."""
        return {
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "choices": [{"text": text, "index": index, "logprobs": None, "finish_reason": reason}],
        }


class Frames:
    """The stream of `/completion`: an event for each write, which LLMUnity's reader needs, and nothing but events."""

    one_by_one = True

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._jobs = [_Job(index, writer) for index in range(len(writer.asked.params))]
        self._last = self._jobs[0]

    def frames(self, index: int, event: Event) -> list[bytes]:
        """A partial event for each delta, the whole object with empty content at the end."""
        job = self._jobs[index]
        if type(event) is Delta:
            self._last = job
            return [self._event(job, event)]
        if isinstance(event, Started):
            job.start(event.prompt_tokens)
        elif isinstance(event, Progress):
            return self._progress(job, event)
        elif isinstance(event, Completed) and isinstance(event.result, TextResult):
            last = self._writer.final(index, event.result, "", ())
            return [sse.event(encode(select(last, self._writer.asked.body.response_fields)))]
        return []

    def _event(self, job: "_Job", delta: Delta) -> bytes:
        whole = job.partial(delta) + self._probs(delta) + self._extra(job.index, delta.text)
        return sse.event(self._selected(whole))

    def _probs(self, delta: Delta) -> bytes:
        if not delta.probs:
            return b""
        post = self._writer.asked.generation.text.post_sampling_probs
        return b',"completion_probabilities":' + encode(native_probs(delta.probs, post=post))

    def _selected(self, whole: bytes) -> bytes:
        paths = self._writer.asked.body.response_fields
        return encode(select(msgspec.json.decode(whole), paths)) if paths else whole

    def _progress(self, job: "_Job", event: Progress) -> list[bytes]:
        if not self._writer.asked.generation.text.return_progress:
            return []
        whole = job.partial(Delta("", (0,)), event) + b',"prompt_progress":%b}' % encode(progress_of(event))
        return [sse.event(self._selected(whole))]

    def ping(self) -> bytes:
        """An event with empty content: comments break LLMUnity's reader."""
        job = self._last
        return self._event(job, Delta("", predicted=job.predicted))

    def failure(self, error: VelesioError) -> list[bytes]:
        """The error as an event."""
        return [sse.event(encode(NATIVE.body(error)))]

    def end(self) -> list[bytes]:
        """Nothing; `[DONE]` is OpenAI's."""
        return []

    def _extra(self, index: int, text: str) -> bytes:
        if not self._writer.asked.openai:
            return b"}"
        return b"," + encode(self._writer.openai_fields(index, text, None))[1:]


class _Job:
    """The constant parts of one job's partial events, without the closing brace."""

    def __init__(self, index: int, writer: Writer) -> None:
        self.index = index
        self.predicted = 0
        self._watch = Stopwatch() if writer.asked.generation.timings_per_token else None
        self._head = b'{"index":%d,"content":' % index
        self._tail = b""
        self.start(0)

    def start(self, prompt_tokens: int) -> None:
        self._tail = b',"tokens_evaluated":%d' % prompt_tokens
        if self._watch is not None:
            self._watch.start(prompt_tokens)

    def partial(self, delta: Delta, progress: Progress | None = None) -> bytes:
        self.predicted = delta.predicted
        return b'%b%b,"tokens":%b,"stop":false,"id_slot":-1,"tokens_predicted":%d%b%b' % (
            self._head,
            encode(delta.text),
            encode(delta.tokens),
            delta.predicted,
            self._tail,
            self._timings(progress),
        )

    def _timings(self, progress: Progress | None) -> bytes:
        if self._watch is None:
            return b""
        timings = self._watch.timings(self.predicted) if progress is None else progress_timings(progress)
        return b',"timings":' + encode(timings)


def select(whole: dict[str, Any], paths: Sequence[str]) -> dict[str, Any]:
    """The parts of an answer that `response_fields` names; `a/b` comes out as `b`, what is not there is left out."""
    if not paths:
        return whole
    found: dict[str, Any] = {}
    for path in paths:
        value: Any = whole
        *parents, last = path.split("/")
        for name in parents:
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, dict) and last in value:
            found[last] = value[last]
    return found


async def completion(request: web.Request) -> web.StreamResponse:
    """`POST /completion`: native completion, streamed or not."""
    return await answer(request, read(await read_object(request, request.app[GATEWAY].server.max_body)))


async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
    """The answer in llama.cpp's shapes."""
    generation = asked.generation
    card = await find_model(request, generation.model, "text")
    # With the scales of adapters that are in force, so that the settings tell them.
    asked = msgspec.structs.replace(asked, params=[scaled(request, each) for each in asked.params])
    jobs = jobs_of(request, card.name, asked.params, stream=generation.stream)
    async with answers_to(request, jobs) as answers:
        writer = Writer(asked, card.name, answers.ids[0])
        if generation.stream:
            await answers.begin()
            framing = unity_stream.framing_for(request, Frames(writer))
            told = unity_stream.answers_for(request, answers)
            pause = unity_stream.pause_for(request)
            return await sse.respond(request, told, framing, generation.ping_interval, pause=pause)
        results = await answers.texts()
    return json_response(writer.answer(results))


def write(asked: Asked, model: str, job_id: str, results: Sequence[TextResult]) -> Any:
    """The answer without streaming."""
    return Writer(asked, model, job_id).answer(results)


FORMS: Mapping[str, Form] = dict.fromkeys(("/completion", "/completions"), Form(read, write))
"""By path."""

ROUTES = [web.post(path, completion) for path in FORMS]

_EXAMPLE = {"prompt": "The capital of France is", "n_predict": 8, "temperature": 0}


def _answer() -> Any:
    result = TextResult(" Paris.", (7042, 30, 2), usage=Usage(5, 3, 1), slot=0)
    return write(read(_EXAMPLE), "smollm2-135m-instruct", "0" * 32, [result])


API = (
    Operation(
        method="POST",
        paths=tuple(FORMS),
        summary="Continues a prompt, in llama.cpp's own shape.",
        notes="With `max_tokens` the answer has the fields of OpenAI's text completions as well. Several prompts or "
        "answers are a list; in a stream `index` tells them apart, and each has an end of its own. "
        "`generation_settings` are what was in force: `grammar` is the one made for a JSON schema, `logit_bias` has "
        "the tokens of texts and those that `ignore_eos` forbids.",
        fields=FIELDS,
        groups=(GENERATION, SAMPLING),
        example=_EXAMPLE,
        answer=_answer,
        answers=dict[str, Any] | list[dict[str, Any]],
        streams="text/event-stream",
        errors=(*OF_EVERY_JOB, ContextExceeded),
    ),
)
