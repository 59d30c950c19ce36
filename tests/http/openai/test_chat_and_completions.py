"""OpenAI's routes: the captured shapes, and the real client over a socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http.conftest import ANYTHING, Site, StartSite, bodies, counted, events_of, sample, until
from velesio.config import KeySection
from velesio.errors import BadRequest, Unsupported, WorkerLost
from velesio.http.openai import chat, completions
from velesio.http.text import generation
from velesio.http.wire import encode, parse_object
from velesio.jobs import (
    Chat,
    Completed,
    Delta,
    Event,
    Progress,
    Sampling,
    Started,
    TextResult,
    Timings,
    TokenProbs,
    Usage,
)

HI = {"messages": [{"role": "user", "content": "Hi"}]}


def comparable(body: bytes, captured: bytes) -> tuple[Any, Any]:
    """Two documents with the order of their keys; ids, times and fingerprints need only be of one type."""
    ours, theirs = (json.loads(text, object_pairs_hook=list) for text in (body, captured))
    return _blurred(ours), _blurred(theirs)


def _blurred(pairs: Any) -> Any:
    if isinstance(pairs, list):
        return [_blurred(each) for each in pairs]
    if isinstance(pairs, tuple) and pairs[0] in {"id", "created", "system_fingerprint"}:
        return pairs[0], type(pairs[1])
    return tuple(_blurred(each) for each in pairs) if isinstance(pairs, tuple) else pairs


def answer(text: str, usage: Usage, timings: Timings) -> TextResult:
    return TextResult(text, stop="limit", usage=usage, timings=timings)


def chat_stream(raw: dict[str, Any], events: Sequence[tuple[int, Event]]) -> list[bytes]:
    frames = chat.ChatFrames(chat.read(raw), "smollm2")
    parts = [frame for index, event in events for frame in frames.frames(index, event)]
    return events_of(b"".join([*parts, *frames.end()]))


def test_a_chat_is_the_sample() -> None:
    """Same keys, order and values."""
    result = answer("Hello! How", Usage(31, 3), Timings(78.123, 12.242))
    ours, captured = comparable(encode(chat.Writer(chat.read(HI), "smollm2").whole([result])), sample("chat"))
    assert ours == captured


def test_two_choices_have_the_keys_of_the_sample() -> None:
    """Each is counted, the prompt once."""
    results = [
        answer("Hello!", Usage(31, 2, 30), Timings(7.335, 18.352)),
        answer("Hi there", Usage(31, 2, 30), Timings(7.335, 18.352)),
    ]
    whole = chat.Writer(chat.read(HI | {"n": 2}), "smollm2").whole(results)
    ours, captured = comparable(encode(whole), sample("chat_n2"))
    usage = dict(ours)["usage"]
    assert dict(usage) | {"prompt_tokens_details": 0} == {
        "completion_tokens": 4,
        "prompt_tokens": 31,
        "total_tokens": 35,
        "prompt_tokens_details": 0,
    }
    assert [pair for pair in ours if pair[0] != "usage"] == [pair for pair in captured if pair[0] != "usage"]
    assert [key for key, _ in usage] == [key for key, _ in dict(captured)["usage"]]


def test_a_chat_stream_is_the_sample() -> None:
    """Role, texts, reason, counts, the mark of the end."""
    raw = HI | {"stream": True, "stream_options": {"include_usage": True}}
    result = answer("Hello! How", Usage(31, 3, 30), Timings(6.238, 13.966))
    deltas = [Delta(text, (1,), number) for number, text in enumerate(("Hello", "!", " How"), 1)]
    ours = chat_stream(raw, [(0, event) for event in (Started(31), *deltas, Completed(result))])
    captured = events_of(sample("chat_stream"))
    assert ours[-1] == captured[-1] == b"[DONE]"
    assert len(ours) == len(captured)
    for one, two in zip(ours[:-1], captured[:-1], strict=True):
        assert comparable(one, two)[0] == comparable(one, two)[1]


def test_without_counts_the_timings_come_with_the_reason() -> None:
    """They are on the last chunk before the mark in every case."""
    result = answer("Hello", Usage(31, 3), Timings(1, 2))
    events = chat_stream(
        HI | {"stream": True}, [(0, Started(31)), (0, Delta("Hello", (1,), 1)), (0, Completed(result))]
    )
    *others, last, mark = events
    assert mark == b"[DONE]"
    assert "timings" in json.loads(last)
    assert json.loads(last)["choices"][0]["finish_reason"] == "length"
    assert not any("timings" in json.loads(event) or "usage" in json.loads(event) for event in others)


def test_each_choice_of_a_stream_has_its_role_and_reason() -> None:
    """Also one that says nothing; tokens without text yet are no chunk."""
    result = answer("", Usage(3, 1), Timings())
    events = [
        (1, Started(3)),
        (1, Delta("b", (1,), 1)),
        (0, Started(3)),
        (1, Delta("", (2,), 2)),
        (1, Completed(result)),
        (0, Completed(result)),
    ]
    choices = [json.loads(event)["choices"][0] for event in chat_stream(HI | {"n": 2, "stream": True}, events)[:-1]]
    assert [(choice["index"], choice["delta"], choice["finish_reason"]) for choice in choices] == [
        (1, {"role": "assistant", "content": None}, None),
        (1, {"content": "b"}, None),
        (0, {"role": "assistant", "content": None}, None),
        (1, {}, "length"),
        (0, {}, "length"),
    ]


def test_a_text_completion_is_the_sample() -> None:
    """Same keys, order and values."""
    writer = completions.Writer(completions.read({"prompt": "Hello"}), "smollm2")
    result = answer("-squared", Usage(1, 2), Timings(7.289, 5.744))
    ours, captured = comparable(encode(writer.whole([result])), sample("cmpl_oai"))
    assert ours == captured


def test_a_text_completion_stream_is_the_sample() -> None:
    """Counts come with the reason, asked for or not."""
    frames = completions.Frames(completions.read({"prompt": "Hello", "stream": True}), "smollm2")
    result = answer("-squared", Usage(1, 2), Timings(6.093, 6.164))
    events = [Started(1), Delta("-", (1,), 1), Delta("squared", (2,), 2), Completed(result)]
    body = b"".join([*(frame for event in events for frame in frames.frames(0, event)), *frames.end()])
    ours, captured = events_of(body), events_of(sample("cmpl_oai_stream"))
    assert ours[-1] == captured[-1] == b"[DONE]"
    assert len(ours) == len(captured)
    for one, two in zip(ours[:-1], captured[:-1], strict=True):
        assert comparable(one, two)[0] == comparable(one, two)[1]


PROBS = (TokenProbs(1, b"a", -0.5, ()), TokenProbs(2, b"b", -0.25, ()))


def test_text_completions_tell_probabilities_and_times() -> None:
    """With each piece if asked for; the last chunk has the counts alone."""
    raw = {
        "prompt": "x", "stream": True, "logprobs": 1, "timings_per_token": True, "return_progress": True,
        "verbose": True,
    }  # fmt: skip
    frames = completions.Frames(completions.read(raw), "m")
    result = answer("ab", Usage(4, 2), Timings(7, 1))
    events = [Started(4), Progress(4, 4, 1, 7.0), Delta("a", (1,), 1, PROBS[:1]), Delta("b", (2,), 2, PROBS[1:])]
    body = b"".join(frame for event in [*events, Completed(result)] for frame in frames.frames(0, event))
    progress, one, two, last = (json.loads(event) for event in events_of(body))
    assert progress["prompt_progress"] == {"total": 4, "cache": 1, "processed": 4, "time_ms": 7}
    assert (progress["timings"]["prompt_n"], one["timings"]["predicted_n"], two["timings"]["predicted_n"]) == (3, 1, 2)
    assert [chunk["choices"][0]["logprobs"]["content"][0]["token"] for chunk in (one, two)] == ["a", "b"]
    assert (last["choices"][0]["logprobs"], last["__verbose"]["content"]) == (None, "ab")
    whole = completions.write(completions.read(raw), "m", "", [msgspec.structs.replace(result, probs=PROBS)])
    assert [each["logprob"] for each in whole["choices"][0]["logprobs"]["content"]] == [-0.5, -0.25]
    assert list(whole)[-2:] == ["__verbose", "timings"]


def test_an_error_in_a_stream_ends_it() -> None:
    """The SDKs raise at a chunk with `error`; the mark follows."""
    frames = chat.ChatFrames(chat.read(HI), "m")
    failed, mark = events_of(b"".join(frames.failure(WorkerLost("gone"))))
    assert json.loads(failed)["error"]["code"] == "worker_lost"
    assert mark == b"[DONE]"
    assert frames.ping() == b":\n\n"


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({}, "messages"),
        (HI | {"temperature": "hot"}, "temperature"),
        (HI | {"max_completion_tokens": -2}, "max_completion_tokens"),
        (HI | {"stop": 5}, "stop"),
        (HI | {"n": 0}, "n"),
        (HI | {"top_logprobs": 5}, "top_logprobs"),
        (HI | {"stream_options": True}, "stream_options"),
        (HI | {"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        (HI | {"tools": [{}]}, "tools[0].function"),
        (HI | {"add_generation_prompt": "no"}, "add_generation_prompt"),
    ],
)
def test_bad_fields_are_named(raw: dict[str, Any], param: str) -> None:
    """In `param`, as a path."""
    with pytest.raises((BadRequest, Unsupported)) as caught:
        chat.read(raw)
    assert caught.value.param == param


def test_what_a_chat_becomes() -> None:
    """One job's params for each choice."""
    raw = HI | {
        "n": 2,
        "seed": 5,
        "temperature": 0.5,
        "stop": "x",
        "max_completion_tokens": 9,
        "logit_bias": {"7": -100},
        "user": "someone",
        "store": False,
        "add_generation_prompt": False,
    }
    one, two = chat.read(raw).params
    assert (one.sampling.seed, two.sampling.seed) == (5, 6)
    assert (one.max_tokens, one.stop, one.sampling.temperature) == (9, ("x",), 0.5)
    assert one.sampling.logit_bias == ((7, -100.0),)
    assert one.add_generation_prompt is False


