"""Request fields that Velesio does not honour yet: refused rather than silently ignored.

Clients send many of these with values that ask for nothing (0, false, "", [], llama.cpp's own defaults); those pass.
"""

from collections.abc import Callable, Mapping
from typing import Any

from velesio.errors import Unsupported


def _not_empty(value: Any) -> bool:
    return bool(value)


def _from_zero(value: Any) -> bool:
    return not isinstance(value, int | float) or value >= 0


def _unless(*idle: Any) -> Callable[[Any], bool]:
    return lambda value: bool(value) and value not in idle


Gaps = Mapping[str, tuple[Callable[[Any], bool], str]]
"""Field → whether a value asks for something, and what that is."""

SAMPLING: Gaps = {
    "grammar": (_not_empty, "grammars are"),
    "json_schema": (lambda value: value not in ("", []), "answers by JSON schema are"),
    "n_probs": (_not_empty, "token probabilities are"),
    "logprobs": (_not_empty, "token probabilities are"),
    "adaptive_target": (_from_zero, "the adaptive-p sampler is"),
    "image_data": (_not_empty, "images in prompts are"),
}
"""Fields that every text route of llama.cpp's and OpenAI's families takes."""

COMPLETION: Gaps = {
    **SAMPLING,
    "echo": (_not_empty, "echoing the prompt is"),
    "suffix": (_not_empty, "completion before a suffix is"),
    "best_of": (_unless(1), "choosing the best of several answers is"),
}

CHAT: Gaps = {
    **SAMPLING,
    "tools": (_not_empty, "tools are"),
    "functions": (_not_empty, "functions are"),
    "tool_choice": (_unless("auto", "none"), "tools are"),
    "function_call": (_unless("auto", "none"), "functions are"),
    "response_format": (_unless({"type": "text"}), "answers by response format are"),
    "top_logprobs": (_not_empty, "token probabilities are"),
    "modalities": (_unless(["text"]), "answers other than text are"),
    "audio": (_not_empty, "spoken answers are"),
    "web_search_options": (_not_empty, "web search is"),
    "continue_final_message": (_not_empty, "continuing the last message is"),
    "reasoning_control": (_not_empty, "control of the reasoning is"),
    "reasoning_budget_tokens": (_from_zero, "a budget for reasoning is"),
    "thinking_budget_tokens": (_from_zero, "a budget for reasoning is"),
}


def refuse(raw: Mapping[str, Any], gaps: Gaps) -> None:
    """Nothing, if the body asks for nothing that is in `gaps`.

    Raises:
        Unsupported: naming the field.
    """
    for name in gaps.keys() & raw.keys():
        asks, what = gaps[name]
        if asks(raw[name]):
            raise Unsupported(f"Field '{name}': {what} not supported yet; leave the field out", param=name)
