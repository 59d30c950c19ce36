"""What llama.cpp's server was asked when its answers were captured, asked here: the same model must say the same."""

import json
from typing import Any

import pytest

from tests.end_to_end.process import Server
from tests.http.conftest import events_of, sample
from tests.http.likeness import differences
from tests.http.openai.test_responses import FREE, MORE, parsed

HELLO = {"prompt": "Hello", "temperature": 0}
ONE = HELLO | {"n_predict": 1, "n_probs": 2, "return_tokens": True}
COUNTING = {"prompt": "1 2 3 4 5", "n_predict": 20, "temperature": 0, "stop": ["8"]}
HI = {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "max_tokens": 3}
TIMES = frozenset(
    {
        "prompt_ms", "prompt_per_token_ms", "prompt_per_second", "predicted_ms", "predicted_per_token_ms",
        "predicted_per_second", "time_ms",
    }
)  # fmt: skip
CACHE = frozenset({"cache_n", "prompt_n", "cached_tokens", "cached", "cache", "processed"})
OWN = TIMES | CACHE | {"model", "id_slot", "item_id"}
"""What depends on the machine, on what was asked before, and on the server's names."""
CLOSE = OWN | {"logprob"}

WHOLE: list[tuple[str, str, dict[str, Any], frozenset[str]]] = [
    ("completion", "/completion", HELLO | {"n_predict": 4, "seed": 1}, OWN),
    ("completion_stopword", "/completion", COUNTING, OWN),
    ("completion_probs", "/completion", ONE, CLOSE),
    (
        "completion_schema",
        "/completion",
        {
            "prompt": "x", "n_predict": 20, "temperature": 0,
            "json_schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        },
        OWN | {"content", "grammar", "has_new_line", "tokens_predicted", "predicted_n", "tokens_cached", "stop_type"},
    ),
    ("chat", "/v1/chat/completions", HI, OWN),
    ("cmpl_oai", "/v1/completions", {"prompt": "Hello", "max_tokens": 2, "temperature": 0.8}, OWN | {"text"}),
    ("tokenize", "/tokenize", {"content": "Hello á 🤗", "with_pieces": True}, frozenset()),
    ("detokenize", "/detokenize", {"tokens": [19556]}, frozenset()),
    ("apply_template", "/apply-template", {"messages": HI["messages"]}, frozenset()),
    ("err_noprompt", "/completion", {"n_predict": 1}, frozenset({"message"})),
    ("err_infill", "/infill", {"input_prefix": "a", "input_suffix": "b"}, frozenset({"message"})),
    ("err_rerank", "/rerank", {"query": "a", "documents": ["b"]}, frozenset({"message"})),
    ("completion_badgrammar", "/completion", {"prompt": "x", "grammar": "root ::= nothing"}, frozenset({"message"})),
]  # fmt: skip

STREAMS: list[tuple[str, str, dict[str, Any], frozenset[str]]] = [
    ("completion_stream", "/completion", {"prompt": "Hello", "n_predict": 3, "temperature": 0}, OWN),
    (
        "completion_postprobs",
        "/completion",
        {"prompt": "Hello", "n_predict": 1, "seed": 1, "n_probs": 2, "post_sampling_probs": True},
        OWN | {"content", "prob", "tokens", "id", "token", "bytes"},
    ),
    (
        "completion_progress",
        "/completion",
        {
            "prompt": "Hello there my friend", "n_predict": 1, "cache_prompt": False, "return_progress": True,
            "timings_per_token": True,
        },
        OWN | {"content", "tokens"},
    ),
    ("chat_stream", "/v1/chat/completions", HI | {"stream_options": {"include_usage": True}}, OWN),
    ("cmpl_oai_stream", "/v1/completions", {"prompt": "Hello", "max_tokens": 2}, OWN | {"text"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "path", "asked", "free"), WHOLE, ids=[name for name, *_ in WHOLE])
def test_an_answer(velesio: Server, name: str, path: str, asked: dict[str, Any], free: frozenset[str]) -> None:
    """Keys, their order, types, and what is decided by the model alone."""
    _, answer = velesio.post(path, asked)
    assert not differences(json.dumps(answer).encode(), sample(name), free=free)


@pytest.mark.parametrize(("name", "path", "asked", "free"), STREAMS, ids=[name for name, *_ in STREAMS])
def test_a_stream(velesio: Server, name: str, path: str, asked: dict[str, Any], free: frozenset[str]) -> None:
    """Event by event, to the mark of the end."""
    ours, captured = settled(events_of(raw(velesio, path, asked))), settled(events_of(sample(name)))
    if captured[-1] == b"[DONE]":
        assert (ours.pop(), captured.pop()) == (b"[DONE]", b"[DONE]")
    assert len(ours) == len(captured)
    assert not [each for one, two in zip(ours, captured, strict=True) for each in differences(one, two, free=free)]


def settled(events: list[bytes]) -> list[bytes]:
    """The last report of a prompt's progress is enough: those that come together are one."""
    reports = [event for event in events if b'"prompt_progress"' in event]
    return [event for event in events if event not in reports[:-1]]


def test_a_response(velesio: Server) -> None:
    """Whole and streamed."""
    asked = {"input": "Hi", "temperature": 0, "max_output_tokens": 3}
    _, answer = velesio.post("/v1/responses", asked)
    free = OWN | FREE | {"text"}
    assert not differences(json.dumps(answer).encode(), sample("responses"), free=free, more=MORE)
    ours = parsed(raw(velesio, "/v1/responses", asked))
    captured = parsed(sample("responses_stream").replace(b"\r", b"").strip() + b"\n\n")
    assert [name for name, _ in ours] == [name for name, _ in captured]
    for (_, one), (_, two) in zip(ours, captured, strict=True):
        texts = free | {"delta"}
        assert not differences(json.dumps(one).encode(), json.dumps(two).encode(), free=texts, more=MORE)


def test_two_choices(velesio: Server) -> None:
    """The same keys; each answer is counted here."""
    _, answer = velesio.post("/v1/chat/completions", HI | {"n": 2, "temperature": 0.8, "max_tokens": 2})
    free = OWN | {"content", "completion_tokens", "total_tokens"}
    assert not differences(json.dumps(answer).encode(), sample("chat_n2"), free=free)


def test_vectors(velesio: Server) -> None:
    """As near to the captured ones as another order of sums comes."""
    _, answer = velesio.post("/embedding", {"content": "Hello"})
    (captured,) = json.loads(sample("embedding_llamacpp"))
    assert list(answer[0]) == list(captured)
    one, two = answer[0]["embedding"][0], captured["embedding"][0]
    assert sum(a * b for a, b in zip(one, two, strict=True)) > 0.98


def test_lists(velesio: Server) -> None:
    """Slots, adapters, properties: the keys of the captured ones."""
    for name, path in (("slots", "/slots"), ("lora", "/lora-adapters"), ("props", "/props")):
        ours = json.loads(velesio.get(path)[1])
        captured = json.loads(sample(name))
        if name == "slots":
            assert captured[0].keys() <= ours[0].keys()
            continue
        free = OWN | {"n_ctx", "total_slots", "model_alias", "model_path", "media_marker", "endpoint_props", "ui"}
        assert not differences(json.dumps(ours).encode(), sample(name), free=free)


def raw(velesio: Server, path: str, asked: dict[str, Any]) -> bytes:
    """The bytes of a stream."""
    connection = velesio.connect()
    try:
        connection.request("POST", path, json.dumps(asked | {"stream": True}), {"Content-Type": "application/json"})
        return connection.getresponse().read()
    finally:
        connection.close()
