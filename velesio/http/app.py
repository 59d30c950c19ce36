"""The HTTP application: every route and what surrounds it."""

from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from velesio.http import middleware, openapi, reference_pages
from velesio.http.admin import pulls as admin_pulls
from velesio.http.background.webhooks import WEBHOOKS, Webhooks
from velesio.http.connections import Patience, Runner
from velesio.http.fetching import FETCHER, Fetcher
from velesio.http.gateway import GATEWAY, Gateway
from velesio.http.pages import assets
from velesio.http.pages import site as pages
from velesio.http.sdapi import drawing as sdapi
from velesio.queue.hooks import Hooks

__all__ = ["ROUTES", "Gateway", "build", "runner"]

ROUTES = [
    *pages.ROUTES,
    *assets.ROUTES,
    *reference_pages.routes(),
    openapi.route(lambda: reference_pages.PAGES),
]


def build(gateway: Gateway) -> web.Application:
    """The application over `gateway`'s parts, which must have been started."""
    app = web.Application(middlewares=middleware.MIDDLEWARES, client_max_size=gateway.server.max_body)
    app[GATEWAY] = gateway
    pages.setup(app)
    admin_pulls.setup(app)
    sdapi.setup(app)
    app[WEBHOOKS] = Webhooks(gateway.webhooks, Hooks(gateway.broker))
    app[FETCHER] = Fetcher(gateway.fetch)
    app.cleanup_ctx.append(_reaching_out)
    app.add_routes(ROUTES)
    app.on_response_prepare.append(middleware.sign)
    return app


async def _reaching_out(app: web.Application) -> AsyncIterator[None]:
    """While the application runs, it tells webhooks of ended jobs and fetches pictures."""
    app[WEBHOOKS].start()
    yield
    await app[WEBHOOKS].close()
    await app[FETCHER].close()


def runner(gateway: Gateway, **options: Any) -> web.AppRunner:
    """A runner with the settings that the handlers rely on: a client that leaves cancels its handler. To stop it, let
    `gateway.finish` end the answers first."""
    server = gateway.server
    settings: dict[str, Any] = {
        "handler_cancellation": True,
        "handle_signals": False,
        "access_log": None,
        "keepalive_timeout": server.keepalive_timeout,
        "max_line_size": server.max_headers,
        "max_field_size": server.max_headers,
        "shutdown_timeout": 1.0,
    }
    return Runner(build(gateway), patience=Patience(server.header_timeout, server.write_timeout), **settings | options)
