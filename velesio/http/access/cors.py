"""CORS: which web pages of other origins may read the answers. By default none at the server's own port."""

from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from aiohttp import web

from velesio.errors import Forbidden
from velesio.http.access import scopes
from velesio.http.gateway import GATEWAY, LLAMACPP, port_name

LOCALHOST = "localhost"
"""In a list of origins: every page of this machine, whatever its scheme and port."""
_SAFE = {"GET", "HEAD", "OPTIONS"}
_HERE = {"localhost", "127.0.0.1", "::1"}
_EXPOSED = ("X-Request-ID", "X-Velesio-Job-Id", "Retry-After", "Idempotent-Replayed", "traceparent")
_LIMITS = ("RateLimit", "X-RateLimit-")
METHODS = "GET, POST, DELETE, OPTIONS"
_OF_ADMINISTRATION = "GET, POST, PUT, PATCH, DELETE, OPTIONS"


def allows(origins: Iterable[str], origin: str) -> bool:
    """Whether a list of origins, `localhost` and `*` has an origin in it."""
    return bool(origin) and any(_matches(each, origin) for each in origins)


def _matches(allowed: str, origin: str) -> bool:
    if allowed == "*":
        return True
    if allowed == LOCALHOST:
        try:
            return urlsplit(origin).hostname in _HERE
        except ValueError:
            return False
    return allowed.rstrip("/").lower() == origin.lower()


def origins_of(request: web.Request) -> Sequence[str]:
    """The origins whose pages may read what is answered here: at llama.cpp's port, those of its clients, but for what
    only administrators may."""
    gateway = request.app[GATEWAY]
    if port_name(request) == LLAMACPP and scopes.scope_of(request.path) != scopes.ADMIN:
        return gateway.llamacpp_origins
    return gateway.server.cors_origins


def check(request: web.Request) -> None:
    """Nothing, if a request without a key is no doing of a page of another site. A browser sends such a request and
    only keeps the answer from the page, which may have wanted no more than the deed.

    Raises:
        Forbidden: with the remedy.
    """
    origin = request.headers.get("Origin")
    if origin is None or request.method in _SAFE or allows((LOCALHOST,), origin):
        return
    known = (request.headers.get("Host"), *request.app[GATEWAY].server.hosts)
    if origin.partition("://")[2] in known or allows(origins_of(request), origin):
        return
    raise Forbidden(
        f"a page of {origin[:100]!r} may change nothing here without a key: add it to server.cors_origins, or use a key"
    )


def tell(request: web.Request, response: web.StreamResponse) -> None:
    """Adds to a response, whatever it is, what lets the page that asks read it."""
    origin, origins = request.headers.get("Origin", ""), origins_of(request)
    if not origins:
        return
    varies = response.headers.get("Vary")
    response.headers["Vary"] = f"{varies}, Origin" if varies else "Origin"
    if not allows(origins, origin):
        return
    # The origin itself and never `*`, with which browsers send no credentials.
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Allow-Credentials"] = "true"
    if request.method == "OPTIONS":
        administered = scopes.scope_of(request.path) == scopes.ADMIN
        response.headers["Access-Control-Allow-Methods"] = _OF_ADMINISTRATION if administered else METHODS
        # Browsers take `*` for the header of that name where there are credentials.
        response.headers["Access-Control-Allow-Headers"] = request.headers.get("Access-Control-Request-Headers", "*")
    else:
        limits = (name for name in response.headers if name.startswith(_LIMITS))
        response.headers["Access-Control-Expose-Headers"] = ", ".join((*_EXPOSED, *limits))
