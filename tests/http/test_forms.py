"""Routes as data."""

import pytest

from velesio.errors import BadRequest
from velesio.http import embeddings
from velesio.http.anthropic import messages as anthropic
from velesio.http.forms import FORMS, answer_of, form_of
from velesio.http.llamacpp import completion as llamacpp
from velesio.http.llamacpp import infill, rerank, tokens
from velesio.http.ollama import forms as ollama_forms
from velesio.http.openai import chat as openai_chat
from velesio.http.openai import completions as openai_completions
from velesio.http.openai import counting
from velesio.http.openai import images as openai_images
from velesio.http.openai import responses as openai_responses
from velesio.http.origin import Origin
from velesio.http.sdapi import drawing as sdapi
from velesio.http.sdapi import extras as sdapi_extras
from velesio.jobs import Completed, ImageResult, JobState, Priority, TextResult
from velesio.queue.client import JobRecord

RECORD = JobRecord(
    id="0" * 32, state=JobState.DONE, tenant="t", model="m", capability="text", priority=Priority.BATCH
)  # fmt: skip


def test_every_route_that_jobs_answer_has_a_form() -> None:
    """What can be asked directly can be asked for later."""
    texts = (llamacpp, infill, openai_chat, openai_completions, counting, openai_responses, tokens, embeddings, rerank)
    modules = (*texts, openai_images)
    paths = {route.path for module in modules for route in module.ROUTES}
    some = {
        *anthropic.FORMS,
        *ollama_forms.FORMS,
        *sdapi.FORMS,
        *sdapi_extras.FORMS,
    }  # modules with other routes as well
    assert paths | some == set(FORMS)


def test_an_unknown_route_is_named_with_the_nearest() -> None:
    """A slash too many is not the end of it."""
    with pytest.raises(BadRequest, match="did you mean '/v1/chat/completions'"):
        form_of("/v1/chat/completions/")


def test_an_answer_without_a_known_origin_is_none() -> None:
    """No origin, one of a newer release, a result that the route does not give."""
    done = Completed(TextResult("x"))
    assert answer_of(b"", RECORD, done) is None
    assert answer_of(Origin("/v2/new", b"{}").packed(), RECORD, done) is None
    known = Origin("/completion", b'{"prompt":"x"}').packed()
    assert answer_of(known, RECORD, Completed(ImageResult(()))) is None
    assert answer_of(known, RECORD, done)["content"] == "x"
