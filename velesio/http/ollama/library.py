"""Ollama's routes about models: what there is, what is loaded, and what changes files, which nobody may from afar."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from velesio import __version__
from velesio.backends.base import ModelCard
from velesio.errors import BadRequest, ModelNotFound, NotFound, Unsupported
from velesio.http.fields import Fields, given, passed
from velesio.http.finding import find_model, visible_cards
from velesio.http.gateway import BODY, CREDENTIAL, GATEWAY
from velesio.http.loading import state_of
from velesio.http.ollama.answers import lines_response
from velesio.http.ollama.models import names_of, running, show, tags
from velesio.http.ollama.requests import MODEL
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.wire import bad_field, json_response, parse_object, read_bytes
from velesio.nearest import quoted
from velesio.states import ModelState

RELEASE = "0.21.0"
"""The release of Ollama whose API this is. Clients compare it, as three numbers, with the oldest that has what they
need and turn others away: Copilot in VS Code and Raycast want 0.6.4, Codex 0.13.4 for `/v1/responses`. So it is neither
Velesio's own nor anything with a suffix."""

_PULLED = ("pulling manifest", "verifying sha256 digest", "writing manifest", "success")
_FILES = "models of this server are files and tables of its config.toml"


async def read_body(request: web.Request) -> dict[str, Any]:
    """The body.

    Raises:
        BadRequest: in Ollama's words, if there is none.
    """
    request[BODY] = await read_bytes(request, request.app[GATEWAY].server.max_body)
    if not request[BODY].strip():
        raise BadRequest("missing request body")
    return parse_object(request[BODY])


async def model_of(request: web.Request, name: str) -> ModelCard:
    """The card for a model's name, with or without `:latest`.

    Raises:
        ModelNotFound: in Ollama's words, which some clients look for.
    """
    for candidate in names_of(name):
        try:
            return await find_model(request, candidate, "text")
        except ModelNotFound as error:
            missing = error
    raise ModelNotFound(f"model {quoted(name)} not found: {missing.message}", param="model")


def named(raw: Mapping[str, Any]) -> str:
    """The model that a body names; `name` is its older name."""
    name = raw.get("model", raw.get("name"))
    if not isinstance(name, str) or not name:
        raise bad_field("model", "is required: the name of a model, as /api/tags lists them")
    return name


async def list_tags(request: web.Request) -> web.Response:
    """`GET /api/tags`."""
    return json_response(tags(visible_cards(request.app[GATEWAY].registry, request[CREDENTIAL])))


async def list_running(request: web.Request) -> web.Response:
    """`GET /api/ps`."""
    cards = visible_cards(request.app[GATEWAY].registry, request[CREDENTIAL])
    return json_response(running(cards, lambda card: state_of(request, card)))


async def show_model(request: web.Request) -> web.Response:
    """`POST /api/show`."""
    return json_response(show(await model_of(request, named(await read_body(request)))))


async def version(request: web.Request) -> web.Response:  # noqa: ARG001
    """`GET /api/version`: the release of Ollama whose API this is, and Velesio's own."""
    return json_response({"version": RELEASE, "velesio": __version__})


async def pull(request: web.Request) -> web.StreamResponse:
    """`POST /api/pull`: a model that is there is pulled at once, another never."""
    raw = await read_body(request)
    name = named(raw)
    try:
        await model_of(request, name)
    except ModelNotFound as error:
        remedy = "requests fetch no models here: `velesio models pull` does, or put its GGUF file into models_dir"
        raise ModelNotFound(f"pull model manifest: {error.message} {remedy}", param="model") from None
    lines = [{"status": status} for status in _PULLED]
    return lines_response(lines, stream=raw.get("stream") is not False)


async def push(request: web.Request) -> web.StreamResponse:
    """`POST /api/push`: refused."""
    named(await read_body(request))
    raise Unsupported(f"models cannot be pushed: {_FILES}")


async def create(request: web.Request) -> web.StreamResponse:
    """`POST /api/create`: refused."""
    named(await read_body(request))
    raise Unsupported(
        f"models cannot be created by request: {_FILES}; send system, format and options with each request instead"
    )


async def copy(request: web.Request) -> web.StreamResponse:
    """`POST /api/copy`: refused, where the source is there."""
    raw = await read_body(request)
    await model_of(request, named({"model": raw.get("source")}))
    raise Unsupported(f"models cannot be copied by request: {_FILES}; give the model `aliases` there")


async def delete(request: web.Request) -> web.StreamResponse:
    """`DELETE /api/delete`: refused, where the model is there."""
    await model_of(request, named(await read_body(request)))
    raise Unsupported(f"models cannot be deleted by request: {_FILES}; remove it there and start the worker again")


async def find_blob(request: web.Request) -> web.Response:
    """`HEAD /api/blobs/{digest}`: there is none."""
    raise NotFound(f"there is no blob {request.match_info['digest']}: {_FILES}")


