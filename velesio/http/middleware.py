"""What surrounds every handler: request id, log line, metrics, error shapes, keys."""

import asyncio
import re
import secrets
import time

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler

from velesio import logs, metrics, tracing
from velesio.errors import BadRequest, BodyTooLarge, NotFound, TooManyKeys, Unauthorized, VelesioError
from velesio.http import openapi, status
from velesio.http.access import cors, limits, scopes
from velesio.http.access.keys import LOCAL, Credential
from velesio.http.access.safeguards import guard
from velesio.http.access.visitors import VISITOR, check_host, greet
from velesio.http.anthropic import models as anthropic_models
from velesio.http.families import A1111, ANTHROPIC, NATIVE, OPENAI, Family, family_of, headers_of, unexpected
from velesio.http.gateway import (
    ARRIVED,
    CREDENTIAL,
    GATEWAY,
    JOB_ID,
    LINES,
    LLAMACPP,
    QUEUED,
    REPLAYED,
    REQUEST_ID,
    TRACE,
    port_name,
)
from velesio.http.pages import assets, sign_in
from velesio.http.pages import docs as docs_pages
from velesio.http.pages import site as pages
from velesio.http.recording import outlive
from velesio.http.wire import json_response

log = structlog.get_logger("velesio.http")

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
_CLIENT_LEFT = 499
_QUIET = status.PUBLIC | {"/metrics"}
"""Routes that machines ask all the time: their log lines are for debugging only."""


class MethodNotAllowed(BadRequest):
    """This address does not know that method."""

    code = "method_not_allowed"
    status = 405


