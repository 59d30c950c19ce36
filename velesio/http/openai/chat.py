"""OpenAI's chats: `/v1/chat/completions`."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import ContextExceeded, SessionFull, Unsupported
from velesio.http import talks
from velesio.http.fields import Fields, given, of, passed, refuse, refused, unless
from velesio.http.form import Form
from velesio.http.gateway import GATEWAY
from velesio.http.openai import answers
from velesio.http.openai.chat_stream import Frames
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.http.text import reasoning, tools
from velesio.http.text.conversation import conversation_of
from velesio.http.text.generation import GENERATION, SAMPLING, Generation, generation_of
from velesio.http.text.grammar import RESPONSE_FORMAT, chat_grammar_of
from velesio.http.text.hearing import Hearing
from velesio.http.text.logprobs import CHAT_FIELDS, chat_probs_of, openai_logprobs
from velesio.http.text.native import native
from velesio.http.text.settings import Speech
from velesio.http.text.tools import tools_of
from velesio.http.text.usage import StreamOptions, finish_reason
from velesio.http.wire import bad_field, convert, read_object
from velesio.jobs import Chat, TextResult, Usage


class Body(msgspec.Struct):
    """The fields that only chats have, beside the conversation."""

    stream_options: StreamOptions | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool | None = None


FIELDS: Fields = {
    "messages": given(
        list[dict[str, Any]],
        "roles system, developer, user, assistant, tool; contents are texts or lists of parts: `text`, `image_url` "
        "and `input_audio` as data: addresses or base64 where the model sees or hears; a last message of the "
        "assistant is the begin of the answer",
        required=True,
    ),
    **tools.FIELDS,
    "response_format": RESPONSE_FORMAT,
    **reasoning.FIELDS,
    **CHAT_FIELDS,
    **of(
        Body,
        stream_options="`include_usage`: a stream ends with the counts of tokens",
        add_generation_prompt="whether the template opens the answer",
        continue_final_message="whether a last message of the assistant is the begin of the answer; yes",
    ),
    talks.FIELD: given(str, "a session that goes on: only what is new is sent; see [sessions](../sessions.md)"),
    "functions": refused("functions beside tools are", instead="send tools", final=True),
    "function_call": refused(
        "functions beside tools are", unless("auto", "none"), instead="send tool_choice", final=True
    ),
    "modalities": refused("answers other than text are", unless(["text"])),
    "audio": refused("spoken answers are"),
    "web_search_options": refused("searches of the web are"),
    "echo": refused("answers with the prompt in them are", final=True),
    **dict.fromkeys(
        (
            "user", "store", "metadata", "service_tier", "prediction", "verbosity", "safety_identifier",
            "prompt_cache_key", "prompt_cache_retention", "moderation",
        ),
        passed("accepted for OpenAI's clients; nothing here depends on it"),
    ),
    **dict.fromkeys(
        ("chat_format", "chat_parser", "generation_prompt", "parse_tool_calls", "message_delimiters"),
        passed("the model's template tells it"),
    ),
}  # fmt: skip


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request, read."""

    generation: Generation
    params: list[Chat]
    include_usage: bool = False
    reasoning_format: reasoning.Format = "auto"

    @property
    def model(self) -> str:
        """The name that the request has for it."""
        return self.generation.model

    @property
    def chat(self) -> Chat:
        """The conversation with its first choice."""
        return self.params[0]

    @property
    def callable(self) -> tuple[dict[str, Any], ...]:
        """The tools that an answer may call."""
        return () if self.chat.tool_choice == "none" else self.chat.tools


def read(raw: Mapping[str, Any]) -> Asked:
    """A chat request from its body.

    Raises:
        BadRequest: naming the field.
        Unsupported: it asks for something that is not there.
    """
    refuse(raw, FIELDS)
    generation = generation_of(raw, chat_grammar_of(raw), chat_probs_of(raw))
    body = convert(raw, Body)
    messages, media = conversation_of(raw)
    _check_continued(messages, body)
    thought = reasoning.reasoning_of(raw)
    called = tools_of(raw)
    return Asked(
        generation=generation,
        params=generation.each(
            Chat,
            messages=messages,
            template_kwargs=thought.kwargs,
            add_generation_prompt=body.add_generation_prompt,
            tools=called.tools,
            tool_choice=called.choice,
            parallel_tool_calls=called.parallel,
            reasoning_budget=thought.budget,
            continue_final=body.continue_final_message,
            media=media,
        ),
        include_usage=body.stream_options is not None and body.stream_options.include_usage,
        reasoning_format=thought.format,
    )


