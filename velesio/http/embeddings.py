"""Embeddings: llama.cpp's `/embedding` and `/embeddings`, OpenAI's `/v1/embeddings`."""

import array
import base64
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from aiohttp import web

from velesio.errors import BadRequest, ContextExceeded, Unsupported
from velesio.http.fields import Fields, given, of, passed
from velesio.http.form import AsideAsked, Form, aside
from velesio.http.llamacpp import unity
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.http.text.prompts import prompts_of
from velesio.http.wire import INT_MAX, bad_field, convert, within
from velesio.jobs import Embed, EmbedResult

MOST_INPUTS = 2048
"""Of one request, as OpenAI has it."""


class Body(msgspec.Struct):
    """The fields beside `input`, which may be called `content`."""

    model: str = ""
    encoding_format: Literal["float", "base64"] = "float"
    embd_normalize: int = 2
    dimensions: int = 0


class _Kept(msgspec.Struct, frozen=True):
    """What the shape of an answer depends on."""

    encoded: bool
    native: bool


FIELDS: Fields = {
    "input": given(
        str | list[Any] | dict[str, Any],
        "a text, a list of token ids, an object with `prompt_string` and `multimodal_data`, or a list of those; "
        f"at most {MOST_INPUTS}",
        required=True,
    ),
    "content": given(str | list[Any] | dict[str, Any], "the same, for llama.cpp's own clients: the answer is native"),
    **of(
        Body,
        model="a name or alias of `GET /models`; empty: the first",
        encoding_format="`base64`: the bytes of little-endian 32-bit floats; OpenAI's shape only",
        embd_normalize="-1: as they are; 0: largest absolute value 32760; 2: length 1; others: the p-norm",
        dimensions="leading values of each vector, normalized again; all",
    ),
    "user": passed("nobody is told"),
}


def read(raw: Mapping[str, Any]) -> AsideAsked:
    """Texts whose vectors are wanted.

    Raises:
        BadRequest: naming the field.
    """
    body = convert(raw, Body)
    name = "input" if "input" in raw else "content"
    if name not in raw:
        raise bad_field("input", "is required: a string, a list of token ids, or a list of those")
    inputs = prompts_of(raw[name], name)
    if len(inputs) > MOST_INPUTS:
        raise bad_field(name, f"has {len(inputs)} items; at most {MOST_INPUTS} are accepted")
    within("embd_normalize", body.embd_normalize, -1)
    if "dimensions" in raw:
        within("dimensions", body.dimensions, 1, INT_MAX)
    job = Embed(
        inputs=tuple(each.prompt for each in inputs),
        normalize=body.embd_normalize,
        dimensions=body.dimensions,
        media=tuple(file for each in inputs for file in each.media),
    )
    # Who writes `content` speaks llama.cpp's own language, whatever the path is.
    kept = _Kept(encoded=body.encoding_format == "base64", native=name == "content")
    return AsideAsked(model=body.model, params=[job], body=kept)


def write_native(_asked: AsideAsked, _model: str, _job_id: str, results: Sequence[EmbedResult]) -> list[dict[str, Any]]:
    """A matrix for each input: one row, or without pooling one for each token."""
    (result,) = results
    return [
        {"index": index, "embedding": rows(matrix, result.dimensions)} for index, matrix in enumerate(result.matrices)
    ]


def write(asked: AsideAsked, model: str, job_id: str, results: Sequence[EmbedResult]) -> Any:
    """A vector for each input.

    Raises:
        BadRequest: the model gives a vector for each token instead.
    """
    if asked.body.native:
        return write_native(asked, model, job_id, results)
    (result,) = results
    if not result.pooled:
        raise BadRequest(
            "this model's pooling is 'none', which gives a vector for each token; ask at /embeddings for those"
        )
    count = sum(result.tokens)
    return {
        "model": asked.model or model,
        "object": "list",
        "usage": {"prompt_tokens": count, "total_tokens": count},
        "data": [_entry(matrix, index, encoded=asked.body.encoded) for index, matrix in enumerate(result.matrices)],
    }


def _entry(matrix: bytes, index: int, *, encoded: bool) -> dict[str, Any]:
    if encoded:
        text = base64.b64encode(matrix).decode()
        return {"embedding": text, "index": index, "object": "embedding", "encoding_format": "base64"}
    return {"embedding": floats(matrix), "index": index, "object": "embedding"}


def floats(matrix: bytes) -> list[float]:
    """Little-endian 32-bit floats as numbers."""
    values = array.array("f", matrix)
    if sys.byteorder == "big":
        values.byteswap()
    return values.tolist()


def rows(matrix: bytes, dimensions: int) -> list[list[float]]:
    """The same in rows of `dimensions` values."""
    values = floats(matrix)
    return [values[start : start + dimensions] for start in range(0, len(values), dimensions or 1)]


_NATIVE = Form(read, write_native, EmbedResult)

FORMS: Mapping[str, Form] = {
    "/embedding": _NATIVE,
    "/embeddings": _NATIVE,
    "/v1/embeddings": Form(read, write, EmbedResult),
}
"""By path."""

ROUTES = [web.post(path, unity.one_embedding(aside(form))) for path, form in FORMS.items()]

_EXAMPLE = {"input": ["Hello"], "model": "smollm2-135m-instruct"}
_RESULT = EmbedResult((bytes.fromhex("0000003f000000bf0000003f0000003f"),), 4, (1,))
_NOTES = "Any text model embeds, with its file's pooling or the option `pooling`; see [embeddings](../embeddings.md)."
_ERRORS = (*OF_EVERY_JOB, ContextExceeded, Unsupported)

NATIVE_API = (
    Operation(
        method="POST",
        paths=("/embedding", "/embeddings"),
        summary="Turns texts into vectors; a matrix for each, with one row, or without pooling one for each token.",
        notes=_NOTES,
        fields={**FIELDS, "input": msgspec.structs.replace(FIELDS["input"], required=False)},
        example={"content": "Hello"},
        answer=lambda: write_native(read({"content": "Hello"}), "", "", [_RESULT]),
        answers=list[dict[str, Any]],
        errors=_ERRORS,
    ),
)
API = (
    Operation(
        method="POST",
        paths=("/v1/embeddings",),
        summary="Turns texts into vectors.",
        notes=_NOTES,
        fields=FIELDS,
        example=_EXAMPLE,
        answer=lambda: write(read(_EXAMPLE), "smollm2-135m-instruct", "", [_RESULT]),
        errors=_ERRORS,
    ),
)
