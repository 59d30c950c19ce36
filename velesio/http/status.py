"""Health, readiness, metrics and the state of the queue."""

from typing import Any

from aiohttp import web

from velesio import __version__
from velesio.errors import ModelLoading, Unavailable
from velesio.http.access import scopes
from velesio.http.access.keys import LOCAL, Credential
from velesio.http.earlier import facts as earlier
from velesio.http.families import NATIVE, headers_of
from velesio.http.gateway import CREDENTIAL, GATEWAY, LLAMACPP, LOADING, NO_MODEL, port_name
from velesio.http.llamacpp import metrics as llamacpp_metrics
from velesio.http.monitoring import prometheus as monitoring
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.wire import json_response
from velesio.queue.client import ModelDepth, QueueStatus
from velesio.queue.registry import WorkerInfo


async def livez(request: web.Request) -> web.Response:  # noqa: ARG001
    """`/livez`: the event loop runs."""
    return monitoring.alive()


async def readyz(request: web.Request) -> web.Response:
    """`/readyz`: whether requests should come here, and if not, why."""
    return monitoring.readiness(await request.app[GATEWAY].unready())


async def health(request: web.Request) -> web.Response:
    """`/health`: what llama.cpp's clients ask before they send anything."""
    reasons = await request.app[GATEWAY].unready()
    if not reasons:
        # `/v1/health` is llama.cpp's alone, and so is its port; the earlier Velesio server told more at `/health`.
        own = request.path == "/health" and port_name(request) != LLAMACPP
        more = earlier.health_of(request.app[GATEWAY].registry.cards()) if own else {}
        return json_response({"status": "ok"} | more)
    error = ModelLoading() if set(reasons) <= {NO_MODEL, LOADING} else Unavailable("; ".join(reasons))
    return json_response(NATIVE.body(error), error.status, headers_of(error))


async def metrics(request: web.Request) -> web.Response:
    """`/metrics`: Prometheus's text format, or OpenMetrics where the scraper prefers it. Of this process and of the
    queue; at the port for llama.cpp's clients, or with `?model=`, what llama.cpp's server tells, of all workers."""
    if llamacpp_metrics.wanted(request):
        return await llamacpp_metrics.metrics(request)
    if request.app[GATEWAY].tell_tenants or request[CREDENTIAL].restricted:
        scopes.require(request, scopes.ADMIN)  # they name other tenants, or models that this key may not know
    return monitoring.exposition(request.headers.get("Accept", ""), await request.app[GATEWAY].metrics.metrics())


async def targets(request: web.Request) -> web.Response:
    """`/metrics/targets`: the workers' monitoring ports, as Prometheus's `http_sd_configs` reads them."""
    return json_response(monitoring.targets(request.app[GATEWAY].registry.workers()))


async def queue_status(request: web.Request) -> web.Response:
    """`/queue/status`: counts of jobs, and the workers with what they hold."""
    gateway = request.app[GATEWAY]
    status = await gateway.queue.status()
    told = described(status, gateway.registry.workers(), request[CREDENTIAL])
    return json_response(told | earlier.queue_of(told))


def described(status: QueueStatus, workers: list[WorkerInfo], credential: Credential) -> dict[str, Any]:
    """The queue, as far as it is of models that the key may use."""
    models = [model for model in status.models if credential.allows(model.model)]
    waiting = sum(sum(model.waiting) for model in models)
    return {
        "depth": waiting,
        "pending": waiting + status.scheduled,
        "active": sum(model.running for model in models),
        "completed": sum(model.done for model in models),
        "failed": sum(model.failed for model in models),
        "cancelled": sum(model.cancelled for model in models),
        "scheduled": status.scheduled,
        "dead": status.dead,
        "models": [_model(model) for model in models],
        "workers": [_worker(worker, credential) for worker in workers],
    }


def _model(model: ModelDepth) -> dict[str, Any]:
    interactive, normal, batch = model.waiting
    return {
        "model": model.model,
        "capability": model.capability,
        "waiting": {"interactive": interactive, "normal": normal, "batch": batch},
        "running": model.running,
        "oldest_seconds": round(model.oldest, 3),
        "completed": model.done,
        "failed": model.failed,
        "cancelled": model.cancelled,
    }


def _worker(worker: WorkerInfo, credential: Credential) -> dict[str, Any]:
    return {
        "id": worker.id,
        "name": worker.name,
        "host": worker.host,
        "version": worker.version,
        "state": worker.state,
        "slots": worker.slots,
        "models": [card.name for card in worker.cards if credential.allows(card.name, *card.aliases)],
        "jobs": worker.jobs,
        "beat": worker.beat,
        **earlier.worker_of(worker),
    }


ROUTES = [
    web.get("/livez", livez),
    web.get("/readyz", readyz),
    web.get("/health", health),
    web.post("/health", health),
    web.get("/v1/health", health),
    web.post("/v1/health", health),
    web.get("/metrics", metrics),
    web.get("/metrics/targets", targets),
    web.get("/queue/status", queue_status),
]
PUBLIC = frozenset({"/livez", "/readyz", "/health", "/v1/health"})
"""Paths that need no key."""

_EXAMPLE = QueueStatus(
    models=[ModelDepth(model="smollm2-135m-instruct", capability="text", waiting=(0, 3, 0), running=1, done=812)],
    dead=1,
)
_WORKER = WorkerInfo(id="gpu-1.4f2a91", name="gpu-1", host="gpu-1", version=__version__, slots=4, beat=1795423600.2)
API = (
    Operation(
        method="GET",
        paths=("/livez",),
        summary="Whether the process runs. Needs no key.",
        answer=lambda: {"status": "ok"},
        public=True,
        errors=(),
    ),
    Operation(
        method="GET",
        paths=("/readyz",),
        summary="Whether requests should come here; 503 with the reasons if not. Needs no key.",
        answer=lambda: {"status": "ready"},
        public=True,
        errors=(Unavailable,),
    ),
    *(
        Operation(
            method=method,
            paths=("/health", "/v1/health"),
            summary="What llama.cpp's clients and LLMUnity ask before they send anything. Needs no key.",
            answer=lambda: {"status": "ok"},
            public=True,
            errors=(Unavailable,),
        )
        for method in ("GET", "POST")
    ),
    Operation(
        method="GET",
        paths=("/metrics/targets",),
        summary="The workers' monitoring ports, for Prometheus's `http_sd_configs`.",
        answer=lambda: [{"targets": ["gpu-1:9101"], "labels": {"worker": "gpu-1", "velesio_host": "gpu-1"}}],
        answers=list[dict[str, Any]],
        errors=OF_EVERY_ROUTE,
    ),
    Operation(
        method="GET",
        paths=("/queue/status",),
        summary="Counts of jobs by state and model, and the workers with what they hold.",
        answer=lambda: described(_EXAMPLE, [_WORKER], LOCAL) | earlier.queue_of(described(_EXAMPLE, [_WORKER], LOCAL)),
        errors=(*OF_EVERY_ROUTE, Unavailable),
    ),
)
