"""The front page: what runs here, as JSON for programs and as HTML for browsers."""

from pathlib import Path
from typing import Any

import aiohttp_jinja2
import jinja2
from aiohttp import web

from velesio import __version__
from velesio.errors import VelesioError
from velesio.http.clients import Client, client_of
from velesio.http.dispatch import visible_cards
from velesio.http.gateway import CREDENTIAL, GATEWAY
from velesio.http.status import described
from velesio.http.wire import encode, json_response

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"


def setup(app: web.Application) -> None:
    """Load the templates; whatever they show is escaped."""
    folder = Path(__file__).parent / "templates"
    aiohttp_jinja2.setup(app, loader=jinja2.FileSystemLoader(folder), autoescape=True)


async def front(request: web.Request) -> web.Response:
    """`GET /`: models, workers, queue and a first request; without a key only that Velesio runs. Ollama's clients look
    for its own greeting here."""
    if request.method == "HEAD" or client_of(request.headers) is Client.OLLAMA:
        return web.Response(text="Ollama is running")
    about = await _about(request)
    if "text/html" not in request.headers.get("Accept", ""):
        return json_response(about)
    page = aiohttp_jinja2.render_template("front.html", request, {"about": about})
    page.headers["Content-Security-Policy"] = _POLICY
    page.headers["Vary"] = "Accept"
    return page


async def _about(request: web.Request) -> dict[str, Any]:
    gateway = request.app[GATEWAY]
    reasons = await gateway.unready()
    about: dict[str, Any] = {
        "name": "velesio",
        "version": __version__,
        "status": "; ".join(reasons) if reasons else "ready",
    }
    credential = request.get(CREDENTIAL)
    if credential is None:
        return about | {"hint": "send an API key to see more: `Authorization: Bearer KEY`"}
    cards = visible_cards(gateway.registry, credential)
    about["models"] = [
        {"name": card.name, "capability": card.capability, "backend": card.backend, "context": card.context}
        for card in cards
    ]
    try:
        about["queue"] = described(await gateway.queue.status(), gateway.registry.workers(), credential)
    except VelesioError as error:
        about["queue"] = {"error": error.message}
    about["try"] = first_request(f"{request.scheme}://{request.host}", keyed=bool(gateway.keys))
    return about


def first_request(address: str, *, keyed: bool) -> str:
    """A curl line that shows text as it comes."""
    key = " -H 'Authorization: Bearer KEY'" if keyed else ""
    body = encode({"prompt": "Once upon a time", "n_predict": 32, "stream": True}).decode()
    return f"curl -N {address}/completion{key} -d '{body}'"


ROUTES = [web.get("/", front)]
