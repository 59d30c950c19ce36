"""Pace: how fast the engines were between two looks at what they have computed."""

from velesio.states import Counts


class Pace:
    """Tokens per second between two scrapes."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, ...], Counts] = {}

    def since_last(self, models: tuple[str, ...], now: Counts) -> tuple[float, float]:
        """Of prompts and of answers, since these models were last asked about; 0 where nothing was computed."""
        last = self._last.get(models, Counts())
        self._last[models] = now
        return (
            _rate(now.prompt_tokens - last.prompt_tokens, now.prompt_seconds - last.prompt_seconds),
            _rate(now.generated_tokens - last.generated_tokens, now.generated_seconds - last.generated_seconds),
        )


def _rate(tokens: int, seconds: float) -> float:
    return tokens / seconds if tokens > 0 and seconds > 0 else 0.0
