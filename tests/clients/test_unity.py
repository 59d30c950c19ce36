"""LLMUnity 1, 2 and 3 against a real model: directly, and through nginx as docs/llmunity.md configures it."""

import json
import time
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.clients.proxy import blocks, nginx
from tests.clients.unity import SAMPLING, Broken, Native, ServerError, Web
from tests.end_to_end.process import Server, eventually

CONFIGURATIONS = blocks(Path(__file__).parents[2] / "docs" / "llmunity.md")
HELLO = (
    "<|im_start|>system\nA chat between a curious human and an artificial intelligence assistant.<|im_end|>\n"
    "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
)
RULE = "=" * 64
"""Many bytes in few tokens: it is the bytes that are too many for the reader."""
PASS = {"Authorization": "Bearer sk-game"}
LONG = "<|im_start|>user\nWhat is this?\n" + f"{RULE}\n" * 128 + "<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def velesio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a key for a game that many play, as one behind a proxy needs it."""
    folder = tmp_path_factory.mktemp("velesio")
    (folder / "config.toml").write_text(
        '[[keys]]\nname = "game"\ntoken = "sk-game"\nlimits = { requests = 0, concurrent = 0 }\n'
    )
    with closing(Server("all", folder, "backends.llama.pooling=mean")) as server:
        yield server.ready()


@pytest.fixture(params=["direct", *CONFIGURATIONS], scope="module")
def port(request: pytest.FixtureRequest, velesio: Server) -> Iterator[int]:
    """Where the game connects."""
    block = CONFIGURATIONS.get(request.param)
    with nginx(block, velesio.port) if block else nullcontext(velesio.port) as found:
        yield found


def test_the_page_has_its_configurations() -> None:
    """Those that are tested here are the ones that people copy."""
    assert list(CONFIGURATIONS) == ["plain", "advised", "untouched"]


@pytest.mark.parametrize("prompt", [HELLO, LONG], ids=["short", "8 KB"])
def test_the_native_reader_reads_every_event(port: int, prompt: str) -> None:
    """The text is the same as without streaming, and the last event is small enough."""
    client = Native(port, PASS)
    last = client.complete(prompt, n_predict=16, temperature=0)
    assert last["stop"] is True
    assert last["tokens_predicted"] > 1
    assert "generation_settings" not in last
    assert "prompt" not in last
    whole = Native(port, PASS).ask("/completion", SAMPLING | {"prompt": prompt, "n_predict": 16, "temperature": 0})
    assert client.text == whole["content"]
    assert whole["prompt"] == prompt


def test_the_older_reader_reads_every_event(port: int) -> None:
    """Version 2, and version 1 with its own name for the slot."""
    two = Web(port, PASS)
    assert two.complete(LONG, n_predict=16)
    one = Web(port, PASS)
    assert one.complete(HELLO, n_predict=16, slot_id=-1)
    assert all(later.startswith(earlier) for earlier, later in zip(one.texts, one.texts[1:], strict=False))


def test_characters_of_several_bytes_arrive_whole(port: int) -> None:
    """A grammar makes the model say them."""
    client = Native(port, PASS)
    client.complete(HELLO, n_predict=40, grammar='root ::= "Grüße, 世界 🌍! " "data: " "\\"end\\""')
    assert client.text == 'Grüße, 世界 🌍! data: "end"'
    web = Web(port, PASS)
    assert web.complete(HELLO, n_predict=30, grammar='root ::= "Grüße, 世界 🌍!"') == "Grüße, 世界 🌍!"


def test_a_schema_is_kept(port: int) -> None:
    """Version 3 sends it as an object, version 2 as well."""
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    client = Native(port, PASS)
    client.complete(HELLO, n_predict=40, json_schema=schema)
    assert isinstance(json.loads(client.text)["ok"], bool)


@pytest.mark.parametrize("kind", [Native, Web])
def test_errors_are_told_in_words_that_are_read(port: int, kind: type[Native] | type[Web]) -> None:
    """With a number as code, streamed or not: anything else would be an empty answer, or six tries."""
    with pytest.raises(ServerError, match="context size"):
        kind(port, PASS).complete("word " * 9000, n_predict=4)
    with pytest.raises(ServerError, match="grammar"):
        kind(port, PASS).complete(HELLO, n_predict=4, grammar="root ::= (")
    with pytest.raises(ServerError, match="Field 'prompt'"):
        kind(port, PASS).ask("/completion", {"n_predict": 4})


def test_a_game_that_leaves_frees_the_worker(port: int, velesio: Server) -> None:
    """After three events."""
    before = json.loads(velesio.get("/queue/status", PASS)[1])["cancelled"]
    Native(port, PASS).complete(HELLO, stop_after=3, ignore_eos=True)
    eventually(lambda: json.loads(velesio.get("/queue/status", PASS)[1])["cancelled"] > before)
    Web(port, PASS).complete(HELLO, stop_after=2, ignore_eos=True)
    eventually(lambda: json.loads(velesio.get("/queue/status", PASS)[1])["cancelled"] > before + 1)


def test_a_warm_up_is_fast_and_says_nothing(port: int) -> None:
    """`n_predict` 0, not streamed."""
    Native(port, PASS).ask("/completion", {"prompt": LONG, "n_predict": 0})
    began = time.monotonic()
    answer = Native(port, PASS).ask("/completion", {"prompt": LONG, "n_predict": 0})
    assert time.monotonic() - began < 10
    assert (answer["content"], answer["tokens_predicted"], answer["stop"]) == ("", 0, True)


def test_what_is_asked_before_a_chat(port: int) -> None:
    """Everything that version 3 asks, by POST alone."""
    client = Native(port, PASS)
    assert client.ask("/health", None)["status"] == "ok"
    assert client.ask("/props", {})["default_generation_settings"]["n_ctx"] > 1000
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    prompt = client.ask("/apply-template", {"messages": messages})["prompt"]
    assert "Be brief." in prompt
    tokens = client.ask("/tokenize", {"content": prompt})["tokens"]
    assert client.ask("/detokenize", {"tokens": tokens})["content"] == prompt
    vector = client.ask("/embeddings", {"content": "Hi"})[0]["embedding"][0]
    assert len(vector) > 100


def test_what_version_2_asks(port: int) -> None:
    """The template's name, and the vector in an object."""
    client = Web(port, PASS)
    assert client.ask("/template", {}) == {"template": "chatml"}
    assert client.ask("/tokenize", {"content": "Hi"})["tokens"]
    vector = client.ask("/embeddings", {"content": "Hi"})["embedding"]
    assert all(isinstance(value, float) for value in vector)
    assert client.ask("/lora-adapters-list", {}) == []


def test_the_readers_are_strict() -> None:
    """What they cannot read fails here too: two events at once, half of one, a comment, an end mark."""
    native: Any = Native(0)
    for bad in (b'data: {"content":"a"}\n\ndata: {"content":"b"}\n\n', b'data: {"con', b":\n\n", b"data: [DONE]\n\n"):
        with pytest.raises(Broken):
            native._event(bad)
    web: Any = Web(0)
    for bad in (":\n\n", 'data: {"content":"a"}\n\n:\n\n', 'data: {"content":"a"}\n\ndata: [DONE]\n\n'):
        with pytest.raises(Broken):
            web._read(bad)
