"""Reranking: `/rerank` and its aliases, in the shapes of Jina (`documents`) and TEI (`texts`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import ContextExceeded, Unsupported
from velesio.http.fields import Fields, given, of
from velesio.http.form import AsideAsked, Form, aside
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.http.wire import bad_field, convert, within
from velesio.jobs import Rerank, RerankResult

MOST_DOCUMENTS = 2048
"""Of one request."""


class Body(msgspec.Struct):
    """The fields beside the documents."""

    model: str = ""
    query: str | None = None
    top_n: int | None = None
    return_text: bool = False


class _Kept(msgspec.Struct, frozen=True):
    """What the shape of an answer depends on."""

    short: bool
    """TEI's."""
    top: int
    texts: bool


FIELDS: Fields = {
    "documents": given(list[str | dict[str, str]], f"texts, or objects with `text`; at most {MOST_DOCUMENTS}"),
    "texts": given(list[str], "the same in TEI's words: the answer has TEI's shape"),
    **of(
        Body,
        model="a name or alias of `GET /models`; empty: the first",
        query="the text that the documents are rated by; required",
        top_n="only the best so many; all",
        return_text="TEI's shape tells the texts as well",
    ),
}


def read(raw: Mapping[str, Any]) -> AsideAsked:
    """Documents that are to be rated.

    Raises:
        BadRequest: naming the field.
    """
    body = convert(raw, Body)
    if body.query is None:
        raise bad_field("query", "is required: the text that the documents are rated by")
    short = "texts" in raw and "documents" not in raw
    name = "texts" if short else "documents"
    documents = _documents(raw.get(name), name)
    top = len(documents) if body.top_n is None else within("top_n", body.top_n, 0)
    return AsideAsked(
        model=body.model,
        params=[Rerank(body.query, documents)],
        body=_Kept(short=short, top=top, texts=body.return_text),
    )


def _documents(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise bad_field(name, "expected a non-empty list of strings")
    if len(value) > MOST_DOCUMENTS:
        raise bad_field(name, f"has {len(value)} items; at most {MOST_DOCUMENTS} are accepted")
    return tuple(_document(item, f"{name}[{index}]") for index, item in enumerate(value))


def _document(item: Any, path: str) -> str:
    text = item.get("text") if isinstance(item, dict) else item
    if not isinstance(text, str):
        raise bad_field(path, 'expected a string, or an object like {"text": "…"}')
    return text


def write(asked: AsideAsked, model: str, _job_id: str, results: Sequence[RerankResult]) -> Any:
    """The best first."""
    (result,) = results
    kept: _Kept = asked.body
    order = sorted(range(len(result.scores)), key=lambda index: -result.scores[index])[: kept.top]
    if not kept.short:
        return {
            "model": asked.model or model,
            "object": "list",
            "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
            "results": [{"index": index, "relevance_score": result.scores[index]} for index in order],
        }
    rated: list[dict[str, Any]] = [{"index": index, "score": result.scores[index]} for index in order]
    if kept.texts:
        (job,) = asked.params
        assert isinstance(job, Rerank)  # noqa: S101  narrows for the type checker
        rated = [one | {"text": job.documents[index]} for one, index in zip(rated, order, strict=True)]
    return rated


_FORM = Form(read, write, RerankResult)

FORMS: Mapping[str, Form] = dict.fromkeys(("/rerank", "/reranking", "/v1/rerank", "/v1/reranking"), _FORM)
"""By path."""

ROUTES = [web.post(path, aside(form)) for path, form in FORMS.items()]

_EXAMPLE = {"query": "capital of France", "documents": ["Paris is a city.", "Bread is baked."], "top_n": 1}

API = (
    Operation(
        method="POST",
        paths=tuple(FORMS),
        summary="Rates how well documents answer a query, the best first; in the shapes of Jina and of TEI.",
        notes="For models whose pooling is `rank`; others answer 501.",
        fields=FIELDS,
        example=_EXAMPLE,
        answer=lambda: write(read(_EXAMPLE), "bge-reranker", "", [RerankResult((0.75, -3.5), 17)]),
        answers=dict[str, Any] | list[dict[str, Any]],
        errors=(*OF_EVERY_JOB, ContextExceeded, Unsupported),
    ),
)
