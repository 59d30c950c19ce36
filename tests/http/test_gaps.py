"""Fields that are not honoured yet are refused, unless they ask for nothing."""

from typing import Any

import pytest

from velesio.errors import Unsupported
from velesio.http import gaps

UNITY = {
    "id_slot": -1,
    "n_keep": 0,
    "temperature": 0.2,
    "n_predict": -1,
    "typical_p": 1,
    "mirostat": 0,
    "mirostat_tau": 5,
    "mirostat_eta": 0.1,
    "seed": 0,
    "ignore_eos": False,
    "n_probs": 0,
    "cache_prompt": True,
    "grammar": "",
    "json_schema": "",
    "lora": [],
}


@pytest.mark.parametrize(
    "raw",
    [
        UNITY,
        {"t_max_predict_ms": -1, "adaptive_target": -1.0, "logprobs": False, "return_progress": False},
        {"json_schema": []},
    ],
)
def test_defaults_in_a_body_ask_for_nothing(raw: dict[str, Any]) -> None:
    """Clients send every field of their settings."""
    gaps.refuse(raw, gaps.SAMPLING)


@pytest.mark.parametrize(
    "raw",
    [
        {"tools": []},
        {"tool_choice": "none"},
        {"tool_choice": "auto"},
        {"response_format": {"type": "text"}},
        {"modalities": ["text"]},
        {"logprobs": False, "top_logprobs": 0},
        {"reasoning_budget_tokens": -1},
    ],
)
def test_chat_defaults_ask_for_nothing(raw: dict[str, Any]) -> None:
    """The same for the fields of a chat."""
    gaps.refuse(raw, gaps.CHAT)


@pytest.mark.parametrize(
    ("table", "name", "value"),
    [
        (gaps.SAMPLING, "grammar", 'root ::= "a"'),
        (gaps.SAMPLING, "json_schema", {}),
        (gaps.SAMPLING, "json_schema", {"type": "object"}),
        (gaps.SAMPLING, "n_probs", 1),
        (gaps.SAMPLING, "logprobs", 1),
        (gaps.SAMPLING, "adaptive_target", 0.0),
        (gaps.COMPLETION, "echo", True),
        (gaps.COMPLETION, "suffix", "end"),
        (gaps.COMPLETION, "best_of", 2),
        (gaps.CHAT, "tools", [{"type": "function"}]),
        (gaps.CHAT, "tool_choice", "required"),
        (gaps.CHAT, "tool_choice", {"type": "function"}),
        (gaps.CHAT, "response_format", {"type": "json_object"}),
        (gaps.CHAT, "logprobs", True),
        (gaps.CHAT, "modalities", ["text", "audio"]),
        (gaps.CHAT, "continue_final_message", True),
        (gaps.CHAT, "thinking_budget_tokens", 0),
    ],
)
def test_what_asks_for_something_is_refused(table: gaps.Gaps, name: str, value: Any) -> None:
    """With 501, and the field's name."""
    with pytest.raises(Unsupported, match=f"Field '{name}'.*not supported yet") as caught:
        gaps.refuse({name: value}, table)
    assert caught.value.param == name
    assert caught.value.status == 501
