"""The table of all routes for programs: the modules that have them, and the page of docs/api where each stands.

A family adds its page here; the application's routes, the pages and the OpenAPI document are made from it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from velesio.http import (
    embeddings,
    infill,
    llamacpp,
    lora,
    models,
    props,
    rerank,
    router,
    sessions,
    slots,
    statements,
    status,
    streams,
    tokens,
    unity,
)
from velesio.http.admin import audited
from velesio.http.admin import feed as admin_feed
from velesio.http.admin import jobs as admin_jobs
from velesio.http.admin import keys as admin_keys
from velesio.http.admin import models as admin_models
from velesio.http.admin import pulls as admin_pulls
from velesio.http.admin import queue as admin_queue
from velesio.http.admin import tenants as admin_tenants
from velesio.http.admin import workers as admin_workers
from velesio.http.anthropic import messages as anthropic
from velesio.http.background import jobs as background
from velesio.http.background import lists as job_lists
from velesio.http.earlier import images as earlier_images
from velesio.http.earlier import texts as earlier
from velesio.http.ollama import generation, library
from velesio.http.openai import audio as openai_audio
from velesio.http.openai import chat as openai_chat
from velesio.http.openai import completions as openai_completions
from velesio.http.openai import control
from velesio.http.openai import images as openai_images
from velesio.http.openai import predict as openai_predict
from velesio.http.openai import responses as openai_responses
from velesio.http.operations import Operation
from velesio.http.pages import docs as docs_pages
from velesio.http.reference import Page, render
from velesio.http.sdapi import controlnet, drawing, extras, lists, progress, scheduler, settings, tools, web_page

LLAMACPP = Page.of(
    name="llamacpp",
    title="llama.cpp server's API",
    intro="""
What clients of llama.cpp's `llama-server` find here. Errors are `{"error": {"code", "message", "type"}}` with the HTTP
status as code; a path that is known is 404 for a method that it does not have. Fields that are null are as good as left
out, fields that are not named here are ignored. An API key goes into `Authorization: Bearer …` or `X-Api-Key`.
Streams of `/completion` and `/infill` are `data:` events without `[DONE]`; what keeps them alive is an event with empty
content. `/tools` and `/cors-proxy`, which are for that server's own web page, are not here.
""",
    parts=(
        llamacpp,
        infill,
        tokens,
        (embeddings, "NATIVE_API"),
        rerank,
        props,
        slots,
        lora,
        models,
        router,
        streams,
    ),
)
OPENAI = Page.of(
    name="openai",
    title="OpenAI's API",
    intro="""
What OpenAI's SDKs find here, at the base address `http://HOST:PORT/v1`. Errors are
`{"error": {"message", "type", "param", "code"}}`; `param` is the path of the field, like `messages[1].content`. Every
answer has `X-Request-ID`. Streams end with `[DONE]`; comments keep them alive.
""",
    parts=(
        openai_chat,
        control,
        (tokens, "COUNT_API"),
        openai_responses,
        openai_completions,
        embeddings,
        openai_images,
        (models, "ONE_API"),
        openai_audio,
        openai_predict,
    ),
)
ANTHROPIC = Page.of(
    name="anthropic",
    title="Anthropic's API",
    intro="""
What Anthropic's SDKs find here, at the base address `http://HOST:PORT`. Errors are
`{"type": "error", "error": {"type", "message"}}`. Any `anthropic-version` and `anthropic-beta` will do. Fields that are
null are as good as left out, fields that are not named here are ignored. Every answer has `request-id`.
""",
    parts=(anthropic,),
)
OLLAMA = Page.of(
    name="ollama",
    title="Ollama's API",
    intro="""
What Ollama's clients find here, at `OLLAMA_HOST=http://HOST:PORT`. Errors are `{"error": "…"}`. Streaming is the
default. Times are in nanoseconds. Fields that are null are as good as left out, fields that are not named here are
ignored. A model is called by its name or an alias, with or without `:latest`. Ollama's clients and every `HEAD /` are
told `Ollama is running`; the routes below `/v1` are those of OpenAI's and Anthropic's pages.
""",
    parts=(
        generation,
        library,
    ),
)
UNITY = Page.of(
    name="llmunity",
    title="LLMUnity's API",
    intro="""
