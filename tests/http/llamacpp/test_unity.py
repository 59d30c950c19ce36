"""LLMUnity: events that its readers can read, and the names of templates."""

import asyncio
import json
import time
from typing import Any

import pytest

from tests.clients.unity import Native, ServerError, Web
from tests.http.conftest import Site, StartSite, events_of, sample
from velesio.config import KeySection, ServerSection
from velesio.http.llamacpp.unity import template_name
from velesio.http.llamacpp.unity_stream import LIMIT, PAUSE, fitted, merged
from velesio.jobs import Completed, Delta, TextResult, TokenProbs

UNITY_WEB = {"User_Agent": Web.AGENT}
GAME = KeySection(name="game", token="sk-game")
PASS = {"Authorization": "Bearer sk-game"}
FORWARDED = {"X-Forwarded-For": "10.0.0.1"}
"""What a proxy adds; who comes through one needs a key."""


def framed(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


def read(frames: list[bytes]) -> list[dict[str, Any]]:
    """The events; each is one, and small."""
    assert all(len(frame) < LIMIT for frame in frames)
    return [json.loads(frame.removeprefix(b"data: ")) for frame in frames]


def test_a_small_event_stays_as_it_is() -> None:
    """Byte for byte: it is not even read."""
    frame = framed({"content": "Hi", "stop": False})
    assert fitted(frame) == [frame]


def test_the_end_is_small_whatever_the_prompt_was() -> None:
    """No settings, no prompt; everything else is kept."""
    last = {"content": "", "stop": True, "generation_settings": {"seed": 1}, "prompt": "x" * 9000, "tokens_cached": 3}
    assert read(fitted(framed(last))) == [{"content": "", "stop": True, "tokens_cached": 3}]


def test_the_captured_stream_is_the_same_but_for_its_end() -> None:
    """What llama.cpp's server sends to a game, without what made it break."""
    captured = [b"data: " + event + b"\n\n" for event in events_of(sample("unity_stream"))]
    ours = [small for frame in captured for small in fitted(frame)]
    assert ours[:-1] == captured[:-1]
    (last,) = read(ours[-1:])
    whole = json.loads(captured[-1].removeprefix(b"data: "))
    assert last == {name: value for name, value in whole.items() if name not in {"generation_settings", "prompt"}}


@pytest.mark.parametrize("text", ["x" * 9000, "世界" * 3000, '"\\\n' * 3000, "🌍" * 3000])
def test_a_long_text_is_several_events(text: str) -> None:
    """Which make up the text, with its tokens once."""
    events = read(fitted(framed({"content": text, "tokens": [1, 2], "stop": False})))
    assert "".join(event["content"] for event in events) == text
    assert [token for event in events for token in event["tokens"]] == [1, 2]


def test_an_event_goes_without_what_makes_it_too_large() -> None:
    """Probabilities first, then the rest that no game reads."""
    probs = [{"id": 1, "top_logprobs": ["x" * 100] * 100}]
    assert read(
        fitted(framed({"content": "a", "stop": False, "completion_probabilities": probs, "timings": {"a": 1}}))
    ) == [{"content": "a", "stop": False, "timings": {"a": 1}}]
    tokens = list(range(10000, 12000))
    assert read(fitted(framed({"content": "", "stop": True, "tokens": tokens, "stopping_word": "x" * 9000}))) == [
        {"content": "", "stop": True}
    ]


def test_a_long_error_is_cut() -> None:
    """Its code is kept: without it the reader sees nothing."""
    (event,) = read(fitted(framed({"error": {"code": 400, "message": "x" * 9000, "type": "t"}})))
    assert event["error"]["code"] == 400
    assert event["error"]["message"].startswith("xxx")


def test_texts_that_came_together_are_one() -> None:
    """Of one job, in their order, up to a size; other events stay where they are."""
    probs = (TokenProbs(2, b"b", -1.0),)
    batch = [
        (0, Delta("a", (1,), 1)),
        (0, Delta("b", (2,), 2, probs)),
        (1, Delta("c", (3,), 1)),
        (1, Completed(TextResult("c"))),
        (0, Delta("x" * 900, (4,), 3)),
        (0, Delta("y" * 900, (5,), 4)),
    ]
    assert merged(batch) == [(0, Delta("ab", (1, 2), 2, probs)), *batch[2:]]


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{{'<|im_start|>' + message['role']}}", "chatml"),
        ("<|im_start|> <tool_call> enable_thinking", "qwen3"),
        ("<start_of_turn>", "gemma"),
        ("<|start_header_id|>", "llama3 chat"),
        ("[INST] <<SYS>>", "llama chat"),
        ("[INST]", "mistral instruct"),
        ("<|im_sep|>", "phi-4"),
        ("<|user|><|assistant|><|tool|>", "phi-4-mini"),
        ("<|user|><|assistant|><|end|><|system|>", "phi-3.5"),
        ("<|user|><|assistant|><|end|>", "phi-3"),
        ("<|user|><|assistant|>", "zephyr"),
        ("<｜User｜><｜Assistant｜><think>", "deepseek-r1"),  # noqa: RUF001 - DeepSeek's own letters
        ("<｜User｜><｜Assistant｜>", "deepseek-v2"),  # noqa: RUF001 - DeepSeek's own letters
        ("### Instruction", "alpaca"),
        ("USER: ASSISTANT:", "vicuna"),
        ("Instruct: Output:", "phi"),
        ("", "chatml"),
        ("something new", "chatml"),
    ],
)
def test_templates_have_names_that_unity_knows(template: str, name: str) -> None:
    """It fails at any other."""
    assert template_name(template) == name


