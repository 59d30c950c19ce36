"""Numbers within bounds: each text is inside, and each whole number inside is a text."""

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velesio.backends.llama.automaton import Automaton
from velesio.backends.llama.gbnf import parse
from velesio.backends.llama.json_number import EmptyRangeError, expression

BOUNDS = st.one_of(st.integers(-(10**15), 10**15), st.integers(-120, 120), st.floats(-200, 200))
NUMBERS = st.one_of(st.integers(-(10**15), 10**15), st.integers(-1300, 1300), st.floats(-200, 200))
LOWS, HIGHS = (st.sampled_from([f"{end}imum", f"exclusive{end.title()}imum", None]) for end in ("min", "max"))


def accepts(text: str, number: str) -> bool:
    made = Automaton(parse(f"root ::= {text}", lambda _name: None))
    return made.is_complete(made.walk(made.start, number.encode()))


def is_inside(value: float, schema: dict[str, Any]) -> bool:
    return bool(
        schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf)
        and schema.get("exclusiveMinimum", -math.inf) < value < schema.get("exclusiveMaximum", math.inf)
    )


@given(BOUNDS, BOUNDS, LOWS, HIGHS, NUMBERS, st.booleans(), st.integers(0, 6))
def test_texts_are_inside_and_whole_numbers_are_texts(
    one: float, other: float, low: str | None, high: str | None, value: float, whole: bool, places: int
) -> None:
    """Near the bounds and far from them, with and without a fraction."""
    schema = {key: bound for key, bound in ((low, min(one, other)), (high, max(one, other))) if key}
    try:
        text = expression(schema, whole=whole)
    except EmptyRangeError:
        assert not (float(value).is_integer() and is_inside(value, schema))
        return
    except ValueError as error:
        assert "10 to the power" in str(error)  # noqa: PT017  # it need not be refused
        return
    if not text:
        assert not schema or all(abs(bound) >= 10**15 for bound in schema.values())
        return
    for number in (str(int(value)), f"{value:.{places}f}", *(f"{bound:.0f}" for bound in schema.values())):
        if accepts(text, number):
            assert is_inside(json.loads(number), schema)
            assert not (whole and "." in number)
        elif "." not in number and abs(int(number)) < 10**15 and number != "-0":
            assert not is_inside(int(number), schema)


@pytest.mark.parametrize(
    ("schema", "number"),
    [
        ({"minimum": 0, "maximum": 1}, "0.5"),
        ({"minimum": 0.1, "maximum": 0.9}, "0.5"),
        ({"exclusiveMinimum": 0, "exclusiveMaximum": 0.001}, "0.0005"),
        ({"minimum": -1}, "-0.25"),
        ({"maximum": -3}, "-3.5"),
        ({"minimum": -10.5, "maximum": 10.5}, "-9.99"),
    ],
)
def test_usual_fractions_are_allowed(schema: dict[str, Any], number: str) -> None:
    """Probabilities and the like."""
    assert accepts(expression(schema, whole=False), number)


def test_multiples_are_refused_unless_they_say_nothing() -> None:
    """Multiples of one are whole numbers."""
    with pytest.raises(ValueError, match="multipleOf"):
        expression({"multipleOf": 2}, whole=True)
    assert not accepts(expression({"multipleOf": 1, "minimum": 0}, whole=False), "0.5")
    assert expression({"multipleOf": 1}, whole=True) == ""
