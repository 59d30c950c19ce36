"""llama.cpp server's own API: `/completion`."""

import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import VelesioError
from velesio.http import gaps, sse
from velesio.http.dispatch import find_model, jobs_of
from velesio.http.families import NATIVE
from velesio.http.gateway import GATEWAY
from velesio.http.generation import Generation, completions_of, generation_of
from velesio.http.idempotency import answers_to
from velesio.http.usage import finish_reason, timings_of, usage_of
from velesio.http.wire import answer_id, convert, encode, json_response, read_object, within
from velesio.jobs import (
    Completed,
    Completion,
    Delta,
    Event,
    Sampling,
    Started,
    TextResult,
    Timings,
    Usage,
    born,
    new_id,
)


class _Body(msgspec.Struct):
    n_keep: int = 0
    n_discard: int = 0
    return_tokens: bool = False
    timings_per_token: bool = False
    response_fields: list[str] = []


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request for completions, read."""

    generation: Generation
    params: list[Completion]
    body: _Body
    openai: bool
    """Whether `max_tokens` was given: the answer then has OpenAI's fields as well."""


def read(raw: Mapping[str, Any]) -> Asked:
    """A request from its body.

    Raises:
        BadRequest: naming the field.
        Unsupported: it asks for something that is not there yet.
    """
    gaps.refuse(raw, gaps.SAMPLING)
    generation = generation_of(raw)
    body = convert(raw, _Body)
    within("n_keep", body.n_keep, -1)
    within("n_discard", body.n_discard, 0)
    return Asked(
        generation=generation,
        params=completions_of(raw, generation),
        body=body,
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
        self.began = time.monotonic()

    def final(self, index: int, result: TextResult, content: str, tokens: Sequence[int]) -> dict[str, Any]:
        """The answer without streaming, or the last event of a stream."""
        used = result.usage
        prompt = self.asked.params[index].prompt
        whole = {
            "index": index,
            "content": content,
            "tokens": tokens,
            "id_slot": result.slot,
            "stop": True,
            "model": self.model,
            "tokens_predicted": used.completion_tokens,
            "tokens_evaluated": used.prompt_tokens,
            "generation_settings": generation_settings(self.asked, self.asked.params[index]),
            "prompt": prompt if isinstance(prompt, str) else result.prompt,
            "has_new_line": "\n" in result.text,
            "truncated": result.truncated,
            "stop_type": result.stop,
            "stopping_word": result.stopping_word,
            # The last token was sampled but never computed.
            "tokens_cached": used.prompt_tokens + max(0, used.completion_tokens - 1),
            "timings": timings_of(used, result.timings),
        }
        if self.asked.openai:
            whole |= self.openai_fields(index, content, finish_reason(result))
            whole["usage"] = usage_of([result])
        return select(whole, self.asked.body.response_fields)

    def whole(self, index: int, result: TextResult) -> dict[str, Any]:
        """The answer to one prompt without streaming."""
        return self.final(index, result, result.text, result.tokens if self.asked.body.return_tokens else ())

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
            return [sse.event(job.partial(event) + self._extra(index, event.text))]
        if isinstance(event, Started):
            job.start(event.prompt_tokens)
        elif isinstance(event, Completed) and isinstance(event.result, TextResult):
            return [sse.event(encode(self._writer.final(index, event.result, "", ())))]
        return []

    def ping(self) -> bytes:
        """An event with empty content: comments break LLMUnity's reader."""
        job = self._last
        return sse.event(job.partial(Delta("", predicted=job.predicted)) + self._extra(job.index, ""))

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
        self._with_timings = writer.asked.body.timings_per_token
        self._head = b'{"index":%d,"content":' % index
        self._prompt_tokens = 0
        self._tail = b""
        self._began, self._first = writer.began, 0.0
        self.start(0)

    def start(self, prompt_tokens: int) -> None:
        self._prompt_tokens = prompt_tokens
        self._tail = b',"tokens_evaluated":%d' % prompt_tokens

    def partial(self, delta: Delta) -> bytes:
        self.predicted = delta.predicted
        return b'%b%b,"tokens":%b,"stop":false,"id_slot":-1,"tokens_predicted":%d%b%b' % (
            self._head,
            encode(delta.text),
            encode(delta.tokens),
            delta.predicted,
            self._tail,
            self._timings() if self._with_timings else b"",
        )

    def _timings(self) -> bytes:
        """As seen from here, the wait in the queue included; the worker's own times come with the last event."""
        now = time.monotonic()
        if not self._first:
            self._first = now
        times = Timings((self._first - self._began) * 1000, (now - self._first) * 1000)
        return b',"timings":' + encode(timings_of(Usage(self._prompt_tokens, self.predicted), times))


def generation_settings(asked: Asked, params: Completion) -> dict[str, Any]:
    """The settings of one job as llama.cpp's server reports them, fields that Velesio does not have included."""
    sampling = params.sampling
    return {
        **_sampling_settings(sampling),
        "stop": params.stop,
        "max_tokens": params.max_tokens,
        "n_predict": params.max_tokens,
        "n_keep": asked.body.n_keep,
        "n_discard": asked.body.n_discard,
        "ignore_eos": sampling.ignore_eos,
        "stream": asked.generation.stream,
        "logit_bias": [
            {"bias": None if bias is None else _float32(bias), "token": token} for token, bias in sampling.logit_bias
        ],
        "n_probs": 0,
        "min_keep": sampling.min_keep,
        "grammar": "",
        "grammar_lazy": False,
        "grammar_triggers": (),
        "preserved_tokens": (),
        "chat_format": "Content-only",
        "reasoning_format": "deepseek",
        "reasoning_in_content": False,
        "generation_prompt": "",
        "samplers": sampling.samplers,
        "speculative.types": "none",
        "timings_per_token": asked.body.timings_per_token,
        "post_sampling_probs": False,
        "backend_sampling": False,
        "lora": (),
    }


def _sampling_settings(sampling: Sampling) -> dict[str, Any]:
    return {
        "seed": sampling.seed & 0xFFFF_FFFF,
        "temperature": _float32(sampling.temperature),
        "dynatemp_range": _float32(sampling.dynatemp_range),
        "dynatemp_exponent": _float32(sampling.dynatemp_exponent),
        "top_k": sampling.top_k,
        "top_p": _float32(sampling.top_p),
        "min_p": _float32(sampling.min_p),
        "top_n_sigma": _float32(sampling.top_n_sigma),
        "xtc_probability": _float32(sampling.xtc_probability),
        "xtc_threshold": _float32(sampling.xtc_threshold),
        "typical_p": _float32(sampling.typical_p),
        "repeat_last_n": sampling.repeat_last_n,
        "repeat_penalty": _float32(sampling.repeat_penalty),
        "presence_penalty": _float32(sampling.presence_penalty),
        "frequency_penalty": _float32(sampling.frequency_penalty),
        "dry_multiplier": _float32(sampling.dry_multiplier),
        "dry_base": _float32(sampling.dry_base),
        "dry_allowed_length": sampling.dry_allowed_length,
        "dry_penalty_last_n": sampling.dry_penalty_last_n,
        "dry_sequence_breakers": sampling.dry_sequence_breakers,
        "mirostat": sampling.mirostat,
        "mirostat_tau": _float32(sampling.mirostat_tau),
        "mirostat_eta": _float32(sampling.mirostat_eta),
        "adaptive_target": -1.0,
        "adaptive_decay": _float32(0.9),
    }


def _float32(value: float) -> float:
    """`value` as the engine has it: 0.95 shows as 0.949999988079071."""
    single: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return single


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
    asked = read(await read_object(request, request.app[GATEWAY].server.max_body))
    generation = asked.generation
    card = await find_model(request, generation.model, "text")
    jobs = jobs_of(request, card.name, asked.params, stream=generation.stream)
    async with answers_to(request, jobs) as answers:
        writer = Writer(asked, card.name, answers.ids[0])
        if generation.stream:
            await answers.begin()
            return await sse.respond(request, answers, Frames(writer), generation.ping_interval)
        results = await answers.texts()
    return json_response(writer.answer(results))


ROUTES = [web.post("/completion", completion), web.post("/completions", completion)]
