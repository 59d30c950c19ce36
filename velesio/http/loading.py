"""Loading: has workers load and unload models on behalf of a request."""

import time

from aiohttp import web

from velesio.backends.base import ModelCard
from velesio.http.access import scopes
from velesio.http.gateway import GATEWAY
from velesio.queue import wishes
from velesio.states import ModelState, overall


def state_of(request: web.Request, card: ModelCard) -> ModelState:
    """A model's state, that of the worker nearest to serving it; `expires_at` is the latest of all."""
    return overall(request.app[GATEWAY].registry.states(card.name))


async def load(request: web.Request, card: ModelCard, keep_alive: float | None = None) -> float:
    """Have a model loaded, and wait for it, up to `[server] request_timeout`; answers the seconds that it took. It
    stays for `keep_alive` seconds after its last job (0: none; negative: for ever; None: as before), which a model that
    is loaded already is told too.

    Raises:
        ModelLoadFailed: with the reason, for half a minute at once.
        NoWorker: nobody serves it now.
        DeadlineExceeded: it takes longer.
    """
    gateway, began = request.app[GATEWAY], time.monotonic()
    told = await wishes.load(gateway.broker, gateway.registry, card.name, kept(request, keep_alive))
    await wishes.fulfilled(gateway.registry, told, gateway.server.request_timeout)
    return time.monotonic() - began


def kept(request: web.Request, keep_alive: float | None) -> float | None:
    """The keep-alive that a request asks for, if its key may say when a model is unloaded; else None."""
    return keep_alive if scopes.may_control(request) else None


async def unload(request: web.Request, card: ModelCard) -> None:
    """Have a model unloaded at every worker, when the jobs that hold it have ended, and wait for it.

    Raises:
        Forbidden: several tenants share this server, and the key is no administrator's.
        DeadlineExceeded: its jobs take longer than `[server] request_timeout`; it is unloaded later.
    """
    gateway = request.app[GATEWAY]
    scopes.demand_control(request, "unloading a model")
    told = await wishes.unload(gateway.broker, gateway.registry, card.name)
    await wishes.fulfilled(gateway.registry, told, gateway.server.request_timeout)