async def complete(site: Site, client: Native | Web, prompt: str, **fields: Any) -> Any:
    return await asyncio.to_thread(client.complete, prompt, **fields)


@pytest.mark.parametrize("forwarded", [False, True])
@pytest.mark.parametrize("kind", [Native, Web])
async def test_bursts_are_read(start_site: StartSite, kind: type[Native] | type[Web], forwarded: bool) -> None:
    """Three hundred tokens as fast as they come; behind a proxy those that come meanwhile are one event."""
    site = await start_site(keys=[GAME])
    client = kind(site.port, PASS | (FORWARDED if forwarded else {}))
    await complete(site, client, "[[tokens 300]] one two three")
    text = client.text if isinstance(client, Native) else client.texts[-1]
    assert text.startswith("one two three")
    assert len(text.split()) == 300
    pieces = len(client.events) if isinstance(client, Native) else len(client.texts)
    assert pieces < 60 if forwarded else pieces > 60


async def test_a_token_of_any_size_is_read(site: Site) -> None:
    """Echo's tokens are words."""
    client = Native(site.port)
    await complete(site, client, "a " + "世" * 3000)
    assert client.text == "a " + "世" * 3000


@pytest.mark.parametrize("kind", [Native, Web])
async def test_silence_is_filled_with_events(start_site: StartSite, kind: type[Native] | type[Web]) -> None:
    """Without content; anything else would break the reader."""
    site = await start_site(server=ServerSection(sse_ping_interval=0.02))
    client = kind(site.port)
    await complete(site, client, "[[sleep 0.1]] a b")
    if isinstance(client, Native):
        assert [event["content"] for event in client.events].count("") > 2
        assert client.text == "a b"
    else:
        assert client.texts[-1] == "a b"


async def test_pings_keep_their_distance_too(start_site: StartSite) -> None:
    """Behind a proxy nothing comes less than a pause after anything else."""
    site = await start_site(server=ServerSection(sse_ping_interval=0.01), keys=[GAME])
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache", **PASS, **FORWARDED}
    body = {"prompt": "[[sleep 0.02]] [[tokens 20]] a", "stream": True}
    times = []
    async with site.client.post(
        site.address + "/completion", json=body, headers=headers, skip_auto_headers=["User-Agent"]
    ) as answer:
        async for _, whole in answer.content.iter_chunks():
            if whole:
                times.append(time.monotonic())
    assert len(times) > 3
    # What was late itself has a shorter gap after it, so that only all of them together can be told.
    assert times[-1] - times[0] >= PAUSE * (len(times) - 1) * 0.9


@pytest.mark.parametrize("kind", [Native, Web])
async def test_an_error_within_a_stream_is_read(site: Site, kind: type[Native] | type[Web]) -> None:
    """With what went wrong, however long that is."""
    with pytest.raises(ServerError, match="oh no"):
        await complete(site, kind(site.port), "a b c [[after 2 fail oh no" + " no" * 3000 + "]]")


async def test_templates_are_told_by_get_and_post(site: Site) -> None:
    """Of the first model, or of the one that is named."""
    for answer in (
        await site.post("/template", {}, **UNITY_WEB),
        await site.post("/template", b""),
        await site.post("/template", {"model": "tiny"}),
        await site.get("/template"),
        await site.get("/template?model=tiny"),
    ):
        assert answer.json() == {"template": "chatml"}
    assert (await site.get("/template?model=nobody")).status == 404


async def test_only_version_2_gets_a_vector_in_an_object(site: Site) -> None:
    """Other plug-ins of Unity speak llama.cpp's or OpenAI's language."""
    assert list((await site.post("/embeddings", {"content": "ab"}, **UNITY_WEB)).json()) == ["embedding"]
    assert (await site.post("/embeddings", {"content": "ab"})).json()[0]["index"] == 0
    assert (await site.post("/embeddings", {"content": ["ab", "c"]}, **UNITY_WEB)).json()[1]["index"] == 1
    assert (await site.post("/v1/embeddings", {"input": "ab"}, **UNITY_WEB)).json()["object"] == "list"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"id_slot": 0, "action": "save", "filepath": "C:\\game\\slot.bin"}, 501),
        ({"id_slot": 0, "action": "burn"}, 400),
        ({"id_slot": 0, "action": "save", "filepath": "folder/"}, 400),
        ({"id_slot": -1, "action": "erase"}, 400),
        ({"id_slot": "x", "action": "erase"}, 400),
    ],
)
async def test_slots_in_the_words_of_version_2(site: Site, body: dict[str, Any], status: int) -> None:
    """Echo keeps nothing in its slots; errors have a number as code."""
    answer = await site.post("/slots", body, **UNITY_WEB)
    assert answer.status == status
    assert answer.json()["error"]["code"] == status


async def test_adapters_are_listed_by_get_and_post(site: Site) -> None:
    """As at `/lora-adapters`."""
    assert (await site.post("/lora-adapters-list", {}, **UNITY_WEB)).json() == []
    assert (await site.get("/lora-adapters-list")).json() == []
