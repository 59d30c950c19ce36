"""Workers, as operators see them and tell them to rest, to go on or to leave."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from velesio.errors import NotFound, Unavailable
from velesio.http.admin import audited
from velesio.http.admin.feed import WORKER
from velesio.http.gateway import GATEWAY
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.wire import json_response
from velesio.queue import facts
from velesio.queue.registry import Registry

_ORDERS: dict[str, tuple[Callable[[Registry, str], Awaitable[list[str]]], str]] = {
    "drain": (
        Registry.drain,
        "Has a worker finish what it holds, give back the rest and leave; does not wait for it.",
    ),
    "quiet": (
        Registry.quiet,
        "Has a worker take no new jobs; it stays, and ends those that it has.",
    ),
    "resume": (
        Registry.resume,
        "Has a quiet worker take jobs again. One that was told to leave leaves.",
    ),
}


async def workers(request: web.Request) -> web.Response:
    """`GET /admin/workers`: those that live."""
    registry = request.app[GATEWAY].registry
    return json_response({"workers": [facts.of_worker(worker) for worker in registry.workers()]})


async def worker(request: web.Request) -> web.Response:
    """`GET /admin/workers/{worker}`: by id or name."""
    registry, name = request.app[GATEWAY].registry, request.match_info["worker"]
    for each in registry.workers():
        if name in {each.id, each.name}:
            return json_response(facts.of_worker(each))
    raise _unknown(registry, name)


def _ordering(order: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    tell, _ = _ORDERS[order]

    async def ordered(request: web.Request) -> web.Response:
        registry, name = request.app[GATEWAY].registry, request.match_info["worker"]
        told = await tell(registry, name)
        if not told:
            raise _unknown(registry, name)
        for each in told:
            await audited.note(request, f"worker.{order}", each)
        return json_response({"order": order, "workers": told})

    return ordered


def _unknown(registry: Registry, name: str) -> NotFound:
    here = ", ".join(each.id for each in registry.workers()) or "none"
    return NotFound(f"no worker has the name or id {name!r}; there are: {here}", param="worker")


ROUTES = [
    web.get("/admin/workers", workers),
    web.get("/admin/workers/{worker}", worker),
    *(web.post(f"/admin/workers/{{worker}}/{order}", _ordering(order)) for order in _ORDERS),
]

_ERRORS = (*OF_EVERY_ROUTE, NotFound, Unavailable)
_NULLABLE = ("expires_at",)
API = (
    Operation(
        method="GET",
        paths=("/admin/workers",),
        summary="The workers that live, with their models, slots, memory and jobs.",
        answer=lambda: {"workers": [WORKER]},
        nullable=_NULLABLE,
        errors=(*OF_EVERY_ROUTE, Unavailable),
    ),
    Operation(
        method="GET",
        paths=("/admin/workers/{worker}",),
        summary="One of them, by its id or its configured name.",
        answer=lambda: WORKER,
        nullable=_NULLABLE,
        errors=_ERRORS,
    ),
    *(
        Operation(
            method="POST",
            paths=(f"/admin/workers/{{worker}}/{order}",),
            summary=summary,
            notes="A name may be that of several workers: all of them are told.",
            answer=lambda order=order: {"order": order, "workers": [WORKER["id"]]},  # type: ignore[misc]
            errors=_ERRORS,
        )
        for order, (_, summary) in _ORDERS.items()
    ),
)
