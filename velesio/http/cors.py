"""CORS: which web pages of other origins may read the answers. By default none at the server's own port."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from velesio.http.gateway import GATEWAY, LLAMACPP, port_name

LOCALHOST = "localhost"
"""In a list of origins: every page of this machine, whatever its scheme and port."""
_HERE = {"localhost", "127.0.0.1", "::1"}
_EXPOSED = "X-Request-ID, X-Velesio-Job-Id, Retry-After, Idempotent-Replayed"
METHODS = "GET, POST, DELETE, OPTIONS"


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


def tell(request: web.Request, response: web.StreamResponse) -> None:
    """Adds to a response, whatever it is, what lets the page that asks read it."""
    gateway, origin = request.app[GATEWAY], request.headers.get("Origin", "")
    origins = gateway.llamacpp_origins if port_name(request) == LLAMACPP else gateway.server.cors_origins
    if not origins:
        return
    response.headers["Vary"] = "Origin"
    if not allows(origins, origin):
        return
    # The origin itself and never `*`, with which browsers send no credentials.
    response.headers["Access-Control-Allow-Origin"] = origin
    response.headers["Access-Control-Allow-Credentials"] = "true"
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = METHODS
        # Browsers take `*` for the header of that name where there are credentials.
        response.headers["Access-Control-Allow-Headers"] = request.headers.get("Access-Control-Request-Headers", "*")
    else:
        response.headers["Access-Control-Expose-Headers"] = _EXPOSED
