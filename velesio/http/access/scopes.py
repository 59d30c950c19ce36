"""Scopes: what a key is for, and which one a route asks for.

A job is checked once more by what it makes (`permit`), since some routes make either kind.
"""

import functools

from aiohttp import web

from velesio.errors import Forbidden
from velesio.http.access.keys import Credential
from velesio.http.gateway import CREDENTIAL, GATEWAY
from velesio.jobs import Capability

ANY, TEXT, IMAGES, ADMIN = "", "text", "images", "admin"

_PLACES = {
    "/": TEXT,
    "/admin": ADMIN,
    "/agent-scheduler": IMAGES,
    "/api/ps": ANY,
    "/api/sd-models": IMAGES,
    "/api/show": ANY,
    "/api/tags": ANY,
    "/api/version": ANY,
    "/app_id": IMAGES,
    "/config": IMAGES,
    "/controlnet": IMAGES,
    "/dashboard": ANY,
    "/docs": ANY,
    "/generate-image": IMAGES,
    "/health": ANY,
    "/images": IMAGES,
    "/info": IMAGES,
    "/internal": IMAGES,
    "/jobs": ANY,
    "/keys": ANY,
    "/livez": ANY,
    "/metrics": ANY,
    "/metrics/targets": ADMIN,
    "/models": ANY,
    "/openapi.json": ANY,
    "/queue/status": ANY,
    "/readyz": ANY,
    "/redoc": ANY,
    "/sd_extra_networks": IMAGES,
    "/sdapi": IMAGES,
    "/sign-in": ANY,
    "/sign-out": ANY,
    "/static": ANY,
    "/tags": ANY,
    "/usage": ANY,
    "/v1/health": ANY,
    "/v1/images": IMAGES,
    "/v1/jobs": ANY,
    "/v1/models": ANY,
    "/v1/stream": ANY,
    "/v1/streams": ANY,
}


@functools.lru_cache(maxsize=256)
def scope_of(path: str) -> str:
    """The scope that the nearest known place at or above `path` asks for; empty: any key will do. The front page is
    for everybody; anything else that is not listed is about text."""
    if path == "/":
        return ANY
    while path not in _PLACES:
        path = path.rpartition("/")[0] or "/"
    return _PLACES[path]


def require(request: web.Request, scope: str) -> None:
    """Goes on only if the request's key has that scope; without keys, this machine may do everything.

    Raises:
        Forbidden
    """
    demand(request[CREDENTIAL], scope)


def demand(credential: Credential, scope: str) -> None:
    """As `require`, of a credential.

    Raises:
        Forbidden
    """
    if scope and scope not in credential.scopes:
        has = ", ".join(credential.scopes) or "none"
        raise Forbidden(f"this needs a key with the scope {scope!r}; this key has: {has}")


def demand_control(request: web.Request, deed: str) -> None:
    """Goes on only if the request's key may do what all feel whom this server serves: unload a model, set the scales of
    its adapters, change what its slots keep. While all keys are of one tenant each of them may.

    Raises:
        Forbidden: with the remedy.
    """
    if may_control(request):
        return
    raise Forbidden(
        f"{deed} changes what other tenants get, so it needs a key with the scope {ADMIN!r} (velesio keys change KEY "
        '--scopes …); access.shared = "no" lets every key do it'
    )


def may_control(request: web.Request) -> bool:
    """Whether `demand_control` would go on."""
    return ADMIN in request[CREDENTIAL].scopes or not request.app[GATEWAY].keys.shared


def permit(credential: Credential, capability: Capability) -> None:
    """Goes on only if a key may have such jobs made.

    Raises:
        Forbidden
    """
    demand(credential, IMAGES if capability == "image" else TEXT)
