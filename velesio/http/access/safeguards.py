"""Safeguards: headers that tell browsers what not to do with an answer. Pages bring their own policy."""

from aiohttp import web

from velesio.http.access.visitors import VISITOR

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""Of what is no page: if a browser shows it, it loads nothing and stands in no frame."""
_HSTS = "max-age=31536000"


def guard(request: web.Request, response: web.StreamResponse) -> None:
    """Adds them where the response has none of its own. What an answer says is nobody else's: no cache keeps it."""
    headers = response.headers
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Content-Security-Policy", _POLICY)
    headers.setdefault("Cache-Control", "no-store")
    if VISITOR in request and request[VISITOR].secure:
        headers.setdefault("Strict-Transport-Security", _HSTS)
