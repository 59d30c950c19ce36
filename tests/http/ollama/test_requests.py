"""Ollama's bodies, field by field."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from tests.http.conftest import ANYTHING, bodies
from velesio.errors import BadRequest
from velesio.http.ollama.messages import openai_messages
from velesio.http.ollama.options import WHOLE_CONTEXT, keep_alive_of
from velesio.http.ollama.requests import (
    Body,
    EmbedBody,
    PromptBody,
    read_chat,
    read_embed,
    read_embeddings,
    read_generate,
)
from velesio.http.wire import encode, parse_object
from velesio.jobs import Chat, Completion, Embed, Grammar, Infill, Params, Sampling, TextParams

HI = [{"role": "user", "content": "Hi"}]
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def generated(**fields: Any) -> Any:
    params = read_generate({"model": "m", "prompt": "Hi", **fields}).params
    assert params is not None
    return params


def chatted(**fields: Any) -> Chat:
    params = read_chat({"model": "m", "messages": HI, **fields}).params
    assert isinstance(params, Chat)
    return params


def test_a_prompt_is_a_chat_with_its_system() -> None:
    """The model's own template renders it."""
    assert generated(system="Be brief.").messages == [{"role": "system", "content": "Be brief."}, *HI]


def test_raw_and_suffix_are_other_jobs() -> None:
    """A raw prompt is continued as it is, one with a suffix is filled in."""
    raw = generated(raw=True)
    assert isinstance(raw, Completion)
    assert raw.prompt == "Hi"
    infill = generated(suffix="return x")
    assert isinstance(infill, Infill)
    assert (infill.prefix, infill.suffix) == ("Hi", "return x")


def test_pictures_stand_before_the_text() -> None:
    """As files beside the conversation; in a raw prompt their place may be marked."""
    picture = {"type": "media", "media": 0}
    said = [{"role": "user", "content": [picture, {"type": "text", "text": "Hi"}]}]
    for chat in (generated(images=["aGk="]), chatted(messages=[{**HI[0], "images": ["aGk="]}])):
        assert (chat.messages, chat.media) == (said, (b"hi",))
    raw = generated(images=["aGk="], raw=True)
    assert (raw.prompt, raw.media) == ("<__media__>Hi", (b"hi",))
    marked = generated(prompt="See <__media__>!", images=["aGk="], raw=True)
    assert (marked.prompt, marked.media) == ("See <__media__>!", (b"hi",))
    assert generated(prompt="", images=["aGk="]).media == (b"hi",)


def test_defaults_are_ollamas() -> None:
    """Streamed, to the model's end, with its own top-p and min-p."""
    asked = read_generate({"model": "m", "prompt": "Hi"})
    assert (asked.stream, asked.keep_alive, asked.truncate, asked.thinks, asked.remembers) == (
        True,
        None,
        True,
        None,
        True,
    )
    assert asked.params is not None
    assert asked.params.sampling == Sampling(top_p=0.9, min_p=0.0)
    assert (asked.params.max_tokens, asked.params.n_keep, asked.params.shift) == (-1, 4, None)


@pytest.mark.parametrize("fields", [{}, {"prompt": ""}, {"prompt": "", "raw": True}, {"messages": []}])
def test_nothing_to_say_is_loading(fields: dict[str, Any]) -> None:
    """Neither prompt nor messages."""
    read = read_chat if "messages" in fields else read_generate
    assert read({"model": "m", **fields}).params is None


