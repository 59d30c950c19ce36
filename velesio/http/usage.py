"""Parts of a text answer that llama.cpp's and OpenAI's clients read alike: counts, times, why it ended."""

from collections.abc import Sequence
from typing import Any

import msgspec

from velesio.jobs import TextResult, Timings, Usage


class StreamOptions(msgspec.Struct):
    """`stream_options`."""

    include_usage: bool = False
    include_obfuscation: bool = False
    """Accepted: nothing is ever obfuscated."""


def timings_of(usage: Usage, times: Timings) -> dict[str, Any]:
    """The `timings` object: milliseconds and rates, all finite. The first token comes with the prompt, so the rate of
    generation counts one step less than there are tokens. Tokens that were guessed ahead are told if there are any."""
    computed = usage.prompt_tokens - usage.cached_tokens
    steps = max(0, usage.completion_tokens - 1)
    told = {
        "cache_n": usage.cached_tokens,
        "prompt_n": computed,
        "prompt_ms": times.prompt_ms,
        "prompt_per_token_ms": _ratio(times.prompt_ms, computed),
        "prompt_per_second": _ratio(1000.0 * computed, times.prompt_ms),
        "predicted_n": usage.completion_tokens,
        "predicted_ms": times.predicted_ms,
        "predicted_per_token_ms": _ratio(times.predicted_ms, steps),
        "predicted_per_second": _ratio(1000.0 * steps, times.predicted_ms),
    }
    if times.drafted:
        told |= {"draft_n": times.drafted, "draft_n_accepted": times.accepted}
    return told


def _ratio(amount: float, of: float) -> float:
    return amount / of if of > 0 else 0.0


def usage_of(results: Sequence[TextResult], choices: int = 1) -> dict[str, Any]:
    """The `usage` object of answers to one or several prompts, `choices` for each: a prompt counts once, with its
    first choice."""
    prompts = [result.usage for result in results[::choices]]
    prompt = sum(each.prompt_tokens for each in prompts)
    completion = sum(result.usage.completion_tokens for result in results)
    return {
        "completion_tokens": completion,
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": sum(each.cached_tokens for each in prompts)},
    }


def finish_reason(result: TextResult) -> str:
    """OpenAI's word for why an answer ended."""
    return "length" if result.stop == "limit" else "stop"
