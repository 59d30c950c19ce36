"""Texts of forms as the values that their fields want; whole forms are sent in test_openai_images."""

from typing import Any

import pytest

from velesio.errors import BadRequest
from velesio.http.fields import given
from velesio.http.multipart import typed

FIELDS = {"n": given(int, ""), "strength": given(float, ""), "stream": given(bool, ""), "prompt": given(str, "")}


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("n", "2", 2),
        ("n", " 2\r\n", 2),
        ("strength", "0.5", 0.5),
        ("strength", "1", 1.0),
        ("stream", "true", True),
        ("stream", "False", False),
        ("stream", "1", True),
        ("prompt", "2", "2"),
        ("prompt", " ünï ", " ünï "),
        ("unknown", "true", "true"),
    ],
)
def test_texts_become_what_their_field_wants(name: str, text: str, value: Any) -> None:
    """Numbers and truth values; everything else stays as it is."""
    found = typed(name, text.encode(), FIELDS)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("n", b"two", "an integer, but got 'two'"),
        ("n", b"", "an integer"),
        ("strength", b"much", "a number"),
        ("stream", b"perhaps", "true or false"),
        ("prompt", b"\xff", "UTF-8"),
    ],
)
def test_what_is_none_is_named(name: str, data: bytes, said: str) -> None:
    """With what was expected."""
    with pytest.raises(BadRequest, match=said) as caught:
        typed(name, data, FIELDS)
    assert caught.value.param == name
