"""Probabilities of tokens: what a body asks for, and how llama.cpp's server and OpenAI write them. Pure."""

import codecs
import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from velesio.http.fields import given
from velesio.http.wire import FLOAT_MAX, bad_field, within
from velesio.jobs import TokenProbs

MAX_PROBS = 100
"""Rivals that are reported with each token."""
_CHAT_DEFAULT = 20


class Probs(NamedTuple):
    """What `TextParams` calls `n_probs` and `post_sampling_probs`."""

    n: int = 0
    post: bool = False


def probs_of(raw: Mapping[str, Any]) -> Probs:
    """What a native body or a text completion asks for: `n_probs`, or else `logprobs`.

    Raises:
        BadRequest: naming the field.
    """
    name = "n_probs" if "n_probs" in raw else "logprobs"
    return Probs(_count(raw, name, 0), _post(raw))


def chat_probs_of(raw: Mapping[str, Any]) -> Probs:
    """What a chat asks for: `logprobs` and `top_logprobs`.

    Raises:
        BadRequest: naming the field.
    """
    wanted = raw.get("logprobs", False)
    if not isinstance(wanted, bool):
        raise bad_field("logprobs", "expected true or false; how many is top_logprobs")
    if not wanted:
        if "top_logprobs" in raw:
            raise bad_field("top_logprobs", "top_logprobs requires logprobs to be set to true")
        return Probs(_count(raw, "n_probs", 0), _post(raw))
    if raw.get("tools") and raw.get("stream"):
        raise bad_field("logprobs", "logprobs is not supported with tools + stream")
    # Without rivals there still is the token itself.
    return Probs(max(1, _count(raw, "top_logprobs", _CHAT_DEFAULT)), _post(raw))


def native_probs(probs: Iterable[TokenProbs], *, post: bool) -> list[dict[str, Any]]:
    """The value of `completion_probabilities`; `post`: they are from after the samplers."""
    measure, rivals = ("prob", "top_probs") if post else ("logprob", "top_logprobs")
    return [
        _token(each.token, each.piece, measure, each.logprob)
        | {rivals: [_token(token, piece, measure, value) for token, piece, value in each.top]}
        for each in probs
    ]


def openai_logprobs(probs: Iterable[TokenProbs], *, post: bool = False) -> dict[str, Any] | None:
    """The value of a choice's `logprobs`, which for chats and completions is the same; None if there are none."""
    content = native_probs(probs, post=post)
    return {"content": content} if content else None


def _token(token: int, piece: bytes, measure: str, value: float) -> dict[str, Any]:
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(piece)  # an unfinished character is left out
    finite = value if math.isfinite(value) else -FLOAT_MAX  # JSON has no infinity
    return {"id": token, "token": text, "bytes": list(piece), measure: finite}


def _count(raw: Mapping[str, Any], name: str, default: int) -> int:
    value = raw.get(name, default) or 0  # false is how some clients say none
    value = int(value) if type(value) is float and value.is_integer() else value
    if type(value) is not int:
        raise bad_field(name, f"expected an integer, but got {value!r:.40}")
    return within(name, value, 0, MAX_PROBS)


def _post(raw: Mapping[str, Any]) -> bool:
    value = raw.get("post_sampling_probs", False)
    if not isinstance(value, bool):
        raise bad_field("post_sampling_probs", f"expected true or false, but got {value!r:.40}")
    return value


FIELDS = {
    "n_probs": given(int, f"likeliest tokens that are told with each token of the answer; 0 to {MAX_PROBS}", default=0),
    "logprobs": given(int, "the same, if `n_probs` is not given", default=0),
    "post_sampling_probs": given(bool, "probabilities after the samplers instead of logarithms before", default=False),
}
"""Of native bodies and text completions."""

CHAT_FIELDS = FIELDS | {
    "logprobs": given(bool, "tell log probabilities; not together with tools in a stream", default=False),
    "top_logprobs": given(int, f"likeliest tokens that are told with each; 0 to {MAX_PROBS}", default=_CHAT_DEFAULT),
}
