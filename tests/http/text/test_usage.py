"""Counts and times: finite whatever the numbers are."""

import math

import pytest

from velesio.http.text.usage import finish_reason, timings_of, usage_of
from velesio.jobs import TextResult, Timings, Usage


@pytest.mark.parametrize(
    ("usage", "times", "rates"),
    [
        (Usage(1, 4), Timings(12.197, 21.978), (12.197, 81.98737394441257, 7.3260000000000005, 136.50013650013648)),
        (Usage(4, 1), Timings(18.434, 0.001), (4.6085, 216.99034392969511, 0.0, 0.0)),
        (Usage(0, 0), Timings(), (0.0, 0.0, 0.0, 0.0)),
        (Usage(5, 3, 5), Timings(0.0, 0.0), (0.0, 0.0, 0.0, 0.0)),
    ],
)
def test_rates(usage: Usage, times: Timings, rates: tuple[float, ...]) -> None:
    """As in the captures; one token has no rate."""
    timings = timings_of(usage, times)
    names = ("prompt_per_token_ms", "prompt_per_second", "predicted_per_token_ms", "predicted_per_second")
    assert tuple(timings[name] for name in names) == rates
    assert all(math.isfinite(value) for value in timings.values())


def test_a_prompt_counts_once_for_all_its_choices() -> None:
    """Two prompts with two choices each."""
    results = [TextResult("", usage=Usage(*counts)) for counts in ((3, 1, 2), (3, 2, 3), (5, 4, 0), (5, 8, 5))]
    assert usage_of(results, 2) == {
        "completion_tokens": 15,
        "prompt_tokens": 8,
        "total_tokens": 23,
        "prompt_tokens_details": {"cached_tokens": 2},
    }


def test_why_an_answer_ended() -> None:
    """OpenAI knows length and stop."""
    assert [finish_reason(TextResult("", stop=stop)) for stop in ("eos", "word", "limit")] == ["stop", "stop", "length"]
