"""Embeddings: the captured shapes, and OpenAI's client over a socket."""

import base64
import json
import struct
from typing import Any

import msgspec
import openai
import pytest
from hypothesis import given, settings

from tests.http.conftest import ANYTHING, Site, bodies, sample
from tests.http.likeness import differences, json_of
from velesio.errors import BadRequest
from velesio.http import embeddings
from velesio.http.embeddings import MOST_INPUTS, read, rows, write, write_native
from velesio.http.wire import encode, parse_object
from velesio.jobs import Embed, EmbedResult


def packed(values: list[float]) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


def test_vectors_are_the_sample() -> None:
    """Each float as the double that is equal to it, two inputs counted together."""
    captured = json.loads(sample("embeddings_oai"))
    matrices = tuple(packed(entry["embedding"]) for entry in captured["data"])
    asked = read({"input": ["Hello", "world"]})
    answer = write(asked, "smollm2", "", [EmbedResult(matrices, len(matrices[0]) // 4, (1, 1))])
    assert not differences(json_of(answer), sample("embeddings_oai"))


def test_base64_is_the_sample() -> None:
    """The floats' bytes, and the word for it."""
    captured = json.loads(sample("embeddings_b64"))
    matrix = base64.b64decode(captured["data"][0]["embedding"])
    asked = read({"input": "Hello", "encoding_format": "base64"})
    answer = write(asked, "smollm2", "", [EmbedResult((matrix,), len(matrix) // 4, (1,))])
    assert not differences(json_of(answer), sample("embeddings_b64"))


def test_the_native_shape_is_the_sample() -> None:
    """A matrix for each input, in a list without more."""
    captured = json.loads(sample("embedding_llamacpp"))
    matrix = packed(captured[0]["embedding"][0])
    asked = read({"content": "Hello"})
    result = EmbedResult((matrix,), len(matrix) // 4, (1,))
    assert not differences(json_of(write_native(asked, "m", "", [result])), sample("embedding_llamacpp"))
    assert write(asked, "m", "", [result]) == write_native(asked, "m", "", [result])


def test_without_pooling_there_is_a_row_for_each_token() -> None:
    """Natively; OpenAI's shape has no place for that."""
    result = EmbedResult((packed([1, 2, 3, 4]),), 2, (2,), pooled=False)
    assert write_native(read({"input": "x"}), "m", "", [result]) == [{"index": 0, "embedding": [[1, 2], [3, 4]]}]
    with pytest.raises(BadRequest, match="pooling"):
        write(read({"input": "x"}), "m", "", [result])


def test_rows_of_nothing() -> None:
    """No values, no rows."""
    assert rows(b"", 0) == []


@pytest.mark.parametrize(
    ("value", "inputs"),
    [("a", ("a",)), (["a", "b"], ("a", "b")), ([1, 2], ([1, 2],)), ([[1], [2, 3]], ([1], [2, 3])), ([""], ("",))],
)
def test_inputs(value: Any, inputs: tuple[Any, ...]) -> None:
    """Text, tokens, lists of either."""
    (job,) = read({"input": value}).params
    assert isinstance(job, Embed)
    assert job.inputs == inputs


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": {}}, "input"),
        ({"input": [[]]}, "input[0]"),
        ({"content": 5}, "content"),
        ({"input": "x", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "x", "dimensions": 0}, "dimensions"),
        ({"input": "x", "embd_normalize": -2}, "embd_normalize"),
        ({"input": ["x"] * (MOST_INPUTS + 1)}, "input"),
    ],
)
def test_bad_fields_are_named(raw: dict[str, Any], param: str) -> None:
    """As everywhere."""
    with pytest.raises(BadRequest) as caught:
        read(raw)
    assert caught.value.param == param


@settings(max_examples=100, deadline=None)
@given(bodies([embeddings.Body], input=ANYTHING))
def test_any_body_is_read_or_refused(raw: dict[str, Any]) -> None:
    """What is read can be queued."""
    try:
        asked = read(parse_object(encode(raw)))
    except BadRequest:
        return
    (job,) = asked.params
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(job), type=Embed) == job


async def test_the_client_embeds(site: Site) -> None:
    """Its default is base64, which it decodes; floats and fewer dimensions on request; refusals with `param`."""
    async with openai.AsyncOpenAI(base_url=f"{site.address}/v1", api_key="none", max_retries=0) as client:
        one = await client.embeddings.create(model="parrot", input=["abc", "cab"])
        two = await client.embeddings.create(model="parrot", input=[[97, 98, 99]], encoding_format="float")
        assert [entry.index for entry in one.data] == [0, 1]
        assert one.data[0].embedding == one.data[1].embedding == two.data[0].embedding
        assert len(one.data[0].embedding) == 8
        assert (one.usage.prompt_tokens, one.model) == (6, "parrot")
        few = await client.embeddings.create(model="bird", input="abc", dimensions=3)
        assert (len(few.data[0].embedding), few.model) == (3, "bird")
        with pytest.raises(openai.BadRequestError) as caught:
            await client.embeddings.create(model="parrot", input=[])
        assert caught.value.param == "input"


async def test_the_native_routes(site: Site) -> None:
    """Both names, both names of the field."""
    for path in ("/embedding", "/embeddings"):
        for name in ("input", "content"):
            (entry,) = (await site.post(path, {name: "abc", "stream": False})).json()
            assert (entry["index"], len(entry["embedding"]), len(entry["embedding"][0])) == (0, 1, 8)
    answer = await site.post("/embedding", {})
    assert answer.json()["error"]["code"] == 400
