"""The HTTP application: every route and what surrounds it."""

from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from velesio.http import (
    admin_feed,
    admin_jobs,
    admin_keys,
    admin_models,
    admin_pulls,
    admin_queue,
    admin_tenants,
    admin_workers,
    anthropic,
    assets,
    audited,
    background,
    control,
    docs_pages,
    earlier,
    earlier_images,
    embeddings,
    infill,
    job_lists,
    llamacpp,
    lora,
    middleware,
    models,
    ollama,
    ollama_library,
    openai_audio,
    openai_chat,
    openai_completions,
    openai_images,
    openai_predict,
    openai_responses,
    openapi,
    pages,
    props,
    reference_pages,
    rerank,
    router,
    sdapi,
    sdapi_controlnet,
    sdapi_extras,
    sdapi_lists,
    sdapi_progress,
    sdapi_scheduler,
    sdapi_settings,
    sdapi_tools,
    sdapi_web,
    sessions,
    slots,
    statements,
    status,
    streams,
    tokens,
    unity,
)
from velesio.http.connections import Runner
from velesio.http.fetching import FETCHER, Fetcher
from velesio.http.gateway import GATEWAY, Gateway
from velesio.http.webhooks import WEBHOOKS, Webhooks
from velesio.queue.hooks import Hooks

__all__ = ["ROUTES", "Gateway", "build", "runner"]

ROUTES = [
    *pages.ROUTES,
    *assets.ROUTES,
    *docs_pages.ROUTES,
    *status.ROUTES,
    *models.ROUTES,
    *router.ROUTES,
    *llamacpp.ROUTES,
    *infill.ROUTES,
    *tokens.ROUTES,
    *embeddings.ROUTES,
    *rerank.ROUTES,
    *slots.ROUTES,
    *props.ROUTES,
    *lora.ROUTES,
    *openai_chat.ROUTES,
    *control.ROUTES,
    *openai_completions.ROUTES,
    *openai_predict.ROUTES,
    *openai_responses.ROUTES,
    *openai_audio.ROUTES,
    *openai_images.ROUTES,
    *unity.ROUTES,
    *anthropic.ROUTES,
    *ollama.ROUTES,
    *ollama_library.ROUTES,
    *earlier.ROUTES,
    *sdapi.ROUTES,
    *sdapi_lists.ROUTES,
    *sdapi_settings.ROUTES,
    *sdapi_progress.ROUTES,
    *sdapi_tools.ROUTES,
    *sdapi_extras.ROUTES,
    *sdapi_scheduler.ROUTES,
    *sdapi_web.ROUTES,
    *earlier_images.ROUTES,
    *sdapi_controlnet.ROUTES,
    *admin_feed.ROUTES,
    *admin_workers.ROUTES,
    *admin_models.ROUTES,
    *admin_pulls.ROUTES,
    *admin_queue.ROUTES,
    *admin_jobs.ROUTES,
    *admin_keys.ROUTES,
    *admin_tenants.ROUTES,
    *audited.ROUTES,
    *statements.ROUTES,
    *background.ROUTES,
    *job_lists.ROUTES,
    *sessions.ROUTES,
    *streams.ROUTES,
    openapi.route(lambda: reference_pages.PAGES),
]


def build(gateway: Gateway) -> web.Application:
    """The application over `gateway`'s parts, which must have been started."""
    app = web.Application(middlewares=middleware.MIDDLEWARES, client_max_size=gateway.server.max_body)
    app[GATEWAY] = gateway
    pages.setup(app)
    admin_pulls.setup(app)
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
    return Runner(build(gateway), patience=server.header_timeout, **settings | options)
