"""Models, as operators see them and have them loaded, unloaded and pinned."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from velesio.errors import DeadlineExceeded, ModelLoadFailed, ModelNotFound, NoWorker, Unavailable
from velesio.http.admin import audited
from velesio.http.admin.feed import MODEL, NULLABLE
from velesio.http.fields import given, of
from velesio.http.gateway import GATEWAY
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.wire import bad_field, convert, json_response, read_object
from velesio.queue import facts, wishes
from velesio.queue.broker import Broker
from velesio.queue.registry import Registry

_PATIENCE = 300.0
"""Seconds that a request waits at most."""


class Order(msgspec.Struct):
    """The fields of an order."""

    model: str
    wait: bool = False


class Loading(Order):
    """Those of one to load."""

    keep_alive: float | None = None


Wishing = Callable[[Broker, Registry, str, Loading], Awaitable[wishes.Told]]

_ORDERS: dict[str, tuple[Wishing, str]] = {
    "load": (
        lambda broker, registry, name, order: wishes.load(broker, registry, name, order.keep_alive),
        "Has the worker with least to do load a model; those that have it get the `keep_alive`.",
    ),
    "unload": (
        lambda broker, registry, name, _: wishes.unload(broker, registry, name),
        "Has all workers unload a model when the jobs that hold it have ended. It is not pinned any more.",
    ),
    "pin": (
        lambda broker, registry, name, _: wishes.load(broker, registry, name, pinned=True),
        "Has a model loaded and kept, whatever other models are wanted and however long it has no jobs.",
    ),
    "unpin": (
        lambda broker, registry, name, _: wishes.release(broker, registry, name),
        "Lets a pinned model be unloaded again as its keep-alive and other models' jobs have it.",
    ),
}


async def models(request: web.Request) -> web.Response:
    """`GET /admin/models`: everything that is served or has a queue."""
    seen = await request.app[GATEWAY].lookout.current()
    return json_response({"models": seen["models"]})


def _ordering(name: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    wish, _ = _ORDERS[name]

    async def ordered(request: web.Request) -> web.Response:
        gateway = request.app[GATEWAY]
        order = convert(await read_object(request, gateway.server.max_body), Loading)
        if not order.model:
            raise bad_field("model", "name a model")
        card = gateway.registry.find(order.model)
        told = await wish(gateway.broker, gateway.registry, card.name, order)
        await audited.note(request, f"model.{name}", card.name, workers=list(told.workers))
        if order.wait and told.workers:
            await wishes.fulfilled(gateway.registry, told, _PATIENCE)
        return json_response(
            {"model": card.name, "workers": list(told.workers), "states": _states(gateway.registry, told)}
        )

    return ordered


def _states(registry: Registry, told: wishes.Told) -> dict[str, Any]:
    return {
        worker.id: facts.of_state(worker.state_of(told.wish.model))
        for worker in registry.workers()
        if worker.id in told.workers
    }


ROUTES = [
    web.get("/admin/models", models),
    *(web.post(f"/admin/models/{name}", _ordering(name)) for name in _ORDERS),
]

_FIELDS = of(
    Order,
    model="its name or an alias",
    wait=f"answer when it is done, within {_PATIENCE:g} seconds, and not at once",
)
_KEEP_ALIVE = {
    "keep_alive": given(float, "seconds after its last job at which it is unloaded; 0: at once, negative: never")
}
_STATE = {name: MODEL[name] for name in ("state", "since", "progress", "expires_at", "reason", "pinned")}
API = (
    Operation(
        method="GET",
        paths=("/admin/models",),
        summary="Every model that is served or has a queue, with its state, its bytes, its queue and its rates.",
        answer=lambda: {"models": [MODEL]},
        nullable=NULLABLE,
        errors=(*OF_EVERY_ROUTE, Unavailable),
    ),
    *(
        Operation(
            method="POST",
            paths=(f"/admin/models/{name}",),
            summary=summary,
            notes="`states` are those of the workers that were told, as they are then.",
            fields=_FIELDS | (_KEEP_ALIVE if name == "load" else {}),
            example={"model": MODEL["name"]},
            answer=lambda: {
                "model": MODEL["name"],
                "workers": MODEL["workers"],
                "states": {MODEL["workers"][0]: _STATE},
            },
            nullable=("expires_at",),
            errors=(*OF_EVERY_ROUTE, ModelNotFound, NoWorker, ModelLoadFailed, DeadlineExceeded, Unavailable),
        )
        for name, (_, summary) in _ORDERS.items()
    ),
)
