"""Series: what workers measure, in spans of ten seconds, for an hour; every gateway reads the same from the broker.

A worker adds what it has measured once a second, by `Meter`. A span is a hash in the broker: how many jobs ended, how
many tokens and pictures were made with each model, and histograms of times, in bins that are a fifth wider each.
"""

import math
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

from msgspec import Struct

from velesio.jobs import Completed, Failed, Final, ImageResult, TextResult
from velesio.queue.broker import Broker
from velesio.queue.lease import Lease
from velesio.queue.tasks import Loop

STEP = 10
"""Seconds of a span, as the scripts have it."""
SPANS = 360
"""Spans that are kept."""
_BINS_PER_DOUBLING = 4
_AT_ONCE = 500

Span = Mapping[str, int]
"""Values by name: `tokens <model>`, `first.12 <model>`."""


def note_first_text(lease: Lease, final: Final) -> None:
    """When the first text was there of an answer that nobody reads as it comes."""
    if isinstance(final, Completed) and isinstance(final.result, TextResult) and not lease.spoke:
        usage, timings = final.result.usage, final.result.timings
        if usage.completion_tokens:
            lease.spoke = max(lease.began, time.monotonic() - timings.predicted_ms / 1000)


class Meter:
    """What one worker has measured since it last told the broker."""

    def __init__(self, broker: Broker, pause: float = 1.0) -> None:
        self._broker = broker
        self._values: Counter[str] = Counter()
        self._loop = Loop("meter", self.tell, pause=pause)

    def start(self) -> None:
        """Tell the broker again and again."""
        self._loop.start()

    async def close(self) -> None:
        """Tell the rest, unless the broker is away."""
        await self._loop.close()
        await self.tell()

    def said(self, lease: Lease, tokens: int) -> None:
        """A job got so many tokens further."""
        lease.spoke = lease.spoke or time.monotonic()
        lease.counted += tokens
        self._values[f"tokens {lease.job.model}"] += tokens

    def ended(self, lease: Lease, final: Final) -> None:
        """A job has ended; of its tokens those count now that were not told before."""
        now, model = time.monotonic(), lease.job.model
        if not isinstance(final, Completed):
            self._values[f"failed {model}"] += isinstance(final, Failed)
            return
        result = final.result
        if isinstance(result, TextResult):
            self._values[f"tokens {model}"] += max(0, result.usage.completion_tokens - lease.counted)
        elif isinstance(result, ImageResult):
            self._values[f"pictures {model}"] += len(result.pictures)
        self._values[f"done {model}"] += 1
        self._note("waited", model, lease.waited)
        self._note("took", model, lease.waited + now - lease.began)
        if lease.spoke:
            self._note("first", model, lease.waited + lease.spoke - lease.began)

    def _note(self, what: str, model: str, seconds: float) -> None:
        self._values[f"{what}.{bin_of(seconds)} {model}"] += 1

    async def tell(self) -> None:
        """Add to the series what there is.

        Raises:
            BrokerUnavailable: it is lost; a value that counts twice would be worse.
        """
        values, self._values = self._values, Counter()
        pairs = [(name, value) for name, value in values.items() if value]
        for start in range(0, len(pairs), _AT_ONCE):
            some = [item for pair in pairs[start : start + _AT_ONCE] for item in pair]
            await self._broker.run("measure", 0, *some, retry=False)


def bin_of(seconds: float) -> int:
    """The bin of a histogram."""
    return max(0, math.ceil(_BINS_PER_DOUBLING * math.log2(max(seconds * 1000, 1.0))))


def middle_of(number: int) -> float:
    """The milliseconds that a bin stands for."""
    return float(2 ** ((number - 0.5) / _BINS_PER_DOUBLING)) if number else 1.0


class Times(Struct, frozen=True):
    """Milliseconds, to within a tenth."""

    p50: float
    p95: float


class Point(Struct, frozen=True, kw_only=True):
    """What happened in some seconds."""

    at: int
    """Unix seconds of the broker's clock, at their beginning."""
    done: int = 0
    failed: int = 0
    tokens_per_s: float = 0.0
    images_per_min: float = 0.0
    first_token_ms: Times | None = None
    """From the job's place in the queue to its first text; None: there was none."""
    latency_ms: Times | None = None
    """From there to its end."""
    waited_ms: Times | None = None
    """From there to its lease."""


def read_spans(found: Iterable[Any]) -> dict[int, Span]:
    """Spans by number, from what scripts answer."""
    return {
        number: {
            name.decode(errors="replace"): int(value) for name, value in zip(values[::2], values[1::2], strict=True)
        }
        for number, values in found
    }


def point(at: int, spans: Iterable[Span], seconds: float = STEP, model: str | None = None) -> Point:
    """The sum of spans that together last so long; of one model, or of all."""
    total: Counter[str] = Counter()
    for span in spans:
        for name, value in span.items():
            what, _, of = name.partition(" ")
            if model is None or of == model:
                total[what] += value
    return Point(
        at=at,
        done=total["done"],
        failed=total["failed"],
        tokens_per_s=round(total["tokens"] / seconds, 2),
        images_per_min=round(total["pictures"] * 60 / seconds, 2),
        first_token_ms=_times(total, "first."),
        latency_ms=_times(total, "took."),
        waited_ms=_times(total, "waited."),
    )


def _times(total: Mapping[str, int], prefix: str) -> Times | None:
    bins = sorted((int(name[len(prefix) :]), count) for name, count in total.items() if name.startswith(prefix))
    return Times(_quantile(bins, 0.5), _quantile(bins, 0.95)) if bins else None


def _quantile(bins: list[tuple[int, int]], part: float) -> float:
    """Of bins in their order."""
    up_to = list(accumulate(count for _, count in bins))
    place = bisect_left(up_to, part * up_to[-1])
    return round(middle_of(bins[place][0]), 1)
