"""Finding models: which of those that are served a request means, and whether its key may use it."""

import time
from collections.abc import Sequence

from aiohttp import web

from velesio.backends.base import ModelCard
from velesio.errors import BadRequest, Forbidden, ModelNotFound, NoWorker, ShuttingDown
from velesio.http.access import scopes
from velesio.http.access.keys import Credential
from velesio.http.gateway import CREDENTIAL, GATEWAY, LLAMACPP, SCALES, port_name
from velesio.jobs import Capability
from velesio.nearest import nearest, quoted
from velesio.queue import adapters
from velesio.queue.registry import Registry
from velesio.states import overall


async def find_model(request: web.Request, name: str, capability: Capability) -> ModelCard:
    """The card of the model that a request names; an empty name is the default one. Waits up to
    `[server] loading_wait` seconds for a worker. Notes the scales of its adapters for `scaled`.

    Raises:
        ModelNotFound: naming those that the key may use.
        NoWorker: nobody serves it now.
        Forbidden: the key may not use it, or is not for what it makes.
        BadRequest: it is not loaded, and the request says `?autoload=false`.
    """
    gateway = request.app[GATEWAY]
    scopes.permit(request[CREDENTIAL], capability)
    name = _meant(request, name, capability)
    if gateway.draining:
        raise ShuttingDown
    end = time.monotonic() + gateway.server.loading_wait
    while True:
        try:
            card = choose_model(gateway.registry, request[CREDENTIAL], name, capability)
            _check_loaded(request, card)
        except NoWorker:
            left = end - time.monotonic()
            if left <= 0:
                raise
        else:
            if known := card.meta.get("lora"):
                scales = await adapters.read(gateway.broker, card.name)
                request[SCALES] = tuple((one["id"], one["scale"]) for one in known) if scales is None else scales
            return card
        await gateway.registry.changed(left)


def _meant(request: web.Request, name: str, capability: Capability) -> str:
    """The name, but where a client of llama.cpp's server looks for it: one that serves one model ignores names."""
    if not name or port_name(request) != LLAMACPP:
        return name
    cards = [
        card
        for card in visible_cards(request.app[GATEWAY].registry, request[CREDENTIAL])
        if card.capability == capability
    ]
    return cards[0].name if len(cards) == 1 else name


def _check_loaded(request: web.Request, card: ModelCard) -> None:
    """`?autoload=false` of llama.cpp's multi-model mode."""
    if request.query.get("autoload", "true") in {"true", "1", ""}:
        return
    state = overall(request.app[GATEWAY].registry.states(card.name)).state
    if state != "loaded":
        raise BadRequest(
            f"model is not loaded: {card.name} is {state}; POST /models/load loads it, or leave autoload out"
        )


def choose_model(registry: Registry, credential: Credential, name: str, capability: Capability | None) -> ModelCard:
    """`Registry.find`, with eyes only for the models of the key."""
    if not credential.restricted:
        return registry.find(name, capability)
    visible = visible_cards(registry, credential)
    if not name:
        for card in visible:
            if card.capability == capability:
                return card
        raise NoWorker(f"nobody serves a {capability} model that this key may use")
    try:
        card = registry.find(name, capability)
    except ModelNotFound:
        raise unknown_model(name, visible) from None
    if not credential.allows(card.name, *card.aliases):
        usable = ", ".join(card.name for card in visible) or "none that is served"
        raise Forbidden(f"this key may not use the model {quoted(name)}; it may use {usable}", param="model")
    return card


def visible_cards(registry: Registry, credential: Credential) -> list[ModelCard]:
    """The models that are served and that the key may use."""
    return [card for card in registry.cards() if credential.allows(card.name, *card.aliases)]


def unknown_model(name: str, cards: Sequence[ModelCard]) -> ModelNotFound:
    """The refusal of a name, with those of `cards` and the one that may have been meant."""
    names = [name for card in cards for name in (card.name, *card.aliases)]
    near = nearest(name, names)
    meant = f" Did you mean {near[0]!r}?" if near else ""
    return ModelNotFound(
        f"no model is called {quoted(name)}; served are {', '.join(names) or 'none'}.{meant}", param="model"
    )
