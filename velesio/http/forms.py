"""Forms: the routes whose answers can be made in the background, and how each reads its body and writes its answer."""

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import msgspec

from velesio.http import llamacpp, openai
from velesio.http.origin import Origin
from velesio.http.wire import bad_field
from velesio.jobs import Completed, TextResult
from velesio.queue.client import JobRecord


class Form(msgspec.Struct, frozen=True):
    """One route."""

    read: Callable[[Mapping[str, Any]], Any]
    """A body → what is asked: `generation` and `params`. Raises BadRequest."""
    write: Callable[[Any, str, str, Sequence[TextResult]], Any]
    """What was asked, model, id of the job, results → the JSON of the answer without streaming."""


def _native(asked: llamacpp.Asked, model: str, job_id: str, results: Sequence[TextResult]) -> Any:
    return llamacpp.Writer(asked, model, job_id).answer(results)


def _chat(asked: openai.Asked, model: str, job_id: str, results: Sequence[TextResult]) -> Any:
    return openai.ChatWriter(asked, model, job_id).whole(results)


def _completion(asked: openai.Asked, model: str, job_id: str, results: Sequence[TextResult]) -> Any:
    return openai.CompletionWriter(asked, model, job_id).whole(results)


_NATIVE = Form(llamacpp.read, _native)
_CHAT = Form(openai.read_chat, _chat)

FORMS: Mapping[str, Form] = {
    "/v1/chat/completions": _CHAT,
    "/v1/completions": Form(openai.read_completion, _completion),
    "/completion": _NATIVE,
    "/completions": _NATIVE,
    "/chat/completions": _CHAT,
}
"""By path."""


def form_of(url: str) -> Form:
    """The form for a path.

    Raises:
        BadRequest: there is none; with the nearest that there are.
    """
    if url in FORMS:
        return FORMS[url]
    near = get_close_matches(url, FORMS, 1)
    raise bad_field("url", f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(FORMS)}")


def answer_of(kept: bytes, record: JobRecord, final: Completed) -> Any | None:
    """The JSON that the route of a job's origin would have given; None: the origin is not known.

    `kept` is the packed origin.
    """
    origin = Origin.unpacked(kept)
    if origin is None or origin.url not in FORMS or not isinstance(final.result, TextResult):
        return None
    form = FORMS[origin.url]
    return form.write(form.read(origin.raw()), record.model, record.id, [final.result])
