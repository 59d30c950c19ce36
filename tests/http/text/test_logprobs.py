"""Probabilities: how many are asked for, and llama.cpp's shapes as captured from its server."""

import json
from typing import Any

import pytest

from tests.http.conftest import events_of, sample
from velesio.errors import BadRequest
from velesio.http.text.logprobs import Probs, chat_probs_of, native_probs, openai_logprobs, probs_of
from velesio.http.wire import FLOAT_MAX, encode
from velesio.jobs import TokenProbs


def captured(name: str) -> list[dict[str, Any]]:
    """The probabilities in a captured answer, streamed or not."""
    body = sample(name)
    whole = json.loads(events_of(body)[0] if body.startswith(b"data:") else body)
    found: list[dict[str, Any]] = whole["completion_probabilities"]
    return found


def as_events(shown: list[dict[str, Any]], measure: str) -> list[TokenProbs]:
    """What a worker would have sent for them."""

    def piece(each: dict[str, Any]) -> tuple[int, bytes, float]:
        return each["id"], bytes(each["bytes"]), each[measure]

    return [TokenProbs(*piece(each), tuple(piece(rival) for rival in each[f"top_{measure}s"])) for each in shown]


@pytest.mark.parametrize(("name", "measure"), [("completion_probs", "logprob"), ("completion_postprobs", "prob")])
def test_shapes_are_llama_cpps(name: str, measure: str) -> None:
    """To the byte, before the samplers and after them; OpenAI's field holds the same under `content`."""
    shown = captured(name)
    probs = as_events(shown, measure)
    post = measure == "prob"
    assert encode(native_probs(probs, post=post)) == encode(shown)
    assert openai_logprobs(probs, post=post) == {"content": shown}


def test_openais_field_is_null_without_any() -> None:
    """As without `logprobs`."""
    assert openai_logprobs(()) is None


def test_a_forbidden_token_is_infinitely_unlikely() -> None:
    """JSON has no infinity; llama.cpp sends the lowest float."""
    (shown,) = native_probs([TokenProbs(1, b"a", float("-inf"))], post=False)
    assert shown["logprob"] == -FLOAT_MAX


def test_parts_of_characters_show_as_bytes() -> None:
    """Their text is left out until it is whole; bytes that are no text at all are marked."""
    (part,) = native_probs([TokenProbs(1, b"a\xc3", 0.0)], post=False)
    assert (part["token"], part["bytes"]) == ("a", [97, 0xC3])
    (rest,) = native_probs([TokenProbs(1, b"\xa4", 0.0)], post=False)
    assert (rest["token"], rest["bytes"]) == ("\ufffd", [0xA4])


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, Probs()),
        ({"n_probs": 3}, Probs(3)),
        ({"logprobs": 2}, Probs(2)),
        ({"n_probs": 3, "logprobs": 2}, Probs(3)),
        ({"n_probs": 4.0, "post_sampling_probs": True}, Probs(4, post=True)),
        ({"n_probs": 100}, Probs(100)),
    ],
)
def test_native_bodies(raw: dict[str, Any], expected: Probs) -> None:
    """`n_probs`, or else `logprobs`."""
    assert probs_of(raw) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({}, Probs()),
        ({"logprobs": False}, Probs()),
        ({"logprobs": True}, Probs(20)),
        ({"logprobs": True, "top_logprobs": 5}, Probs(5)),
        ({"n_probs": 5, "post_sampling_probs": True}, Probs(5, post=True)),
        ({"logprobs": True, "tools": [{}]}, Probs(20)),
        ({"logprobs": True, "tools": [], "stream": True}, Probs(20)),
    ],
)
def test_chats(raw: dict[str, Any], expected: Probs) -> None:
    """`logprobs` switches them on, `top_logprobs` says how many."""
    assert chat_probs_of(raw) == expected


@pytest.mark.parametrize(
    ("read", "raw", "param"),
    [
        (probs_of, {"n_probs": 101}, "n_probs"),
        (probs_of, {"n_probs": -1}, "n_probs"),
        (probs_of, {"n_probs": True}, "n_probs"),
        (probs_of, {"logprobs": "x"}, "logprobs"),
        (probs_of, {"n_probs": 1, "post_sampling_probs": 1}, "post_sampling_probs"),
        (chat_probs_of, {"logprobs": 3}, "logprobs"),
        (chat_probs_of, {"top_logprobs": 3}, "top_logprobs"),
        (chat_probs_of, {"logprobs": False, "top_logprobs": 3}, "top_logprobs"),
        (chat_probs_of, {"logprobs": True, "top_logprobs": 1.5}, "top_logprobs"),
        (chat_probs_of, {"logprobs": True, "tools": [{}], "stream": True}, "logprobs"),
    ],
)
def test_what_is_wrong_is_named(read: Any, raw: dict[str, Any], param: str) -> None:
    """With the field at fault."""
    with pytest.raises(BadRequest) as caught:
        read(raw)
    assert caught.value.param == param