@pytest.mark.parametrize(
    ("option", "value", "sampling"),
    [
        ("temperature", 0, {"temperature": 0.0}),
        ("top_k", 3.0, {"top_k": 3}),
        ("top_p", 0.5, {"top_p": 0.5}),
        ("min_p", 0.1, {"min_p": 0.1}),
        ("typical_p", 0.5, {"typical_p": 0.5}),
        ("seed", 7, {"seed": 7}),
        ("repeat_penalty", 1.3, {"repeat_penalty": 1.3}),
        ("repeat_last_n", -1, {"repeat_last_n": WHOLE_CONTEXT}),
        ("presence_penalty", 1, {"presence_penalty": 1.0}),
        ("frequency_penalty", 1, {"frequency_penalty": 1.0}),
        ("mirostat", 2, {"mirostat": 2}),
        ("mirostat_tau", 3, {"mirostat_tau": 3.0}),
        ("tfs_z", 0.5, {}),
        ("penalize_newline", True, {}),
        ("num_ctx", 8192, {}),
        ("nonsense", "x", {}),
        ("top_k", None, {}),
    ],
)
def test_options_of_the_sampling(option: str, value: Any, sampling: dict[str, Any]) -> None:
    """What is known is honoured, what is not changes nothing."""
    expected = msgspec.structs.replace(Sampling(top_p=0.9, min_p=0.0), **sampling)
    assert generated(options={option: value}).sampling == expected


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"options": {"num_predict": 5}}, "max_tokens", 5),
        ({"options": {"num_predict": -2}}, "max_tokens", -1),
        ({"options": {"num_predict": 0}}, "max_tokens", 0),
        ({"options": {"num_keep": 9}}, "n_keep", 9),
        ({"options": {"stop": ["a", ""]}}, "stop", ("a",)),
        ({"options": {"stop": "a"}}, "stop", ("a",)),
        ({"shift": False}, "shift", False),
        ({"format": "json"}, "grammar", Grammar(schema={"type": "object"})),
        ({"format": {"type": "integer"}}, "grammar", Grammar(schema={"type": "integer"})),
        ({"format": ""}, "grammar", None),
        ({"logprobs": True}, "n_probs", 1),
        ({"logprobs": True, "top_logprobs": 5}, "n_probs", 5),
        ({"top_logprobs": 5}, "n_probs", 0),
        ({"keep_alive": "1m"}, "keep_alive", 60.0),
    ],
)
def test_fields_of_every_job(fields: dict[str, Any], name: str, value: Any) -> None:
    """For prompts and for chats alike."""
    assert getattr(generated(**fields), name) == value
    assert getattr(chatted(**fields), name) == value


@pytest.mark.parametrize(
    ("think", "kwargs", "budget"),
    [
        (True, {"enable_thinking": True}, -1),
        (False, {"enable_thinking": False}, 0),
        ("low", {"enable_thinking": True, "reasoning_effort": "low"}, -1),
        (None, {}, -1),
    ],
)
def test_thinking(think: Any, kwargs: dict[str, Any], budget: int) -> None:
    """The template is told; no thinking has no budget either."""
    chat = chatted() if think is None else chatted(think=think)
    assert (chat.template_kwargs, chat.reasoning_budget) == (kwargs, budget)


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        (None, None),
        (0, 0.0),
        (30, 30.0),
        (1.5, 1.5),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        ("250ms", 0.25),
        ("1.5s", 1.5),
        ("0", 0.0),
        ("-1", -1.0),
        (-1, -1.0),
        ("-1m", -1.0),
    ],
)
def test_durations(given: Any, seconds: float | None) -> None:
    """Numbers are seconds; anything negative is for ever."""
    assert keep_alive_of(given) == seconds


def test_calls_and_their_results_are_openais() -> None:
    """Calls without ids get some, and results find them: by name, else in order."""
    messages = [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "thinking": "hm",
            "tool_calls": [
                {"function": {"name": "weather", "arguments": {"city": "Köln"}}},
                {"function": {"name": "time", "arguments": {}}},
                {"id": "given", "function": {"name": "weather", "arguments": {}}},
            ],
        },
        {"role": "tool", "tool_name": "time", "content": "noon"},
        {"role": "tool", "content": "rain"},
        {"role": "tool", "tool_call_id": "given", "content": "sun"},
    ]
    read = openai_messages(messages)
    assert read[1]["reasoning_content"] == "hm"
    assert [(call["id"], call["function"]["name"]) for call in read[1]["tool_calls"]] == [
        ("call_1", "weather"),
        ("call_2", "time"),
        ("given", "weather"),
    ]
    assert read[1]["tool_calls"][0]["function"]["arguments"] == '{"city": "Köln"}'
    assert [message["tool_call_id"] for message in read[2:]] == ["call_2", "call_1", "given"]