@settings(max_examples=200, deadline=None)
@given(
    bodies(
        [chat.Body, generation.Body, Sampling],
        messages=st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": ANYTHING}), max_size=2) | ANYTHING,
        chat_template_kwargs=ANYTHING,
    )
)
def test_any_body_is_read_or_refused(raw: dict[str, Any]) -> None:
    """Nothing but a refusal comes of nonsense; what is read can be queued."""
    try:
        asked = chat.read(parse_object(encode(raw)))
    except BadRequest:
        return
    for params in asked.params:
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(params), type=Chat) == params


@pytest.fixture
async def client(site: Site) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{site.address}/v1", api_key="none", max_retries=0) as made:
        yield made


async def test_the_client_chats(client: openai.AsyncOpenAI) -> None:
    """Whole answers, with the request's id."""
    completion = await client.chat.completions.create(
        model="parrot", messages=[{"role": "user", "content": "one two three"}], max_tokens=2, n=2
    )
    assert [choice.message.content for choice in completion.choices] == ["one two"] * 2
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 4
    assert completion.model == "parrot"
    assert completion._request_id


async def test_the_client_streams_a_chat(client: openai.AsyncOpenAI) -> None:
    """Piece by piece, to the counts."""
    stream = await client.chat.completions.create(
        model="bird",
        messages=[{"role": "user", "content": "[[sleep 0.01]]one two three"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two three"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 6
    assert {chunk.model for chunk in chunks} == {"parrot"}


async def test_the_client_completes_text(client: openai.AsyncOpenAI) -> None:
    """Whole and streamed; several prompts are several choices."""
    whole = await client.completions.create(model="parrot", prompt=["one two", "three"], max_tokens=1)
    assert [choice.text for choice in whole.choices] == ["one", "three"]
    assert whole.usage is not None
    assert whole.usage.prompt_tokens == 3
    stream = await client.completions.create(model="parrot", prompt="one two", stream=True)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "one two"


async def test_the_client_lists_models(client: openai.AsyncOpenAI) -> None:
    """All, and one by name or alias, also one with slashes."""
    assert {model.id for model in (await client.models.list()).data} == {"parrot", "tiny"}
    assert (await client.models.retrieve("tiny")).id == "tiny"
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("parot")
    assert caught.value.code == "model_not_found"
    assert "parrot" in caught.value.message


async def test_the_client_understands_refusals(client: openai.AsyncOpenAI) -> None:
    """Each as its own exception, with code and param."""
    with pytest.raises(openai.NotFoundError) as missing:
        await client.chat.completions.create(model="parot", messages=[{"role": "user", "content": "x"}])
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    assert "parrot" in missing.value.message
    wrong: Any = 5
    with pytest.raises(openai.BadRequestError) as bad:
        await client.chat.completions.create(model="parrot", messages=[{"role": "user", "content": wrong}])
    assert bad.value.param == "messages[0].content"
    with pytest.raises(openai.BadRequestError) as long:
        await client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "word " * 20}], stream=True
        )
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.APIStatusError) as unsupported:
        await client.chat.completions.create(
            model="parrot",
            messages=[{"role": "user", "content": "x"}],
            modalities=["audio"],
        )
    assert unsupported.value.status_code == 501