@web.middleware
async def observe(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives the request its id, and when it is over, a line in the log and its place in the metrics."""
    request[ARRIVED] = time.monotonic()
    request[REQUEST_ID] = _request_id(request)
    greet(request, request.app[GATEWAY].trusted_proxies)
    logs.begin(request_id=request[REQUEST_ID])
    code = _CLIENT_LEFT
    with tracing.serving(request.headers.get("traceparent", ""), request.method) as serving:
        if serving.parent:
            request[TRACE] = serving.parent
            logs.add(trace_id=tracing.trace_id(serving.parent))
        try:
            response = await handler(request)
            code = response.status
        finally:
            route = _account(request, code)
            serving.end(request.method, route, code)
    return response


def _request_id(request: web.Request) -> str:
    given = request.headers.get("X-Request-ID", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)


def _account(request: web.Request, code: int) -> str:
    """The log line and the metrics; answers the route."""
    seconds = time.monotonic() - request[ARRIVED]
    resource = request.match_info.route.resource
    route = resource.canonical if resource else "unmatched"
    metrics.child(metrics.requests, route, str(code)).inc()
    metrics.child(metrics.request_seconds, route).observe(seconds)
    if request.app[GATEWAY].tell_tenants and CREDENTIAL in request:
        metrics.child(metrics.tenant_requests, request[CREDENTIAL].tenant).inc()
    write = log.debug if route in _QUIET else log.info
    fields = {"job_id": request[JOB_ID]} if JOB_ID in request else {}
    client = request[VISITOR].address
    write(
        "request", method=request.method, route=route, status=code, ms=round(seconds * 1000, 1), client=client, **fields
    )
    return route


@web.middleware
async def shape_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns whatever is raised into the error shape of the path's family."""
    try:
        return await handler(request)
    except asyncio.CancelledError:
        raise
    except VelesioError as error:
        if QUEUED not in request:
            metrics.child(metrics.rejected, error.code).inc()
        return refusal(request, error)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return refusal(request, _from_aiohttp(request, error))
    except ConnectionError:
        # The client has left; there is nobody to tell.
        raise
    except Exception:
        log.exception("handler failed")
        return refusal(request, unexpected(request[REQUEST_ID]))


def refusal(request: web.Request, error: VelesioError) -> web.Response:
    """The answer to a request that is refused or that failed."""
    headers = headers_of(error)
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = error.details.pop("allow")
    if pages.reads_html(request):
        response = pages.refusal(request, error)
        response.headers.update(headers)
    else:
        response = json_response(_family(request).body(error), error.status, headers)
    if not request.content.is_eof():
        # What is left of the body would be taken for the next request.
        response.force_close()
    return response


def _family(request: web.Request) -> Family:
    """In whose shape a request is refused: of OpenAI's routes Anthropic's SDKs ask some too, and llama.cpp's server has
    its own shape for them."""
    family = family_of(request.path)
    if family is OPENAI and anthropic_models.speaks(request.headers):
        return ANTHROPIC
    return NATIVE if family is OPENAI and port_name(request) == LLAMACPP else family


def _from_aiohttp(request: web.Request, error: web.HTTPException) -> VelesioError:
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return BodyTooLarge()
    tells_methods = _family(request).tells_methods
    if isinstance(error, web.HTTPMethodNotAllowed) and tells_methods:
        allowed = ", ".join(sorted(error.allowed_methods))
        message = f"{request.method} is not for {request.path}; use {allowed}"
        return MethodNotAllowed(message, details={"allow": allowed})
    if isinstance(error, web.HTTPNotFound | web.HTTPMethodNotAllowed):
        return NotFound(
            f"there is nothing at {request.path}; see / for what runs here" if tells_methods else "File Not Found"
        )
    return BadRequest(error.reason) if error.status < 500 else VelesioError(error.reason)


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Lets nobody through without a key but to the places that need none."""
    keys, visitor = request.app[GATEWAY].keys, request[VISITOR]
    try:
        if kept := await sign_in.key_of(request) if keys else "":
            credential = keys.reopen(kept)
        else:
            credential = keys.authenticate(request.headers, loopback=visitor.local, address=visitor.address)
    except (Unauthorized, TooManyKeys):
        if not _is_public(request):
            raise
    else:
        _check_keyless(request, credential)
        request[CREDENTIAL] = credential
        logs.add(tenant=credential.tenant, key=credential.name)
        scopes.require(request, scopes.scope_of(request.path))
    return await handler(request)


def _check_keyless(request: web.Request, credential: Credential) -> None:
    """What needs no key is for this machine's own programs and pages, not for any page that its browsers show.

    Raises:
        Forbidden: with the remedy.
    """
    if credential is LOCAL:
        check_host(request.headers.get("Host"), request.app[GATEWAY].server.hosts)
        cors.check(request)


def _is_public(request: web.Request) -> bool:
    if request.method == "OPTIONS" or pages.wanted(request) or request.path.startswith(assets.PREFIX):
        return True
    return request.path in status.PUBLIC | sign_in.PUBLIC | {"/", openapi.PATH} or docs_pages.is_public(request.path)


@web.middleware
async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers OPTIONS at any path, as llama.cpp's server does, with the methods that there are."""
    if request.method == "OPTIONS":
        missed = request.match_info.http_exception
        there = missed.allowed_methods if isinstance(missed, web.HTTPMethodNotAllowed) else ()
        allowed = ", ".join(sorted({*there, "OPTIONS"})) if there else cors.METHODS
        return web.Response(headers={"Content-Type": "text/html", "Allow": allowed})
    return await handler(request)


async def sign(request: web.Request, response: web.StreamResponse) -> None:
    """Headers of every response, streams included; runs when headers are about to be sent."""
    response.headers["Server"] = "llama.cpp" if port_name(request) == LLAMACPP else "velesio"
    guard(request, response)
    if REQUEST_ID in request:
        response.headers["X-Request-ID"] = request[REQUEST_ID]
        if _family(request) is ANTHROPIC:
            response.headers["request-id"] = request[REQUEST_ID]  # the name that its SDKs read
    if ARRIVED in request and _family(request) is A1111:
        response.headers["X-Process-Time"] = f"{time.monotonic() - request[ARRIVED]:.4f}"
    if TRACE in request:
        response.headers["traceparent"] = request[TRACE]
    if JOB_ID in request:
        response.headers["X-Velesio-Job-Id"] = request[JOB_ID]
    if LINES in request:
        lines = request[LINES]
        response.headers.update(limits.headers_of(lines))
    if REPLAYED in request:
        response.headers["Idempotent-Replayed"] = "true"
    cors.tell(request, response)  # at the end, since it names what pages may read


@web.middleware
async def browse(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Shows a page where a browser asks for one."""
    return await (pages.page(request) if pages.wanted(request) else handler(request))


MIDDLEWARES = [observe, shape_errors, preflight, authenticate, browse, outlive]
