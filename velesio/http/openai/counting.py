"""The tokens of a conversation, counted before anything is asked: `/v1/chat/completions/input_tokens`."""

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from velesio.errors import ContextExceeded
from velesio.http.form import AsideAsked, Form, aside
from velesio.http.openai import chat
from velesio.http.operations import OF_EVERY_JOB, Operation
from velesio.jobs import PromptResult, Render


def rendering(raw: Mapping[str, Any]) -> AsideAsked:
    """A conversation whose prompt is wanted.

    Raises:
        BadRequest: naming the field.
    """
    asked = chat.read(raw)
    return AsideAsked(model=asked.model, params=[Render(asked.chat)])


def write_count(_asked: AsideAsked, _model: str, _job_id: str, results: Sequence[PromptResult]) -> dict[str, Any]:
    """The number of the prompt's tokens."""
    return {"input_tokens": results[0].tokens, "object": "response.input_tokens"}


_FORM = Form(rendering, write_count, PromptResult)

FORMS: Mapping[str, Form] = {
    "/chat/completions/input_tokens": _FORM,
    "/v1/chat/completions/input_tokens": _FORM,
}
"""By path."""

ROUTES = [web.post(path, aside(form)) for path, form in FORMS.items()]

API = (
    Operation(
        method="POST",
        paths=("/chat/completions/input_tokens", "/v1/chat/completions/input_tokens"),
        summary="Counts the tokens of the prompt that a conversation becomes.",
        notes="Reads all that `/v1/chat/completions` reads.",
        fields=chat.FIELDS,
        example={"messages": [{"role": "user", "content": "Hi"}]},
        answer=lambda: write_count(AsideAsked(model="", params=[]), "", "", [PromptResult("", 31)]),
        errors=(*OF_EVERY_JOB, ContextExceeded),
    ),
)