async def test_a_refusal_for_good_is_asked_once(site: Site) -> None:
    """The client repeats 5xx answers unless it is told not to."""
    labels = {"route": "/v1/chat/completions", "code": "501"}
    before = counted("velesio_requests_total", **labels)
    async with openai.AsyncOpenAI(base_url=f"{site.address}/v1", api_key="none", max_retries=2) as client:
        with pytest.raises(openai.APIStatusError):
            await client.chat.completions.create(
                model="parrot", messages=[{"role": "user", "content": "x"}], modalities=["audio"]
            )
    assert counted("velesio_requests_total", **labels) == before + 1


async def test_the_client_hears_of_a_failure_in_a_stream(client: openai.AsyncOpenAI) -> None:
    """What came before it is delivered."""
    stream = await client.chat.completions.create(
        model="parrot", messages=[{"role": "user", "content": "[[after 2 fail broken]]one two three"}], stream=True
    )
    text = ""

    async def read() -> None:
        nonlocal text
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""

    with pytest.raises(openai.APIError, match="broken"):
        await read()
    assert text == "one two"


async def test_the_client_shows_its_key(start_site: StartSite) -> None:
    """A right one is served, a wrong one is an authentication error."""
    site = await start_site(keys=[KeySection(name="a", token="right")])
    message = [{"role": "user", "content": "x"}]
    for key, wanted in (("right", None), ("wrong", openai.AuthenticationError)):
        async with openai.AsyncOpenAI(base_url=f"{site.address}/v1", api_key=key, max_retries=0) as client:
            if wanted is None:
                assert (await client.chat.completions.create(model="", messages=message)).choices
            else:
                with pytest.raises(wanted):
                    await client.chat.completions.create(model="", messages=message)


