"""`/infill`."""

from typing import Any

import pytest

from tests.http.conftest import Site
from velesio.errors import BadRequest
from velesio.http.llamacpp.completion import Writer
from velesio.http.llamacpp.infill import read
from velesio.jobs import Infill, TextResult


def test_what_a_gap_becomes() -> None:
    """Both ends, the beginning of the gap, other files, and everything that a completion has."""
    asked = read(
        {
            "input_prefix": "def f(",
            "input_suffix": "return 1",
            "input_extra": [{"filename": "a.py", "text": "x = 1"}, {"text": "y"}],
            "prompt": "a",
            "n_predict": 5,
            "stop": ["\n\n"],
            "n_indent": 2,
        }
    )
    (params,) = asked.params
    assert isinstance(params, Infill)
    assert (params.prefix, params.suffix, params.prompt) == ("def f(", "return 1", "a")
    assert params.extra == (("a.py", "x = 1"), ("", "y"))
    assert (params.max_tokens, params.stop, params.n_indent) == (5, ("\n\n",), 2)
    whole = Writer(asked, "m").whole(0, TextResult("b", prompt="<PRE>"))
    assert (whole["content"], whole["prompt"]) == ("b", "<PRE>")


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"input_suffix": ""}, "input_prefix"),
        ({"input_prefix": ""}, "input_suffix"),
        ({"input_prefix": "", "input_suffix": "", "input_extra": [{}]}, "input_extra[0].text"),
        ({"input_prefix": "", "input_suffix": "", "prompt": ["a"]}, "prompt"),
    ],
)
def test_bad_fields_are_named(raw: dict[str, Any], param: str) -> None:
    """As everywhere."""
    with pytest.raises(BadRequest) as caught:
        read(raw)
    assert caught.value.param == param


async def test_a_model_that_cannot_says_so(site: Site) -> None:
    """501, before any header of a stream."""
    body = {"input_prefix": "a", "input_suffix": "b", "stream": True}
    answer = await site.post("/infill", body)
    assert (answer.status, answer.json()["error"]["type"]) == (501, "not_supported_error")
