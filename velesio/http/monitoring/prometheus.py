"""Monitoring: what Prometheus reads, and the port for it alone, which asks for no key.

A worker has no other port; load balancers and orchestrators find its health there too.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiohttp import web
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric

from velesio.config import MonitoringSection
from velesio.errors import ConfigError
from velesio.http.monitoring.broker import Scrape
from velesio.http.wire import json_response
from velesio.queue.registry import WorkerInfo

Gauges = Callable[[], Awaitable[Iterable[Metric]]]
Reasons = Callable[[], Awaitable[list[str]]]


def exposition(accept: str, broker: Iterable[Metric] = ()) -> web.Response:
    """All metrics of this process, and `broker`'s: Prometheus's text format, or OpenMetrics where `accept` wants it."""
    write, content_type = choose_encoder(accept)
    return web.Response(body=write(Scrape(broker)), headers={"Content-Type": content_type})


def alive() -> web.Response:
    """The event loop runs."""
    return json_response({"status": "ok"})


def readiness(reasons: list[str]) -> web.Response:
    """Whether requests or jobs should come here, and if not, why."""
    if reasons:
        return json_response({"status": "unready", "reasons": reasons}, 503)
    return json_response({"status": "ready"})


def targets(workers: Iterable[WorkerInfo]) -> list[dict[str, Any]]:
    """The workers that can be scraped, as Prometheus's `http_sd_configs` wants them."""
    return [
        {"targets": [address], "labels": {"worker": worker.name or worker.id, "velesio_host": worker.host}}
        for worker in workers
        if (address := worker.info.get("monitoring"))
    ]


def application(
    unready: Reasons, gauges: Gauges | None = None, workers: Callable[[], list[WorkerInfo]] | None = None
) -> web.Application:
    """The routes of the monitoring port; a worker has neither `gauges` nor `workers` to tell of."""

    async def metrics(request: web.Request) -> web.Response:
        return exposition(request.headers.get("Accept", ""), await gauges() if gauges else ())

    async def livez(_: web.Request) -> web.Response:
        return alive()

    async def readyz(_: web.Request) -> web.Response:
        return readiness(await unready())

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics), web.get("/livez", livez), web.get("/readyz", readyz)])
    if workers is not None:
        told = workers

        async def discovery(_: web.Request) -> web.Response:
            return json_response(targets(told()))

        app.add_routes([web.get("/metrics/targets", discovery)])
    return app


async def listen(section: MonitoringSection, app: web.Application) -> web.AppRunner:
    """Serves `app` at the monitoring port until the runner is cleaned up.

    Raises:
        ConfigError: the port cannot be had.
    """
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, section.host, section.port).start()
    except OSError as error:
        await runner.cleanup()
        raise ConfigError(
            f"cannot listen on {section.host}:{section.port}: {error.strerror}; choose another port with "
            "--set monitoring.port=…"
        ) from None
    return runner
