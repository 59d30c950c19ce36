"""The OpenAPI document for people: Swagger UI at `/docs`, Redoc at `/redoc`, from installed files alone."""

import functools
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import aiohttp_jinja2
import msgspec
from aiohttp import web

from velesio import __version__
from velesio.errors import ModelNotFound, NoWorker, Unavailable
from velesio.http.operations import OF_EVERY_ROUTE, Operation
from velesio.http.pages.assets import Assets, answered

POLICY = "; ".join((
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self' 'unsafe-inline'",  # both write styles into the page
    "img-src 'self' data:",
    "font-src 'self' data:",
    "connect-src 'self'",
    "worker-src 'self' blob:",  # Redoc's search
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
))  # fmt: skip
"""Nothing from elsewhere, and no script in the page itself."""
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_ELSEWHERE = {b"https://cdn.redoc.ly/redoc/": b"/redoc/-/"}
"""Where Redoc would fetch its makers' mark, and where it is here."""
_FILES = {"docs": "swagger_ui", "redoc": "redoc"}
"""Where the package has each reader's files."""


class Reader(msgspec.Struct, frozen=True):
    """One way to read the document."""

    path: str
    place: str
    """The element that it fills."""
    scripts: Sequence[str]
    styles: Sequence[str] = ()


READERS = (
    Reader("/docs", "swagger", ("swagger-ui-bundle.js",), ("swagger-ui.css",)),
    Reader("/redoc", "redoc", ("redoc.standalone.js",)),
)


@functools.cache
def files(path: str) -> Assets:
    """A reader's files, read when the first page is asked for. Found and not imported: the package loads all of its
    readers."""
    spec = find_spec("openapi_ui_bundles")
    if spec is None or not spec.submodule_search_locations:
        raise web.HTTPNotFound
    folder = Path(spec.submodule_search_locations[0]) / _FILES[path.strip("/")] / "vendor"
    return Assets(folder, f"{path}/", _ELSEWHERE)


def _page(reader: Reader) -> web.RouteDef:
    async def page(request: web.Request) -> web.Response:
        address = files(reader.path).address
        shown = aiohttp_jinja2.render_template(
            "reference.html",
            request,
            {
                "place": reader.place,
                "scripts": [address(name) for name in reader.scripts],
                "styles": [address(name) for name in reader.styles],
            },
        )
        shown.headers.update(_HEADERS)
        return shown

    return web.get(reader.path, page)


def _files(reader: Reader) -> web.RouteDef:
    async def file(request: web.Request) -> web.Response:
        return answered(request, files(reader.path))

    return web.get(reader.path + "/{version}/{name:[a-z0-9_.-]+}", file)


ROUTES = [*map(_page, READERS), *map(_files, READERS)]


def is_public(path: str) -> bool:
    """Whether a path needs no key: what the routes read is no secret, and `/openapi.json` tells it as well."""
    return any(path == reader.path or path.startswith(f"{reader.path}/") for reader in READERS)


_DEPTH = {"depth": 0, "pending": 0, "active": 1, "completed": 812, "failed": 1, "cancelled": 4}
API = (
    Operation(
        method="GET",
        paths=("/",),
        summary="What runs here: models, workers, queue, and a first request. Without a key only that Velesio does.",
        notes="Browsers get a page, Ollama's clients its own greeting.",
        answer=lambda: {
            "name": "velesio",
            "version": __version__,
            "status": "ready",
            "models": [
                {"name": "smollm2-135m-instruct", "capability": "text", "backend": "llama", "context": 2048},
            ],
            "queue": _DEPTH,
            "try": 'curl -N http://127.0.0.1:8000/completion -d \'{"prompt":"Once upon a time","stream":true}\'',
        },
        files=("text/html", "text/plain"),
        public=True,
        errors=(),
    ),
    Operation(
        method="GET",
        paths=("/metrics",),
        summary="The metrics of this process in Prometheus's text format, or in OpenMetrics where that is preferred.",
        query={"model": "what llama.cpp's server tells, of this model at all workers"},
        answers=None,
        files=("text/plain", "application/openmetrics-text"),
        errors=(*OF_EVERY_ROUTE, ModelNotFound, NoWorker, Unavailable),
    ),
    Operation(
        method="GET",
        paths=("/openapi.json",),
        summary="This document. Needs no key.",
        answer=lambda: {"openapi": "3.1.0", "info": {"title": "Velesio", "version": __version__}, "paths": {}},
        public=True,
        errors=(),
    ),
    *(
        Operation(
            method="GET",
            paths=(reader.path,),
            summary=f"This document for people, by {name}. Needs no key.",
            answers=None,
            files=("text/html",),
            public=True,
            errors=(),
        )
        for reader, name in zip(READERS, ("Swagger UI", "Redoc"), strict=True)
    ),
)
