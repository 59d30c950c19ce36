"""Spending: what a job has used, from what its engine says while it is computed and at its end."""

from velesio.jobs import (
    Completed,
    Delta,
    EmbedResult,
    Event,
    Final,
    ImageResult,
    Progress,
    RerankResult,
    Result,
    Started,
    TextResult,
)
from velesio.queue.limits import Spent


class Spending:
    """One job's, so far: what is known if it ends without a result."""

    __slots__ = ("_cached", "_read", "_written")

    def __init__(self) -> None:
        self._read = self._written = self._cached = 0

    def see(self, event: Event) -> None:
        """An event of the job."""
        if type(event) is Delta:
            self._written = max(event.predicted, self._written + len(event.tokens))
            return
        if isinstance(event, Started):
            self._read = event.prompt_tokens
        elif isinstance(event, Progress):
            self._cached = event.cached

    def at_end(self, final: Final, seconds: float) -> Spent:
        """All of it; `seconds` of an engine's time are the job's share."""
        spent = _of(final.result) if isinstance(final, Completed) else Spent(self._read, self._written, self._cached)
        return Spent(spent.prompt_tokens, spent.completion_tokens, spent.cached_tokens, spent.images, _ms(seconds))


def _of(result: Result) -> Spent:
    match result:
        case TextResult(usage=usage):
            return Spent(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens)
        case ImageResult():
            return Spent(result.prompt_tokens, images=len(result.pictures))
        case EmbedResult():
            return Spent(sum(result.tokens))
        case RerankResult():
            return Spent(result.tokens)
        case _:
            return Spent()


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