def _check_continued(messages: Sequence[Mapping[str, Any]], body: Body) -> None:
    """What is continued is one message of the assistant."""
    last = messages[-1]["role"] == "assistant"
    if body.continue_final_message and not last:
        raise bad_field("continue_final_message", "the last message must be one of the assistant, to be continued")
    if last and body.continue_final_message is not False and [m["role"] for m in messages[-2:]] == ["assistant"] * 2:
        raise bad_field(
            f"messages[{len(messages) - 2}]", "Cannot have 2 or more assistant messages at the end of the list"
        )


class Writer(answers.Writer):
    """Writes chat completions."""

    prefix = "chatcmpl"
    object = "chat.completion"

    def __init__(self, asked: Asked, model: str, job_id: str = "") -> None:
        super().__init__(asked, model, job_id)
        self._asked = asked
        self.hearing = Hearing(asked.callable, asked.reasoning_format, job_id)

    def choice(self, index: int, result: TextResult) -> dict[str, Any]:
        """A message."""
        message = self.hearing.message(result, index)
        reason = finish_reason(result, called="tool_calls" in message)
        choice = {"finish_reason": reason, "index": index, "message": message}
        logprobs = openai_logprobs(result.probs, post=self.generation.text.post_sampling_probs)
        return choice if logprobs is None else choice | {"logprobs": logprobs}

    def verbose(self, result: TextResult, index: int = 0) -> dict[str, Any]:
        """The same in llama.cpp's own shape."""
        dialect = result.dialect
        form = "deepseek" if self._asked.reasoning_format == "auto" else self._asked.reasoning_format
        speech = Speech(dialect.name or "Content-only", form, dialect.prefix)
        return native(self.generation, self._asked.params[index], result, self.model, index, speech=speech)


class ChatFrames(Frames):
    """The stream of a chat."""

    def __init__(self, asked: Asked, model: str, job_id: str = "") -> None:
        writer = Writer(asked, model, job_id)
        super().__init__(writer, choices=len(asked.params), include_usage=asked.include_usage)


def write(asked: Asked, model: str, job_id: str, results: Sequence[TextResult]) -> dict[str, Any]:
    """The answer without streaming."""
    return Writer(asked, model, job_id).whole(results)


async def chat_completions(request: web.Request) -> web.StreamResponse:
    """`POST /v1/chat/completions`."""
    raw = await read_object(request, request.app[GATEWAY].server.max_body)
    asked = read(raw)
    chats = await talks.resumed(request, asked.params, raw.get(talks.FIELD), model=asked.model)
    asked = msgspec.structs.replace(asked, params=chats)
    return await answers.answer(request, asked, write, ChatFrames)


FORMS: Mapping[str, Form] = dict.fromkeys(("/v1/chat/completions", "/chat/completions"), Form(read, write))
"""By path."""

ROUTES = [web.post(path, chat_completions) for path in FORMS]

_EXAMPLE = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "max_tokens": 16}


def _answer() -> Any:
    result = TextResult("The capital of France is Paris.", usage=Usage(37, 8, 30))
    return write(read(_EXAMPLE), "smollm2-135m-instruct", "0" * 32, [result])


API = (
    Operation(
        method="POST",
        paths=tuple(FORMS),
        summary="Answers a conversation.",
        notes="Streams begin with the role, end with the reason, the counts if they were asked for, and `[DONE]`. Tool "
        "calls have their id and name in the first piece only.",
        fields=FIELDS,
        groups=(GENERATION, SAMPLING),
        example=_EXAMPLE,
        answer=_answer,
        streams="text/event-stream",
        errors=(*OF_EVERY_JOB, ContextExceeded, Unsupported, SessionFull),
    ),
)
