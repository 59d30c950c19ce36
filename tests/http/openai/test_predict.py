"""`/predict`."""

from typing import Any

import pytest

from tests.http.conftest import Site
from velesio.errors import BadRequest
from velesio.http.openai.predict import read

HI = {"@requestFormat": "chatCompletions", "messages": [{"role": "user", "content": "one two"}]}


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({}, "instances"),
        ({"instances": {}}, "instances"),
        ({"instances": [{}]}, "instances[0].@requestFormat"),
        ({"instances": [HI, HI | {"messages": 5}]}, "instances[1].messages"),
        ({"instances": [HI | {"stream": True}]}, "instances[0].stream"),
        ({"instances": [HI, HI | {"model": "other"}]}, "instances"),
        ({"instances": [HI | {"n": 100}] * 2}, "instances"),
    ],
)
def test_bad_fields_are_named(raw: dict[str, Any], param: str) -> None:
    """With the instance."""
    with pytest.raises(BadRequest) as caught:
        read(raw)
    assert caught.value.param == param


async def test_each_instance_has_its_prediction(site: Site) -> None:
    """In their order, each a whole chat completion with its own choices."""
    other = HI | {"messages": [{"role": "user", "content": "three"}], "n": 2}
    answer = (await site.post("/predict", {"instances": [HI, other]})).json()
    texts = [[choice["message"]["content"] for choice in one["choices"]] for one in answer["predictions"]]
    assert texts == [["one two"], ["three", "three"]]
    assert len({one["id"] for one in answer["predictions"]}) == 2
