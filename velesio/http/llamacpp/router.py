"""llama.cpp's multi-model mode: loads and unloads models, and tells what becomes of them."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from aiohttp import web

from velesio.backends.base import ModelCard
from velesio.errors import BadRequest, ModelNotFound, NoWorker, Unsupported, VelesioError
from velesio.http import sse
from velesio.http.access import scopes
from velesio.http.access.keys import Credential
from velesio.http.families import NATIVE
from velesio.http.fields import Fields, given
from velesio.http.finding import choose_model, visible_cards
from velesio.http.gateway import CREDENTIAL, GATEWAY
from velesio.http.models import FACTS, status
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.relay import Relay
from velesio.http.wire import bad_field, encode, json_response, read_object
from velesio.queue import wishes
from velesio.queue.registry import Registry
from velesio.states import ModelState, overall

_PRESENT = {"loaded", "loading"}
_PATIENCE = 60.0
"""Seconds between two looks at the registry when it tells of no change."""


async def load(request: web.Request) -> web.Response:
    """`POST /models/load`: has a model loaded, and does not wait for it."""
    card, state = await _named(request)
    if state.state in _PRESENT:
        raise BadRequest("model is already running")
    gateway = request.app[GATEWAY]
    await wishes.load(gateway.broker, gateway.registry, card.name)
    return json_response({"success": True})


async def unload(request: web.Request) -> web.Response:
    """`POST /models/unload`: has a model unloaded when its jobs have ended, and does not wait for it."""
    card, state = await _named(request)
    if state.state not in {*_PRESENT, "sleeping"}:
        raise BadRequest("model is not running")
    scopes.demand_control(request, "unloading a model")
    gateway = request.app[GATEWAY]
    await wishes.unload(gateway.broker, gateway.registry, card.name)
    return json_response({"success": True})


async def _named(request: web.Request) -> tuple[ModelCard, ModelState]:
    """The model that a body names, and its state."""
    gateway = request.app[GATEWAY]
    body = await read_object(request, gateway.server.max_body)
    name = body.get("model", "")
    if not isinstance(name, str):
        raise bad_field("model", "expected a string")
    if not name:
        raise BadRequest("model name is missing from the request", param="model")
    card = choose_model(gateway.registry, request[CREDENTIAL], name, None)
    return card, overall(gateway.registry.states(card.name))


async def download(request: web.Request) -> web.Response:  # noqa: ARG001
    """`POST /models`, `DELETE /models`: files are put into place by operators, not over HTTP."""
    raise Unsupported(
        "models are neither fetched nor deleted over HTTP: put the file into server.models_dir, where workers "
        "see it within seconds, or have an administrator POST /admin/pulls"
    )


async def events(request: web.Request) -> web.StreamResponse:
    """`GET /models/sse`: what becomes of the models that the key may use, from now on."""
    gateway = request.app[GATEWAY]
    async with aclosing(_news(gateway.registry, request[CREDENTIAL])) as news:
        relay = Relay(news)
        gateway.tell(relay, request[CREDENTIAL])
        try:
            return await sse.respond(request, relay, _Frames())
        finally:
            gateway.ended(relay)


async def _news(registry: Registry, credential: Credential) -> AsyncGenerator[Sequence[dict[str, Any]], None]:
    """Changes of models, as batches of events."""
    seen = _look(registry, credential)
    while True:
        await registry.changed(_PATIENCE)
        earlier, seen = seen, _look(registry, credential)
        if found := changes(earlier, seen):
            yield found


def _look(registry: Registry, credential: Credential) -> dict[str, tuple[ModelCard, ModelState]]:
    cards = visible_cards(registry, credential)
    return {card.name: (card, overall(registry.states(card.name))) for card in cards}


Seen = Mapping[str, tuple[ModelCard, ModelState]]


def changes(earlier: Seen, later: Seen) -> Sequence[dict[str, Any]]:
    """The events that lead from one look at the models to the next."""
    told: list[dict[str, Any]] = []
    if later.keys() - earlier.keys():
        told.append({"model": "*", "event": "models_reload"})
    told += [{"model": name, "event": "model_remove"} for name in earlier if name not in later]
    for name, (card, state) in later.items():
        before = earlier[name][1] if name in earlier else ModelState()
        if (state.state, state.progress) != (before.state, before.progress):
            told.append({"model": name, "event": "model_status", "data": _changed(card, state)})
    return told


def _changed(card: ModelCard, state: ModelState) -> dict[str, Any]:
    described = status(state)
    told = {"status": described["value"]}
    told |= {name: described[name] for name in ("progress", "exit_code", "reason") if name in described}
    if state.state == "loaded":
        told["info"] = {"meta": {name: card.meta[name] for name in FACTS if name in card.meta}}
    return told


class _Frames:
    """Events without an end."""

    one_by_one = False

    def frames(self, _: int, event: dict[str, Any]) -> list[bytes]:
        """One event."""
        return [sse.event(encode(event))]

    def ping(self) -> bytes:
        """A comment."""
        return sse.COMMENT

    def failure(self, error: VelesioError) -> list[bytes]:
        """The last event."""
        return [sse.event(encode(NATIVE.body(error)))]

    def end(self) -> list[bytes]:
        """Nothing."""
        return []


ROUTES = [
    web.post("/models/load", load),
    web.post("/models/unload", unload),
    web.get("/models/sse", events, allow_head=False),
    web.post("/models", download),
    web.delete("/models", download),
]

_FIELDS: Fields = {"model": given(str, "a name or alias of `GET /models`", required=True)}
_EXAMPLE = {"model": "smollm2-135m-instruct"}
_ERRORS = (*OF_EVERY_ROUTE, ModelNotFound)
API = (
    Operation(
        method="POST",
        paths=("/models/load",),
        summary="Has a worker load a model, and does not wait for it.",
        notes="Models are also loaded by the first request for them, unless it says `?autoload=false`, which is "
        "refused with 400 while the model is not loaded.",
        fields=_FIELDS,
        example=_EXAMPLE,
        answer=lambda: {"success": True},
        errors=(*_ERRORS, NoWorker),
    ),
    Operation(
        method="POST",
        paths=("/models/unload",),
        summary="Has all workers unload a model when the jobs that hold it have ended, and does not wait for it.",
        fields=_FIELDS,
        example=_EXAMPLE,
        answer=lambda: {"success": True},
        errors=_ERRORS,
    ),
    Operation(
        method="GET",
        paths=("/models/sse",),
        summary="Streams what becomes of the models that the key may use, from now on.",
        notes="Events are `model_status` with `status` and, while it loads, `progress`; `model_remove`; and "
        "`models_reload` of the model `*` when there are new ones. A model that cannot be loaded is `unloaded` with "
        "`exit_code` and `reason`. Nothing is downloaded over HTTP: `POST /models` and `DELETE /models` are 501.",
        answers=None,
        streams="text/event-stream",
        errors=OF_EVERY_ROUTE,
    ),
    *(
        Operation(
            method=method,
            paths=("/models",),
            summary=f"Would {what} a model; refused with 501.",
            statuses=(501,),
            errors=(*OF_EVERY_ROUTE, Unsupported),
        )
        for method, what in (("POST", "fetch"), ("DELETE", "delete"))
    ),
)