async def test_a_client_that_stops_reading_cancels_its_job(site: Site, client: openai.AsyncOpenAI) -> None:
    """Closing the stream frees the worker."""
    stream = await client.chat.completions.create(
        model="parrot", messages=[{"role": "user", "content": "[[sleep 0.05]][[tokens 1000]]one two"}], stream=True
    )
    await anext(aiter(stream))
    assert site.worker is not None
    assert len(site.worker.facts()["jobs"]) == 1
    await stream.close()
    await until(lambda: not site.worker.facts()["jobs"])


async def test_comments_fill_silence(site: Site) -> None:
    """The SDKs skip them."""
    body = HI | {"stream": True, "sse_ping_interval": 0.05}
    body["messages"] = [{"role": "user", "content": "[[sleep 0.2]]one two"}]
    response = await site.post("/v1/chat/completions", body)
    assert response.body.count(b":\n\n") >= 2


async def test_a_known_address_tells_its_method(site: Site) -> None:
    """405 with Allow, in OpenAI's shape; unknown addresses are 404 in it."""
    response = await site.get("/v1/chat/completions")
    assert (response.status, response.headers["Allow"]) == (405, "POST")
    assert response.json()["error"]["code"] == "method_not_allowed"
    response = await site.get("/v1/nothing")
    assert response.status == 404
    assert response.json()["error"]["code"] == "not_found"


async def test_many_streams_at_once_keep_apart(site: Site) -> None:
    """Sixteen, more than there are slots."""

    async def one(number: int) -> str:
        words = " ".join(f"{number}-{word}" for word in range(12))
        response = await site.post("/completion", {"prompt": words, "stream": True})
        assert "".join(event["content"] for event in response.events()) == words
        return words

    assert len(set(await asyncio.gather(*(one(number) for number in range(16))))) == 16
