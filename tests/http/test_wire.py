"""JSON bodies: what is read, and how what cannot be read is named."""

import msgspec
import pytest

from velesio.errors import BadRequest
from velesio.http.wire import clamped, convert, number_in, parse_object, within


class Inner(msgspec.Struct):
    role: str
    content: str | list[str] | None = None


class Body(msgspec.Struct):
    count: int = 1
    heat: float = 0.5
    stop: str | list[str] = ""
    messages: list[Inner] = []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{x", "line 1, column 2"),
        (b'{"a": 1,\n "b": tru}', "line 2, column 10"),
        (b'{"a": 1} x', "line 1, column 10"),
        (b'{"a": 1', "ends too early"),
        (b'{"a": NaN}', "line 1, column 7"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": ' * 100_000, "nested too deeply"),
        (b'{"a": 1e999}', "out of range"),
        (b"[1]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
    ],
)
def test_bad_json_is_refused_with_its_place(body: bytes, message: str) -> None:
    """Line and column are counted from 1."""
    with pytest.raises(BadRequest, match=message):
        parse_object(body)


def test_null_is_absent() -> None:
    """A field that is null is as if it were not there."""
    assert parse_object(b'{"a": null, "b": [null]}') == {"b": [None]}


def test_a_byte_order_mark_is_no_error() -> None:
    """Some clients write one."""
    assert parse_object(b'\xef\xbb\xbf{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    ("raw", "param", "message"),
    [
        ({"count": "3"}, "count", "Field 'count': expected an integer, but got a string"),
        ({"count": 1.5}, "count", "Field 'count': expected an integer, but got a number"),
        ({"count": True}, "count", "Field 'count': expected an integer, but got true or false"),
        ({"heat": []}, "heat", "Field 'heat': expected a number, but got a list"),
        ({"stop": 5}, "stop", "Field 'stop': expected a string or a list, but got an integer"),
        ({"stop": ["a", {}]}, "stop[1]", "Field 'stop[1]': expected a string, but got an object"),
        (
            {"messages": [{"role": "a"}, {"role": "b", "content": 5}]},
            "messages[1].content",
            "Field 'messages[1].content': expected a string or a list, but got an integer",
        ),
        ({"messages": [{}]}, "messages[0].role", "Field 'messages[0].role': is required"),
    ],
)
def test_a_wrong_type_is_named_with_its_path(raw: dict[str, object], param: str, message: str) -> None:
    """The message says which field, what it should be and what it is."""
    with pytest.raises(BadRequest) as caught:
        convert(raw, Body)
    assert caught.value.message == message
    assert caught.value.param == param


def test_whole_floats_are_integers_and_unknown_fields_nothing() -> None:
    """8.0 is as good as 8; what nobody knows is ignored."""
    assert convert({"count": 8.0, "heat": 1, "else": object()}, Body) == Body(count=8, heat=1.0)


def test_a_hard_limit_is_refused_in_the_reference_words() -> None:
    """The message names both ends and the value."""
    assert within("n_predict", 5, -1) == 5
    with pytest.raises(BadRequest) as caught:
        within("n_predict", -5, -1)
    assert caught.value.message == "Field 'n_predict': Value must be between -1 <= value <= 2147483647, but got -5"


@pytest.mark.parametrize(("value", "moved"), [(-1, 0), (0.5, 0.5), (2, 1), (float("nan"), 0)])
def test_a_soft_limit_moves_the_value(value: float, moved: float) -> None:
    """Outside values come to the nearest end."""
    assert clamped(value, 0, 1) == moved


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("0012", 12),
        ("9" * 18, 10**18 - 1),
        ("9" * 5000, None),
        ("", None),
        ("-1", None),
        ("²", None),
        ("1.0", None),
    ],
)
def test_numbers_in_texts(text: str, number: int | None) -> None:
    """Whole numbers of a length that somebody can mean; Python would raise at more than 4,300 digits."""
    assert number_in(text) == number
