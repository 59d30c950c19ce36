"""Parts of a text answer that llama.cpp's and OpenAI's clients read alike: counts, times, why it ended."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from velesio import __version__
from velesio.jobs import Progress, TextResult, Timings, Usage

FINGERPRINT = f"velesio-{__version__}"
"""Who answers."""


class StreamOptions(msgspec.Struct):
    """`stream_options`."""

    include_usage: bool = False
    include_obfuscation: bool = False
    """Accepted: nothing is ever obfuscated."""


class Stopwatch:
    """`timings` while an answer is being made, as seen from here: the wait in the queue is part of them. The worker's
    own times come with the end."""

    def __init__(self) -> None:
        """Made when the request is queued."""
        self._began = time.monotonic()
        self._first = 0.0
        self._prompt_tokens = 0

    def start(self, prompt_tokens: int) -> None:
        """The prompt is known."""
        self._prompt_tokens = prompt_tokens

    def timings(self, predicted: int) -> dict[str, Any]:
        """Now, after so many tokens."""
        now = time.monotonic()
        self._first = self._first or now
        times = Timings((self._first - self._began) * 1000, (now - self._first) * 1000)
        return timings_of(Usage(self._prompt_tokens, predicted), times)


def progress_timings(event: Progress) -> dict[str, Any]:
    """`timings` while the prompt is computed."""
    return timings_of(Usage(event.done, 0, event.cached), Timings(event.ms))


def progress_of(event: Progress) -> dict[str, Any]:
    """`prompt_progress`: tokens of the prompt, and milliseconds."""
    return {"total": event.total, "cache": event.cached, "processed": event.done, "time_ms": int(event.ms)}


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


def finish_reason(result: TextResult, *, called: bool = False) -> str:
    """OpenAI's word for why an answer ended; `called`: it calls tools."""
    if result.stop == "limit":
        return "length"
    return "tool_calls" if called else "stop"
