"""Requests of OpenAI's responses API: fields, and the chat that they mean."""

from collections.abc import Mapping
from typing import Any

import msgspec

from velesio.errors import Unsupported
from velesio.http.fields import Fields, given, of, passed, refuse, refused, unless
from velesio.http.openai.responses_items import conversation_of
from velesio.http.text.generation import Generation, generation_of
from velesio.http.text.grammar import grammar_of, schema_of
from velesio.http.text.hearing import Hearing
from velesio.http.text.logprobs import MAX_PROBS, Probs
from velesio.http.text.reasoning import FIELDS as REASONING_FIELDS
from velesio.http.text.reasoning import reasoning_of
from velesio.http.text.tools import Tools, described, tools_of
from velesio.http.wire import bad_field, convert, within
from velesio.jobs import Chat, Grammar

_OF_CHATS = ("n_probs", "logprobs", "post_sampling_probs", "return_progress", "timings_per_token", "verbose")
"""Fields for which this API has other words, or none."""
_LOGPROBS = "message.output_text.logprobs"


class _Effort(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None


class _Text(msgspec.Struct):
    format: dict[str, Any] = {}
    verbosity: str | None = None


class Body(msgspec.Struct):
    """The fields that only this API has, beside the input."""

    instructions: str = ""
    max_output_tokens: int = -1
    top_logprobs: int = 0
    include: list[str] = []
    text: _Text = msgspec.field(default_factory=_Text)
    reasoning: _Effort = msgspec.field(default_factory=_Effort)
    metadata: dict[str, Any] = {}


FIELDS: Fields = {
    "input": given(
        str | list[dict[str, Any]],
        "a text, or items: messages, `function_call`, `function_call_output`, `reasoning`; contents are texts or lists "
        "of `input_text`, `output_text`, and where the model sees or hears `input_image`, `input_audio`",
        required=True,
    ),
    **of(
        Body,
        instructions="what the system says first",
        max_output_tokens="most tokens of the answer, reasoning included; -1: until it ends or the context is full",
        top_logprobs=f"likeliest tokens that are told with each, if log probabilities are; 0 to {MAX_PROBS}",
        include=f"`{_LOGPROBS}`; others are for what OpenAI's servers do, and change nothing",
        text='`format`: `{"type": "text"}`, `{"type": "json_object"}` or `{"type": "json_schema", "schema": …}`',
        reasoning="`effort`: a variable of the model's template, `none`: no reasoning; summaries are not made",
        metadata="comes back with the answer",
    ),
    "tools": given(
        list[dict[str, Any]], '`{"type": "function", "name", "description", "parameters", "strict"}`', default=[]
    ),
    "tool_choice": given(
        str | dict[str, Any], "`auto`, `none`, `required`, one function, or `allowed_tools`", default="auto"
    ),
    "parallel_tool_calls": given(bool, "whether the answer may call several; as the model's template likes"),
    **REASONING_FIELDS,
    "previous_response_id": refused("responses are not kept; continuing one is", instead="send its items", final=True),
    "conversation": refused("conversations are not kept; continuing one is", instead="send its items", final=True),
    "background": refused("background responses are", instead="use POST /v1/jobs"),
    "prompt": refused("stored prompts are", instead="send input"),
    "n": refused("several answers to one request are", unless(1), final=True),
    "n_cmpl": refused("several answers to one request are", unless(1), final=True),
    **dict.fromkeys(_OF_CHATS, passed("of chats and completions only")),
    "truncation": passed("an input that is too long is refused"),
    "stream_options": passed("nothing is ever obfuscated; the counts come in any case"),
    "max_tool_calls": passed("tools are called by the client"),
    **dict.fromkeys(
        ("user", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
        passed("accepted for OpenAI's clients; nothing here depends on it"),
    ),
}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A request, read."""

    generation: Generation
    params: list[Chat]
    hearing: Hearing
    body: Body
    told: Mapping[str, Any]
    """Fields of the request that the answer repeats."""

    @property
    def model(self) -> str:
        """The name that the request has for it."""
        return self.generation.model


def read(raw: Mapping[str, Any]) -> Asked:
    """A request from its body.

    Raises:
        BadRequest: naming the field.
        Unsupported: it asks for something that is not there.
    """
    refuse(raw, FIELDS)
    body = convert(raw, Body)
    limit = within("max_output_tokens", body.max_output_tokens, -1)
    messages, media = conversation_of(raw)
    called = _tools(raw)
    effort = {} if body.reasoning.effort is None else {"reasoning_effort": body.reasoning.effort}
    thought = reasoning_of(effort | dict(raw))
    limits = {} if limit < 0 else {"n_predict": limit}
    native = {name: value for name, value in raw.items() if name not in _OF_CHATS}
    generation = generation_of(native | limits, _grammar(raw, body), _probs(body))
    return Asked(
        generation=generation,
        params=generation.each(
            Chat,
            messages=messages,
            media=media,
            template_kwargs=thought.kwargs,
            tools=called.tools,
            tool_choice=called.choice,
            parallel_tool_calls=called.parallel,
            reasoning_budget=thought.budget,
        ),
        hearing=Hearing(called.callable, thought.format),
        body=body,
        told={name: raw[name] for name in ("tools", "tool_choice") if name in raw},
    )


def _tools(raw: Mapping[str, Any]) -> Tools:
    """Tools without the envelope that chats have around each."""
    listed = raw.get("tools", [])
    if not isinstance(listed, list):
        raise bad_field("tools", 'expected a list of tools like {"type": "function", "name": "…", "parameters": {…}}')
    chosen = {name: raw[name] for name in ("tool_choice", "parallel_tool_calls") if name in raw}
    return tools_of(chosen | {"tools": [_tool(tool, f"tools[{index}]") for index, tool in enumerate(listed)]})


def _tool(tool: Any, path: str) -> dict[str, Any]:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind == "function":
        return described(tool, path)
    if isinstance(kind, str):
        raise Unsupported(f"Field '{path}.type': {kind!r} is no tool that this server has; send functions", param=path)
    raise bad_field(path, 'expected {"type": "function", "name": "…", "parameters": {…}}')


def _grammar(raw: Mapping[str, Any], body: Body) -> Grammar | None:
    form = body.text.format
    kind = form.get("type", "text")
    if kind == "json_schema":
        schema = form.get("schema")
        return Grammar(schema=schema_of({} if schema is None else schema, "text.format.schema"))
    if kind == "json_object":
        return Grammar(schema={"type": "object"})
    if kind != "text":
        raise bad_field("text.format.type", f"must be text, json_object or json_schema, but got {kind!r}")
    return grammar_of(raw)


def _probs(body: Body) -> Probs:
    count = within("top_logprobs", body.top_logprobs, 0, MAX_PROBS)
    return Probs(max(1, count)) if _LOGPROBS in body.include or count else Probs()
