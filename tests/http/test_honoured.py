"""Every documented field is honoured or refused: each one of the tables is tried on the route's own reader."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from velesio.errors import BadRequest
from velesio.http import embeddings
from velesio.http.fields import Field
from velesio.http.llamacpp import completion as llamacpp
from velesio.http.llamacpp import infill, rerank, tokens
from velesio.http.openai import chat as openai_chat
from velesio.http.openai import completions as openai_completions
from velesio.http.openai import images as openai_images
from velesio.http.openai import images_requests, responses_requests
from velesio.http.openai import predict as openai_predict
from velesio.http.openai import responses as openai_responses
from velesio.http.operations import Operation

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
FLAT = {"type": "function", "name": "f", "parameters": {"type": "object"}}
LAZY = {"grammar": "root ::= [a]", "grammar_lazy": True, "grammar_triggers": [{"type": 1, "value": "<a>"}]}
HI = {"messages": [{"role": "user", "content": "Hi"}]}

VALUES: Mapping[str, Any] = {
    "model": "m", "stream": True, "stop": "x", "cache_prompt": False, "id_slot": 2, "n_predict": 7,
    "max_completion_tokens": 7, "max_tokens": 7, "n_cmpl": 2, "n": 2, "n_keep": 3, "n_discard": 4, "n_indent": 2,
    "t_max_predict_ms": 1000, "return_progress": True, "timings_per_token": True, "verbose": True,
    "sse_ping_interval": 5, "lora": [{"id": 0, "scale": 0.5}], "seed": 7, "temperature": 0.1, "dynatemp_range": 0.5,
    "dynatemp_exponent": 2.0, "top_k": 7, "top_p": 0.5, "min_p": 0.2, "top_n_sigma": 1.0, "xtc_probability": 0.5,
    "xtc_threshold": 0.2, "typical_p": 0.5, "repeat_last_n": 7, "repeat_penalty": 1.2, "presence_penalty": 0.5,
    "frequency_penalty": 0.5, "dry_multiplier": 0.5, "dry_base": 2.0, "dry_allowed_length": 3,
    "dry_penalty_last_n": 7, "dry_sequence_breakers": ["x"], "mirostat": 1, "mirostat_tau": 4.0, "mirostat_eta": 0.2,
    "adaptive_target": 0.5, "adaptive_decay": 0.5, "min_keep": 2, "samplers": "kt", "logit_bias": [[5, -1.0]],
    "ignore_eos": True, "grammar": "root ::= [a]", "json_schema": {"type": "integer"}, "n_probs": 3, "logprobs": 3,
    "post_sampling_probs": True, "prompt": "y", "return_tokens": True, "response_fields": ["content"],
    "stream_options": {"include_usage": True}, "input_prefix": "p", "input_suffix": "s",
    "input_extra": [{"filename": "f", "text": "t"}], "messages": [{"role": "user", "content": "Hey"}],
    "tools": [TOOL], "parallel_tool_calls": False, "response_format": {"type": "json_object"},
    "reasoning_format": "none", "reasoning_effort": "low", "reasoning_budget_tokens": 5, "thinking_budget_tokens": 5,
    "reasoning_budget": 5, "enable_thinking": False, "chat_template_kwargs": {"a": 1}, "add_generation_prompt": False,
    "input": "y", "content": "y", "encoding_format": "base64", "embd_normalize": 0, "dimensions": 3,
    "documents": ["y"], "texts": ["y"], "query": "z", "top_n": 1, "return_text": True, "add_special": True,
    "parse_special": False, "with_pieces": True, "tokens": [7], "instructions": "Be brief.", "max_output_tokens": 7,
    "text": {"format": {"type": "json_object"}}, "reasoning": {"effort": "low"}, "metadata": {"a": "b"},
    "size": "32x32", "quality": "high", "negative_prompt": "n", "steps": 7, "cfg_scale": 3.0, "sampler": "Heun",
    "schedule": "karras", "partial_images": 2, "output_format": "webp", "output_compression": 70, "strength": 0.2,
    "image": "eA==", "images": ["eQ=="], "mask": "eA==",
}  # fmt: skip
"""A value that asks for something, by field."""

BESIDE: Mapping[str, dict[str, Any]] = {
    "grammar_lazy": LAZY,
    "grammar_triggers": LAZY,
    "preserved_tokens": {"grammar": "root ::= [a]", "preserved_tokens": ["<a>"]},
    "tool_choice": {"tools": [TOOL], "tool_choice": "required"},
    "continue_final_message": {
        "messages": [*HI["messages"], {"role": "assistant", "content": "He"}],
        "continue_final_message": False,
    },
    "top_logprobs": {"logprobs": True, "top_logprobs": 3},
    "include": {"include": ["message.output_text.logprobs"]},
}
"""Fields that mean something only together with others."""

OF_RESPONSES = {"tools": [FLAT], "tool_choice": {"tools": [FLAT], "tool_choice": "required"}, "top_logprobs": 3}

READERS: Mapping[str, tuple[Callable[[Mapping[str, Any]], Any], dict[str, Any], Operation]] = {
    "completion": (llamacpp.read, {"prompt": "x"}, llamacpp.API[0]),
    "infill": (infill.read, {"input_prefix": "", "input_suffix": ""}, infill.API[0]),
    "chat": (openai_chat.read, HI, openai_chat.API[0]),
    "completions": (openai_completions.read, {"prompt": "x"}, openai_completions.API[0]),
    "responses": (responses_requests.read, {"input": "x"}, openai_responses.API[0]),
    "embeddings": (embeddings.read, {"input": "x"}, embeddings.API[0]),
    "rerank": (rerank.read, {"query": "x", "documents": ["x", "z"]}, rerank.API[0]),
    "tokenize": (tokens.read_tokenize, {"content": "x"}, tokens.API[0]),
    "generations": (images_requests.read_generation, {"prompt": "x"}, openai_images.API[0]),
    "edits": (images_requests.read_edit, {"prompt": "x", "image": "eg=="}, openai_images.API[1]),
    "variations": (images_requests.read_variation, {"image": "eg=="}, openai_images.API[2]),
    "detokenize": (tokens.read_detokenize, {"tokens": [5]}, tokens.API[1]),
}

ELSEWHERE = {"session_id"}
"""Fields that are read before the reader: sessions have tests of their own, in test_talks and test_sessions."""

CASES = [
    (route, name, field)
    for route, (*_, op) in READERS.items()
    for name, field in op.every_field.items()
    if name not in ELSEWHERE
]
IDS = [f"{route}-{name}" for route, name, _ in CASES]


def changed(route: str, name: str) -> dict[str, Any]:
    """A body of the route in which the field asks for something."""
    base = READERS[route][1]
    special = OF_RESPONSES if route == "responses" else {}
    if route == "chat" and name == "logprobs":
        return base | {"logprobs": True}
    if name in special:
        value = special[name]
        return base | (value if isinstance(value, dict) else {name: value})
    if name in {"content", "texts", "images"} and name not in base:
        base = {key: value for key, value in base.items() if key not in {"input", "documents", "image"}}
    return base | (BESIDE[name] if name in BESIDE else {name: VALUES[name]})


@pytest.mark.parametrize(("route", "name", "field"), [case for case in CASES if case[2].fate == "honoured"])
def test_what_is_honoured_changes_what_is_asked(route: str, name: str, field: Field) -> None:
    """Of the job, or of how its answer is written."""
    body = changed(route, name)
    without = {key: value for key, value in body.items() if key != name}
    assert outcome(route, body) != outcome(route, without)
    assert not isinstance(outcome(route, body), str)


def outcome(route: str, body: dict[str, Any]) -> Any:
    """What is asked; of a body that cannot be read, why."""
    try:
        return READERS[route][0](body)
    except BadRequest as error:
        return error.message


@pytest.mark.parametrize(("route", "name", "field"), [case for case in CASES if case[2].fate == "no effect"])
def test_what_has_no_effect_changes_nothing(route: str, name: str, field: Field) -> None:
    """Whatever it is."""
    read, base, _ = READERS[route]
    for value in ("x", {"a": 1}, 5, True):
        assert read(base | {name: value}) == read(base)


@pytest.mark.parametrize(("route", "name", "field"), [case for case in CASES if case[2].fate == "refused"])
def test_what_is_refused_is_named(route: str, name: str, field: Field) -> None:
    """If it asks for something."""
    read, base, _ = READERS[route]
    with pytest.raises(BadRequest) as caught:
        read(base | {name: {"x": 1} if name not in {"n", "n_cmpl"} else 2})
    assert caught.value.param == name


def test_predictions_are_chats() -> None:
    """Their fields are those of chats."""
    (one,) = openai_predict.read({"instances": [{"@requestFormat": "chatCompletions", **HI, "seed": 5}]})
    assert one == openai_chat.read(HI | {"seed": 5})