What LLMUnity asks beside the routes of llama.cpp's server. [LLMUnity](../llmunity.md) tells how games connect, what
their streams look like and how to stand behind a proxy.
""",
    parts=(unity,),
)
EARLIER = Page.of(
    name="earlier",
    title="The earlier Velesio server's API",
    intro="""
Routes that its clients still ask: Ollama's requests without `/api`, answered whole by default, pictures, and the list
of image models. What its documentation says of `/models`, `/queue/status` and `/health` stands in the answers of these
routes beside what others read there.
""",
    parts=(
        earlier,
        earlier_images,
        (lists, "EARLIER"),
    ),
)
SDAPI = Page.of(
    name="sdapi",
    title="A1111's API",
    intro="""
What clients of AUTOMATIC1111's web UI find here, also at port 7860 ([ports](../ports.md)). Many requests are drawn at
once. Options, the chosen model, progress, interrupt and skip are those of the key that asks (a bearer token, or the
password of HTTP Basic), and `?id_task=` narrows them to the request with that `force_task_id`. The header
`X-Velesio-Job-Id` names the first job of a request. A client that leaves cancels its request, unless it sent an
[`Idempotency-Key`](../jobs.md), with which it can come back; `/v1/jobs` takes the same bodies in the background.

Errors are `{"error": "HTTPException", "detail", "body", "errors"}` with the HTTP status; values of a wrong type are 422
with a list in `detail`. Unknown fields are passed over; an unknown model, sampler, schedule or upscaler is refused with
the nearest names (samplers and schedules not if `lenient` or the option `sdapi.lenient` says so). Pictures come in
base64 or as `data:` addresses; others are fetched from the hosts of [`fetch.hosts`](../security.md), by default from
none. Progress is told by the gateway that answers the request: behind a balancer of several, send both to the same one.
""",
    parts=(
        drawing,
        progress,
        settings,
        lists,
        tools,
        extras,
        web_page,
        controlnet,
    ),
)
SCHEDULER = Page.of(
    name="agent-scheduler",
    title="The agent scheduler's API",
    intro="""
What clients of A1111's extension of that name find here. Its tasks are [background jobs](../jobs.md): they go on when
their client leaves and when the server restarts, belong to the tenant whose key queued them, and are known to
`/v1/jobs` by the same ids. Nobody arranges them by hand: jobs are served by fair shares.
""",
    parts=(scheduler,),
)
VELESIO = Page.of(
    name="velesio",
    title="Velesio's own routes",
    intro="""
Background jobs ([more](../jobs.md)), and what operators and their programs ask. `GET /metrics` answers in Prometheus's
text format, `GET /openapi.json` tells all of these pages as OpenAPI 3.1.
""",
    parts=(
        background,
        job_lists,
        sessions,
        statements,
        status,
        docs_pages,
    ),
)
ADMIN = Page.of(
    name="admin",
    title="The administration's API",
    intro="""
What operators do and see over HTTP, with a key that has the scope `admin`; [the administration's page](../admin.md)
tells more, the same on the command line too. Errors are `{"error": {"message", "type", "param", "code"}}`.
""",
    parts=(
        admin_feed,
        admin_workers,
        admin_models,
        admin_pulls,
        admin_queue,
        admin_jobs,
        admin_keys,
        admin_tenants,
        audited,
    ),
)
PAGES = (VELESIO, ADMIN, LLAMACPP, OPENAI, ANTHROPIC, OLLAMA, UNITY, SDAPI, SCHEDULER, EARLIER)


def routes() -> Iterator[web.RouteDef]:
    """Those of all pages; of a module that stands on several, once."""
    for module in dict.fromkeys(module for page in PAGES for module in page.modules):
        yield from module.ROUTES


def operations() -> Iterator[Operation]:
    """Those of all pages."""
    for page in PAGES:
        yield from page.operations


def write(folder: Path) -> list[Path]:
    """Writes the pages; returns those that were not current."""
    changed = []
    for page in PAGES:
        path, text = folder / f"{page.name}.md", render(page)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


if __name__ == "__main__":
    sys.stdout.writelines(f"{path}\n" for path in write(Path("docs/api")))