async def store_blob(request: web.Request) -> web.Response:  # noqa: ARG001
    """`POST /api/blobs/{digest}`: refused."""
    raise Unsupported(f"files of models cannot be sent: {_FILES}")


ROUTES = [
    web.get("/api/tags", list_tags),
    web.get("/api/ps", list_running),
    web.post("/api/show", show_model),
    web.get("/api/version", version),
    web.post("/api/pull", pull),
    web.post("/api/push", push),
    web.post("/api/create", create),
    web.post("/api/copy", copy),
    web.delete("/api/delete", delete),
    web.get("/api/blobs/{digest}", find_blob),
    web.post("/api/blobs/{digest}", store_blob),
]

_CARD = ModelCard(
    name="smollm2-135m-instruct",
    backend="llama",
    capability="text",
    bytes=180_000_000,
    context=8192,
    created=1_764_000_000,
    meta={"architecture": "llama", "n_params": 134_515_008, "ftype": "Q4_1", "size": 98_000_000, "n_embd": 576},
)
_UNTIL = ModelState(state="loaded", expires_at=1_764_000_300.0)
_NAMED: Fields = {"model": MODEL, "name": given(str, "the older name of `model`")}
_STREAM = given(bool, "tell what happens line by line", default=True)
_OF_NAMES = (*OF_EVERY_ROUTE, ModelNotFound)
_NEVER = (*OF_EVERY_ROUTE, Unsupported)

API = (
    Operation(
        method="GET",
        paths=("/api/tags",),
        summary="Lists the text models that are served and that the key may use.",
        answer=lambda: tags([_CARD]),
        errors=OF_EVERY_ROUTE,
    ),
    Operation(
        method="GET",
        paths=("/api/ps",),
        summary="Lists the models that workers have loaded, and until when they stay.",
        notes="`expires_at` is far away for those that stay for ever. Workers do not tell how much of a model is on a "
        "GPU: `size_vram` is 0.",
        answer=lambda: running([_CARD], lambda _: _UNTIL),
        errors=OF_EVERY_ROUTE,
    ),
    Operation(
        method="POST",
        paths=("/api/show",),
        summary="Tells what is known of a model.",
        fields={**_NAMED, "verbose": passed("everything that is known is told anyway")},
        example={"model": _CARD.name},
        answer=lambda: show(_CARD),
        errors=_OF_NAMES,
    ),
    Operation(
        method="GET",
        paths=("/api/version",),
        summary="Tells the release of Ollama whose API this is, and Velesio's own.",
        answer=lambda: {"version": RELEASE, "velesio": __version__},
        errors=OF_EVERY_ROUTE,
    ),
    Operation(
        method="POST",
        paths=("/api/pull",),
        summary="Finds a model that is there; none is fetched.",
        fields={**_NAMED, "stream": _STREAM, "insecure": passed("nothing is fetched")},
        example={"model": _CARD.name, "stream": False},
        answer=lambda: {"status": _PULLED[-1]},
        streams="application/x-ndjson",
        errors=_OF_NAMES,
    ),
    Operation(
        method="POST",
        paths=("/api/push",),
        summary="Is refused: models are not sent anywhere.",
        fields={**_NAMED, "stream": _STREAM, "insecure": passed("nothing is sent")},
        example={"model": _CARD.name},
        statuses=(501,),
        errors=_NEVER,
    ),
    Operation(
        method="POST",
        paths=("/api/create",),
        summary="Is refused: models are files and tables of config.toml; `system` and `options` go with requests.",
        fields=_NAMED,
        example={"model": "mine"},
        statuses=(501,),
        errors=_NEVER,
    ),
    Operation(
        method="POST",
        paths=("/api/copy",),
        summary="Is refused: further names of a model are its `aliases` in config.toml.",
        fields={"source": MODEL, "destination": given(str, "another name")},
        example={"source": _CARD.name, "destination": "mine"},
        statuses=(501,),
        errors=(*_NEVER, ModelNotFound),
    ),
    Operation(
        method="DELETE",
        paths=("/api/delete",),
        summary="Is refused: models are taken away where their files are.",
        fields=_NAMED,
        example={"model": _CARD.name},
        statuses=(501,),
        errors=(*_NEVER, ModelNotFound),
    ),
    Operation(
        method="GET",
        paths=("/api/blobs/{digest}",),
        summary="Finds nothing: no files of models are kept under digests.",
        statuses=(404,),
        errors=(*OF_EVERY_ROUTE, NotFound),
    ),
    Operation(
        method="POST",
        paths=("/api/blobs/{digest}",),
        summary="Is refused: no files of models are taken.",
        body="application/octet-stream",
        statuses=(501,),
        errors=_NEVER,
    ),
)
