"""Forms: the routes whose answers can be made in the background."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from velesio.http import embeddings
from velesio.http.anthropic import messages as anthropic
from velesio.http.form import Form
from velesio.http.llamacpp import completion as llamacpp
from velesio.http.llamacpp import infill, rerank, tokens
from velesio.http.ollama import forms as ollama_forms
from velesio.http.openai import chat as openai_chat
from velesio.http.openai import completions as openai_completions
from velesio.http.openai import counting as openai_counting
from velesio.http.openai import images as openai_images
from velesio.http.openai import responses as openai_responses
from velesio.http.origin import Origin
from velesio.http.sdapi import drawing as sdapi
from velesio.http.sdapi import extras as sdapi_extras
from velesio.http.wire import bad_field
from velesio.jobs import Completed
from velesio.nearest import nearest
from velesio.queue.client import JobRecord

FORMS: Mapping[str, Form] = {
    **openai_chat.FORMS,
    **openai_completions.FORMS,
    **openai_responses.FORMS,
    **openai_counting.FORMS,
    **llamacpp.FORMS,
    **infill.FORMS,
    **tokens.FORMS,
    **embeddings.FORMS,
    **rerank.FORMS,
    **openai_images.FORMS,
    **anthropic.FORMS,
    **ollama_forms.FORMS,
    **sdapi.FORMS,
    **sdapi_extras.FORMS,
}
"""By path."""


def form_of(url: str) -> Form:
    """The form for a path.

    Raises:
        BadRequest: there is none; with the nearest that there are.
    """
    if url in FORMS:
        return FORMS[url]
    near = nearest(url, FORMS)
    raise bad_field("url", f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(FORMS)}")


async def settled(request: web.Request, raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """A request for a background job (`url` and `body`) whose body does not need its client to be understood."""
    url, body = raw.get("url"), raw.get("body")
    settle = FORMS[url].settle if isinstance(url, str) and url in FORMS else None
    return dict(raw) | {"body": await settle(request, body)} if settle and isinstance(body, dict) else raw


def answer_of(kept: bytes, record: JobRecord, final: Completed) -> Any | None:
    """The JSON that the route of a job's origin would have given; None: the origin is not known.

    `kept` is the packed origin.
    """
    origin = Origin.unpacked(kept)
    form = FORMS.get(origin.url) if origin else None
    if origin is None or form is None or not isinstance(final.result, form.result):
        return None
    return form.write(form.read(origin.raw()), record.model, record.id, [final.result])
