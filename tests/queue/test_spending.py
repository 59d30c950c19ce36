"""What jobs have used, however they end."""

import pytest

from velesio.jobs import (
    Cancelled,
    Completed,
    Delta,
    EmbedResult,
    ImageResult,
    Progress,
    RerankResult,
    Result,
    Started,
    TextResult,
    TokensResult,
    Usage,
)
from velesio.queue.limits import Spent
from velesio.queue.spending import Spending


@pytest.mark.parametrize(
    ("result", "spent"),
    [
        (TextResult("a", usage=Usage(5, 2, 3)), Spent(5, 2, 3)),
        (ImageResult((b"1", b"2"), prompt_tokens=7), Spent(7, images=2)),
        (EmbedResult((b"",), 1, (3, 4)), Spent(7)),
        (RerankResult((0.5,), 9), Spent(9)),
        (TokensResult((1, 2)), Spent()),
    ],
)
def test_a_result_tells_what_was_used(result: Result, spent: Spent) -> None:
    """Tokens, pictures, and the engine's time in whole milliseconds beside."""
    told = Spending().at_end(Completed(result), 1.2345)
    assert told == Spent(spent.prompt_tokens, spent.completion_tokens, spent.cached_tokens, spent.images, 1234)


def test_without_a_result_what_was_seen_counts() -> None:
    """A job that is cancelled has used its prompt and the tokens that were said."""
    spending = Spending()
    for event in (Started(12), Progress(8, 12, 4), Delta("a", (1,), 1), Delta("b", (2, 3), 3)):
        spending.see(event)
    assert spending.at_end(Cancelled(), 0.0) == Spent(12, 3, 4)
