"""Numbers within bounds, as grammars over their JSON text. Pure."""

import math
from collections.abc import Mapping
from typing import Any

_DIGITS = 15
"""Digits of a number without a bound; floats are exact for whole ones of that length."""
_FURTHEST = 10**_DIGITS
_EXACT = 10**9
"""Bounds up to which a fraction of `_PLACES` digits is not rounded to them."""
_PLACES = 6
_LISTED = 200
"""Numbers that are written out where bounds lie closer together than 1."""


class EmptyRangeError(ValueError):
    """No number lies within the bounds."""


def expression(schema: Mapping[str, Any], *, whole: bool) -> str:
    """A grammar's expression for the numbers that a schema's bounds allow, or for some of them; empty without bounds.

    Raises:
        ValueError: there is none, or the schema asks for multiples.
    """
    step = schema.get("multipleOf", 1)
    if step != 1:
        raise ValueError("multipleOf: a grammar cannot hold an answer to that; leave it out")
    whole = whole or "multipleOf" in schema
    low, high = _bounds(schema)
    if low is None and high is None:
        return ""
    parts = _integers(None if low is None else _least(low), None if high is None else _most(high))
    if not whole:
        parts += _fractions(low, high)
    if not parts:
        raise EmptyRangeError("no number lies between its bounds")
    return " | ".join(parts)


def _bounds(schema: Mapping[str, Any]) -> tuple[tuple[float, bool] | None, tuple[float, bool] | None]:
    """(bound, whether it is excluded) at both ends."""
    lows: list[tuple[float, bool]] = []
    highs: list[tuple[float, bool]] = []
    for keyword in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"):
        found = lows if keyword.endswith("inimum") else highs
        value = schema.get(keyword)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if not math.isfinite(value):
            raise ValueError(f"{keyword} is not finite")
        if abs(value) >= _FURTHEST:
            if (value > 0) == (found is lows):
                raise ValueError(f"{keyword}: bounds are less than 10 to the power of {_DIGITS}")
            continue  # no number that is written here gets there
        found.append((value, keyword.startswith("exclusive")))
    return max(lows, default=None), min(highs, key=lambda bound: (bound[0], not bound[1]), default=None)


def _least(low: tuple[float, bool]) -> int:
    """The least whole number that a lower bound allows."""
    return math.floor(low[0]) + 1 if low[1] else math.ceil(low[0])


def _most(high: tuple[float, bool]) -> int:
    """The largest whole number that an upper bound allows."""
    return math.ceil(high[0]) - 1 if high[1] else math.floor(high[0])


def _integers(least: int | None, most: int | None) -> list[str]:
    if least is not None and most is not None and least > most:
        return []
    parts = []
    if least is None or least < 0:
        nearest = 1 if most is None or most >= 0 else -most
        parts.append(f'"-" ({_naturals(nearest, None if least is None else -least)})')
    if most is None or most >= 0:
        parts.append(_naturals(max(0, least or 0), most))
    return parts


def _fractions(low: tuple[float, bool] | None, high: tuple[float, bool] | None) -> list[str]:
    """Numbers with a fraction whose whole part lies between the bounds with room for any fraction."""
    if any(bound is not None and abs(bound[0]) > _EXACT for bound in (low, high)):
        return []
    digits = f'"." [0-9]{{1,{_PLACES}}}'
    least = 0 if low is None else max(0, _least(low))
    most = None if high is None else math.floor(high[0]) - 1
    parts = []
    if most is None or least <= most:
        parts.append(f"({_naturals(least, most)}) {digits}")
    nearest = 0 if high is None else max(0, -_most(high))
    furthest = None if low is None else -math.ceil(low[0]) - 1
    if furthest is None or nearest <= furthest:
        parts.append(f'"-" ({_naturals(nearest, furthest)}) {digits}')
    return parts or _between(low, high)


def _between(low: tuple[float, bool] | None, high: tuple[float, bool] | None) -> list[str]:
    """Some numbers between bounds that lie close together, written out."""
    if low is None or high is None:
        return []
    for places in range(1, 8):
        scale = 10**places
        numbers = range(math.ceil(low[0] * scale) - 1, math.floor(high[0] * scale) + 2)
        if len(numbers) > _LISTED:
            break
        texts = [f"{number / scale:.{places}f}" for number in numbers]
        inside = [text for text in texts if _is_inside(float(text), low, high)]
        if len(inside) > 8 or (inside and places == 7):
            return [f'"{text}"' for text in inside]
    return [f'"{text}"' for text in inside] if inside else []


def _is_inside(value: float, low: tuple[float, bool], high: tuple[float, bool]) -> bool:
    return (low[0] < value or (low[0] == value and not low[1])) and (
        value < high[0] or (value == high[0] and not high[1])
    )


def _naturals(low: int, high: int | None) -> str:
    """Whole numbers from `low`, which is not negative, to `high`."""
    if high is None:
        longer = max(_DIGITS, len(str(low)))
        top = 10 ** len(str(low)) - 1
        parts = [_naturals(low, top)]
        if longer > len(str(low)):
            parts.append(f"[1-9] [0-9]{{{len(str(low))},{longer - 1}}}")
        return " | ".join(parts)
    parts = []
    while low <= high:
        top = min(high, 10 ** len(str(low)) - 1)
        parts += _same_length(str(low), str(top))
        low = top + 1
    return " | ".join(parts)


def _same_length(low: str, high: str) -> list[str]:
    """Digits from `low` to `high`, which have the same number of them."""
    if low == high:
        return [f'"{low}"']
    count = 0
    while low[count] == high[count]:
        count += 1
    prefix = f'"{low[:count]}" ' if count else ""
    low, high = low[count:], high[count:]
    rest = len(low) - 1
    if not rest:
        return [f"{prefix}[{low}-{high}]"]
    first, last = int(low[0]), int(high[0])
    parts = []
    if low[1:] != "0" * rest:
        parts.append(f'{prefix}"{low[0]}" ({" | ".join(_same_length(low[1:], "9" * rest))})')
        first += 1
    tail = []
    if high[1:] != "9" * rest:
        tail.append(f'{prefix}"{high[0]}" ({" | ".join(_same_length("0" * rest, high[1:]))})')
        last -= 1
    if first <= last:
        parts.append(f"{prefix}[{first}-{last}] [0-9]{{{rest}}}")
    return parts + tail
