"""Pages: what browsers get, at addresses of their own and at those that programs use as well.

A page is a frame without data: its scripts ask the same routes that everybody else asks, with the same key.
"""

from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp_jinja2
import jinja2
import msgspec
from aiohttp import web

from velesio import __version__
from velesio.errors import TooManyKeys, Unauthorized, VelesioError
from velesio.http.access.scopes import ADMIN, require
from velesio.http.clients import Client, client_of
from velesio.http.finding import visible_cards
from velesio.http.gateway import CREDENTIAL, GATEWAY
from velesio.http.pages import sign_in
from velesio.http.pages.assets import ASSETS, takes_gzip
from velesio.http.status import described
from velesio.http.wire import encode, json_response

POLICY = "; ".join((
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data: blob:",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
))  # fmt: skip
"""Nothing from elsewhere, nothing inline, and no text that a script could turn into markup."""

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept, Accept-Encoding, Cookie",
    "X-Content-Type-Options": "nosniff",
}
"""Of every page."""


class Page(msgspec.Struct, frozen=True):
    """One page: its template and its script have its name."""

    name: str
    path: str
    title: str
    admin: bool = False
    """Whether it is for keys with that scope only."""
    listed: bool = True
    """Whether the navigation leads there."""


PAGES = (
    Page("playground", "/", "Playground"),
    Page("dashboard", "/dashboard", "Dashboard", admin=True),
    Page("models", "/models", "Models"),
    Page("keys", "/keys", "Keys", admin=True),
    Page("usage", "/usage", "Usage"),
)
JOB = Page("job", "/jobs/{id}", "Job", listed=False)
SIGN_IN = Page("sign-in", "/sign-in", "Sign in", listed=False)
ERROR = Page("error", "", "Something went wrong", listed=False)

_BY_PATH = {page.path: page for page in (*PAGES, SIGN_IN)}


def setup(app: web.Application) -> None:
    """Load the templates; whatever they show is escaped, and a name that they misspell fails."""
    folder = Path(__file__).parent / "templates"
    environment = aiohttp_jinja2.setup(
        app,
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["asset"] = ASSETS().address
    environment.globals["modules"] = ASSETS().modules
    environment.globals["version"] = __version__


def reads_html(request: web.Request) -> bool:
    """Whether somebody looks at the answer to a request in a browser."""
    return request.method in {"GET", "POST"} and "text/html" in request.headers.get("Accept", "")


def page_at(path: str) -> Page | None:
    """The page at an address."""
    if path.startswith("/jobs/") and path.count("/") == 2:
        return JOB
    return _BY_PATH.get(path)


def wanted(request: web.Request) -> bool:
    """Whether a request is for a page: at addresses that programs use as well, if it comes from a browser."""
    page = page_at(request.path)
    if page is None or request.method != "GET":
        return False
    return reads_html(request) or page.path not in {"/", "/models", "/usage"}


async def page(request: web.Request) -> web.Response:
    """`GET` of a page. Who has to sign in first is sent there and comes back."""
    found = page_at(request.path) or ERROR
    if CREDENTIAL not in request and found is not SIGN_IN:
        return web.Response(status=303, headers={"Location": f"/sign-in?next={quote(request.path)}"})
    if found is SIGN_IN:
        return show(request, SIGN_IN, next=sign_in.local(request.query.get("next", "/")), refused="")
    if found.admin:
        require(request, ADMIN)
    await sign_in.renew(request)
    return show(request, found)


def show(request: web.Request, shown: Page, status: int = 200, **more: Any) -> web.Response:
    """A page as it is sent."""
    credential = request.get(CREDENTIAL)
    session = request.get(sign_in.SESSION, "")
    context = {
        "page": shown,
        "pages": PAGES,
        "name": credential.name if credential else "",
        "admin": credential is not None and ADMIN in credential.scopes,
        "keyed": bool(request.app[GATEWAY].keys),
        "signed_in": bool(session),
        "csrf": sign_in.csrf_of(session) if session else "",
    }
    text = aiohttp_jinja2.render_string(f"{shown.name}.html", request, context | more)
    answer = web.Response(text=text, status=status, content_type="text/html", headers=HEADERS)
    if takes_gzip(request.headers.get("Accept-Encoding", "")):
        answer.enable_compression(web.ContentCoding.gzip)
    return answer


def refusal(request: web.Request, error: VelesioError) -> web.Response:
    """What a browser shows of a request that is refused or that failed."""
    if request.path == SIGN_IN.path and isinstance(error, Unauthorized | TooManyKeys):
        fields = request.get(sign_in.FORM, {})
        return show(request, SIGN_IN, error.status, next=sign_in.local(fields.get("next", "/")), refused=error.message)
    return show(request, ERROR, error.status, code=error.status, message=error.message)


async def front(request: web.Request) -> web.Response:
    """`GET /` for programs: models, workers, queue and a first request; without a key only that Velesio runs. Ollama's
    clients look for its own greeting here."""
    if request.method == "HEAD" or client_of(request.headers) is Client.OLLAMA:
        return web.Response(text="Ollama is running")
    answer = json_response(await _about(request))
    answer.headers["Vary"] = "Accept"
    return answer


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


ROUTES = [
    web.get("/", front),
    web.get("/dashboard", page),
    web.get("/keys", page),
    web.get("/jobs/{id}", page),
    web.get("/sign-in", page),
    web.post("/sign-in", sign_in.sign_in),
    web.post("/sign-out", sign_in.sign_out),
]
