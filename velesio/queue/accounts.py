"""Accounts: what was used, by key, tenant and model, in each day and hour, for as long as `queue.usage_days` says."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from velesio.errors import Unreadable
from velesio.queue import wire
from velesio.queue.broker import Broker

Period = Literal["day", "hour"]

_STEPS: dict[Period, tuple[str, int]] = {"day": ("d", 86400), "hour": ("h", 3600)}
OTHERS = "(others)"
"""What stands for all rows beyond `queue.usage_rows`."""
MEASURES = (
    "requests",
    "failed",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "images",
    "gpu_seconds",
)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one key has had one model do in one day or hour."""

    start: str
    """When it began, in ISO 8601, UTC: a date, or a date and an hour."""
    key: str = ""
    """A key's id; a configured key's name."""
    tenant: str = ""
    model: str = ""
    requests: int = 0
    failed: int = 0
    """Jobs that failed."""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    """Part of `prompt_tokens` that was not computed again."""
    images: int = 0
    gpu_seconds: float = 0.0
    """Of engines' time, a job's share where jobs are computed together."""


_amounts: Callable[[bytes], list[float]] = wire.reader(list[float])


async def read(broker: Broker, period: Period, first: datetime, last: datetime) -> list[Row]:
    """The rows of the days or hours from the one of `first` to the one of `last`, the oldest first.

    Raises:
        Unreadable, BrokerUnavailable
    """
    letter, step = _STEPS[period]
    rows: list[Row] = []
    for place in range(int(first.timestamp()) // step, int(last.timestamp()) // step + 1):
        found = await broker.command("HGETALL", f"{broker.keys.root}use:{letter}:{place}")
        start = datetime.fromtimestamp(place * step, UTC)
        named = start.strftime("%Y-%m-%d" if period == "day" else "%Y-%m-%dT%H:00Z")
        rows += sorted((read_row(named, who, body) for who, body in found.items()), key=_order)
    return rows


def read_row(start: str, who: bytes, body: bytes) -> Row:
    """A row from what stands in an account.

    Raises:
        Unreadable
    """
    try:
        return _row(start, who, body)
    except (ValueError, OverflowError) as error:  # no text, no numbers, or infinite ones
        raise Unreadable(f"{Unreadable.__doc__} {error}") from None


def _row(start: str, who: bytes, body: bytes) -> Row:
    key, tenant, model = (*who.decode().split("\x1f"), "", "")[:3]
    if not key and not model:
        key = tenant = model = OTHERS
    *whole, milliseconds = _amounts(body)[: len(MEASURES)]
    amounts = dict(zip(MEASURES, map(int, whole), strict=False))
    return Row(start=start, key=key, tenant=tenant, model=model, gpu_seconds=round(milliseconds / 1000, 3), **amounts)


def _order(row: Row) -> tuple[str, str, str]:
    return row.tenant, row.key, row.model


def longest(broker: Broker, period: Period) -> int:
    """Days for which such accounts are kept."""
    settings = broker.settings
    return settings.usage_days if period == "day" else max(1, settings.usage_hours // 24)


def total(rows: Iterable[Row], start: str = "") -> Row:
    """Their sum."""
    rows = list(rows)
    sums = {name: sum(getattr(row, name) for row in rows) for name in MEASURES}
    sums["gpu_seconds"] = round(sums["gpu_seconds"], 3)
    return Row(start=start, **sums)


def days(first: str, last: str, now: datetime, longest: int) -> tuple[datetime, datetime]:
    """The first and the last moment of a range of days in ISO 8601; empty: thirty days up to now, or
    `longest` if that is less, which is the most.

    Raises:
        ValueError: naming what is wrong.
    """
    end = _day(last, "to") + timedelta(days=1, seconds=-1) if last else now
    begin = _day(first, "from") if first else end - timedelta(days=min(30, longest) - 1)
    if begin > end:
        raise ValueError("from: is after the end")
    if (end - begin).days > longest:
        raise ValueError(f"from: the range is longer than {longest} days, for which accounts are kept")
    return begin, end


def _day(text: str, name: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{name}: expected a day like 2027-01-31, but got {text!r}") from None


def table(rows: Sequence[Row]) -> list[list[str]]:
    """Rows as cells under a heading."""
    names = list(Row.__struct_fields__)
    return [names, *([_cell(getattr(row, name)) for name in names] for row in rows)]


def _cell(value: str | float) -> str:
    """A spreadsheet takes a cell for a formula that begins so, and names are what users chose."""
    text = value if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
    return f"'{text}" if isinstance(value, str) and text[:1] in {"=", "+", "-", "@", "\t"} else text
