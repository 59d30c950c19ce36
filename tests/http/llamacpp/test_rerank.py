"""Reranking: the captured shapes, and both over a socket."""

from typing import Any

import pytest
from hypothesis import given, settings

from tests.http.conftest import ANYTHING, Site, bodies, sample
from tests.http.likeness import differences, json_of
from velesio.errors import BadRequest
from velesio.http.llamacpp import rerank
from velesio.http.llamacpp.rerank import read, write
from velesio.http.wire import encode, parse_object
from velesio.jobs import RerankResult

SCORES = RerankResult((-0.7095106840133667, -1.503399133682251), 4)


def test_jina_is_the_sample() -> None:
    """The best first, no more than asked for."""
    asked = read({"query": "q", "documents": ["a", "b"], "top_n": 1})
    assert not differences(json_of(write(asked, "smollm2", "", [SCORES])), sample("rerank_jina"))


def test_tei_is_the_sample() -> None:
    """A bare list, with the texts if asked for."""
    asked = read({"query": "q", "texts": ["a", "b"], "return_text": True})
    assert not differences(json_of(write(asked, "smollm2", "", [SCORES])), sample("rerank_tei"))


def test_equal_scores_keep_their_order() -> None:
    """And better ones come first, wherever they stood."""
    asked = read({"query": "q", "texts": ["a", "b", "c"]})
    assert [one["index"] for one in write(asked, "m", "", [RerankResult((0.5, 1.0, 0.5))])] == [1, 0, 2]


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        ({"documents": ["a"]}, "query"),
        ({"query": 5, "documents": ["a"]}, "query"),
        ({"query": "q"}, "documents"),
        ({"query": "q", "documents": []}, "documents"),
        ({"query": "q", "documents": "a"}, "documents"),
        ({"query": "q", "documents": ["a", 5]}, "documents[1]"),
        ({"query": "q", "texts": [{}]}, "texts[0]"),
        ({"query": "q", "documents": ["a"], "top_n": -1}, "top_n"),
        ({"query": "q", "documents": ["a"] * 2049}, "documents"),
    ],
)
def test_bad_fields_are_named(raw: dict[str, Any], param: str) -> None:
    """As everywhere."""
    with pytest.raises(BadRequest) as caught:
        read(raw)
    assert caught.value.param == param


@settings(max_examples=100, deadline=None)
@given(bodies([rerank.Body], documents=ANYTHING))
def test_any_body_is_read_or_refused(raw: dict[str, Any]) -> None:
    """Nothing but a refusal comes of nonsense."""
    try:
        read(parse_object(encode(raw)))
    except BadRequest:
        return


async def test_every_alias_over_the_wire(site: Site) -> None:
    """Jina's and TEI's bodies at each path; errors in the shape of the path's family."""
    documents = ["a dog", "the cat sat", "the cat"]
    for path in ("/rerank", "/reranking", "/v1/rerank", "/v1/reranking"):
        body = {"query": "the cat sat", "documents": documents, "top_n": 2, "model": "bird"}
        jina = (await site.post(path, body)).json()
        assert [one["index"] for one in jina["results"]] == [1, 2]
        assert jina["model"] == "bird"
        assert jina["usage"]["total_tokens"] > 0
        tei = (await site.post(path, {"query": "dog", "texts": documents})).json()
        assert tei[0] == {"index": 0, "score": 1.0}
        assert (await site.post(path, {"query": "x"})).status == 400