def test_tools_go_to_the_job() -> None:
    """As OpenAI writes them."""
    assert chatted(tools=[WEATHER]).tools == (WEATHER,)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"options": []}, "options"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"num_predict": "many"}}, "options.num_predict"),
        ({"options": {"num_predict": -3}}, "options.num_predict"),
        ({"options": {"stop": [1]}}, "options.stop"),
        ({"options": {"stop": 1}}, "options.stop"),
        ({"format": "xml"}, "format"),
        ({"format": 5}, "format"),
        ({"keep_alive": "soon"}, "keep_alive"),
        ({"keep_alive": [1]}, "keep_alive"),
        ({"think": "very"}, "think"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"stream": "yes"}, "stream"),
        ({"images": ["not base64!"]}, "images[0]"),
        ({"images": [""]}, "images[0]"),
        ({"images": ["not base64!"], "raw": True}, "images[0]"),
        ({"images": ["aGk="], "suffix": "x"}, "images"),
        ({"images": "aGk="}, "images"),
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"raw": True, "system": "x"}, "raw"),
        ({"raw": True, "context": [1]}, "raw"),
        ({"context": [-1]}, "context[0]"),
    ],
)
def test_what_generate_refuses(fields: dict[str, Any], param: str) -> None:
    """Each refusal names the field."""
    with pytest.raises(BadRequest) as caught:
        read_generate({"model": "m", "prompt": "Hi", **fields})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": "Hi"}, "messages"),
        ({"messages": ["Hi"]}, "messages[0]"),
        ({"messages": [{"content": "Hi"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": "x", "images": "aGk="}]}, "messages[0].images"),
        ({"messages": [{"role": "user", "content": "x", "images": [5]}]}, "messages[0].images[0]"),
        ({"messages": [{"role": "user", "content": "x", "images": ["?"]}]}, "messages[0].images[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": "x"}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"tools": {}}, "tools"),
        ({"tools": [{}]}, "tools[0].function"),
    ],
)
def test_what_chat_refuses(fields: dict[str, Any], param: str) -> None:
    """Each refusal names the field."""
    with pytest.raises(BadRequest) as caught:
        read_chat({"model": "m", "messages": HI, **fields})
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("raw", "embed"),
    [
        ({"input": "a"}, Embed(inputs=("a",), truncate=True)),
        ({"input": ["a", "b"], "truncate": False, "dimensions": 3}, Embed(inputs=("a", "b"), dimensions=3)),
        ({"input": "a", "keep_alive": 0}, Embed(inputs=("a",), truncate=True, keep_alive=0.0)),
        ({"input": []}, None),
        ({}, None),
    ],
)
def test_embed(raw: dict[str, Any], embed: Embed | None) -> None:
    """Too long texts are cut unless the client forbids it."""
    assert read_embed({"model": "m", **raw}) == ("m", embed)


def test_the_older_embeddings_are_not_normalized() -> None:
    """One prompt, one vector as it is."""
    assert read_embeddings({"model": "m", "prompt": "a"}) == ("m", Embed(inputs=("a",), truncate=True, normalize=-1))
    assert read_embeddings({"model": "m"}) == ("m", None)


@settings(max_examples=200, deadline=None)
@given(bodies([Body, PromptBody, Sampling], prompt=ANYTHING, messages=ANYTHING, options=ANYTHING, format=ANYTHING))
def test_any_body_is_read_or_refused(raw: dict[str, Any]) -> None:
    """Nothing but a refusal comes of nonsense; what is read can be queued."""
    for read in (read_generate, read_chat):
        try:
            params = read(parse_object(encode({"model": "m", **raw}))).params
        except BadRequest:
            continue
        if params is not None:
            assert isinstance(params, TextParams)
            assert msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=Params) == params


@settings(max_examples=100, deadline=None)
@given(bodies([EmbedBody], input=ANYTHING))
def test_any_embed_is_read_or_refused(raw: dict[str, Any]) -> None:
    """The same for embeddings."""
    for read in (read_embed, read_embeddings):
        try:
            read(parse_object(encode({"model": "m", **raw})))
        except BadRequest:
            continue
