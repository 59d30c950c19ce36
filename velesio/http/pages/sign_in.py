"""Sign-in: a browser shows a key once and comes with a cookie from then on.

The cookie holds a random session id and nothing else; the broker holds the key, sealed so that only who has the id can
read it. So neither a copy of the broker's data nor the cookie of a session that has ended is worth a key, sessions
outlive a restart and hold at every gateway, and a key that is revoked ends them: each request is checked as if it had
brought the key itself.

A cookie comes with every request to this address, whoever wrote the page that causes it. Requests that change something
therefore have to show what only our own pages know: the session's CSRF token.
"""

import hashlib
import secrets
from urllib.parse import parse_qs

from aiohttp import web

from velesio.errors import BadRequest, Forbidden, Unauthorized
from velesio.http.access.keys import presented
from velesio.http.access.visitors import VISITOR
from velesio.http.gateway import GATEWAY
from velesio.http.wire import read_bytes

COOKIE = "velesio_session"
CSRF_HEADER = "X-Velesio-CSRF"
LIFETIME = 12 * 3600
"""Seconds from the last page that was opened to the end of a session."""
SESSION = web.RequestKey("session", str)
"""The id of the session that a request came with, if its key is still good."""

PUBLIC = frozenset({"/sign-in", "/sign-out"})
"""Addresses that need no key."""
_SAFE = {"GET", "HEAD", "OPTIONS"}
_SESSIONS = 100
"""Of one key at a time."""
_ID_LENGTH = 43
_BODY = 8192


def sealed(session: str, text: bytes) -> bytes:
    """`text` under a pad that is made of the session's id and used for nothing else; twice is the text again."""
    pad = hashlib.shake_256(b"velesio sign-in\0" + session.encode()).digest(len(text))
    return bytes(a ^ b for a, b in zip(text, pad, strict=True))


def csrf_of(session: str) -> str:
    """The token that requests of this session have to show."""
    return hashlib.sha256(b"velesio csrf\0" + session.encode()).hexdigest()


async def open_session(request: web.Request, key: str, owner: str) -> str:
    """Begin a session for `key`, which must have been found good, of the owner with that id; answers its id. The
    owner's oldest ones end, lest whoever has a key fills the broker."""
    session = secrets.token_urlsafe(32)
    broker = request.app[GATEWAY].broker
    place, owned = broker.keys.session(_name(session)), broker.keys.session(f"of:{_name(owner)}")
    await broker.command("SET", place, sealed(session, key.encode()), "EX", LIFETIME)
    await broker.command("LPUSH", owned, place)
    await broker.command("EXPIRE", owned, LIFETIME)
    if old := await broker.command("LRANGE", owned, _SESSIONS, -1):
        await broker.command("DEL", *old)
        await broker.command("LTRIM", owned, 0, _SESSIONS - 1)
    return session


async def close_session(request: web.Request) -> None:
    """End the session that a request came with, if there is one."""
    if session := _given(request):
        broker = request.app[GATEWAY].broker
        await broker.command("DEL", broker.keys.session(_name(session)))


async def renew(request: web.Request) -> None:
    """Let the session live for `LIFETIME` from now."""
    if session := request.get(SESSION):
        broker = request.app[GATEWAY].broker
        await broker.command("EXPIRE", broker.keys.session(_name(session)), LIFETIME)


async def key_of(request: web.Request) -> str:
    """The key of the session that a request came with; empty: there is none, or the request brings a key itself.

    Raises:
        Forbidden: it would change something, and no page of ours sent it.
    """
    session = "" if presented(request.headers) else _given(request)
    if not session:
        return ""
    broker = request.app[GATEWAY].broker
    found = await broker.command("GET", broker.keys.session(_name(session)))
    if not found:
        return ""
    if request.method not in _SAFE and request.path != "/sign-in" and not await _shows_token(request, session):
        raise Forbidden(f"requests by cookie that change something need the page's token in {CSRF_HEADER}")
    request[SESSION] = session
    return sealed(session, found).decode(errors="replace")


async def _shows_token(request: web.Request, session: str) -> bool:
    shown = request.headers.get(CSRF_HEADER, "")
    if not shown and request.path == "/sign-out":
        shown = (await form_of(request)).get("csrf", "")
    return secrets.compare_digest(shown.encode(), csrf_of(session).encode())


def cookie_of(request: web.Request) -> str:
    """The cookie's name. Over TLS it has the prefix by which browsers let nobody set it but this very address: not the
    owner of another name of the same domain, who could have a visitor signed in as himself."""
    return f"__Host-{COOKIE}" if _encrypted(request) else COOKIE


def _encrypted(request: web.Request) -> bool:
    """Whether the browser's connection is, as far as anybody tells; who says so falsely only binds his own cookie."""
    return request[VISITOR].secure or request.headers.get("X-Forwarded-Proto", request.scheme) == "https"


def _given(request: web.Request) -> str:
    session = request.cookies.get(cookie_of(request), "")
    return session if len(session) == _ID_LENGTH and session.isascii() else ""


def _name(session: str) -> str:
    """What the broker calls a session: not its id, which would open the seal."""
    return hashlib.sha256(session.encode()).hexdigest()


FORM = web.RequestKey("form", dict[str, str])
"""The fields of a form, once it is read."""


async def form_of(request: web.Request) -> dict[str, str]:
    """The fields of a small form, the first of each name."""
    if FORM not in request:
        text = (await read_bytes(request, _BODY)).decode(errors="replace")
        try:
            fields = parse_qs(text, keep_blank_values=True, max_num_fields=16)
        except ValueError:
            raise BadRequest("the form has too many fields") from None
        request[FORM] = {name: values[0] for name, values in fields.items()}
    return request[FORM]


async def sign_in(request: web.Request) -> web.Response:
    """`POST /sign-in`: begins a session with the key of a form; the browser is sent on to `next`.

    Raises:
        Unauthorized: no such key.
        TooManyKeys: too many wrong ones came from there.
        Forbidden: the form was not ours.
    """
    if not _from_here(request):
        raise Forbidden("the form was sent by another site")
    fields = await form_of(request)
    key = fields.get("key", "").strip()
    if not key:
        raise Unauthorized("Type a key, or ask who runs this server for one.")
    try:
        credential = request.app[GATEWAY].keys.admit(key, request[VISITOR].address)
    except Unauthorized:
        raise Unauthorized("This key is not known here, or no longer.") from None
    await close_session(request)
    answer = web.Response(status=303, headers={"Location": local(fields.get("next", ""))})
    answer.set_cookie(
        cookie_of(request),
        await open_session(request, key, credential.id),
        httponly=True,
        samesite="Strict",
        secure=_encrypted(request),
        path="/",
    )
    return answer


async def sign_out(request: web.Request) -> web.Response:
    """`POST /sign-out`: ends the session."""
    await close_session(request)
    answer = web.Response(status=303, headers={"Location": "/sign-in"})
    answer.del_cookie(cookie_of(request), path="/", secure=_encrypted(request))
    return answer


def _from_here(request: web.Request) -> bool:
    """Whether a page of this address sent the form, as browsers tell; other programs may do as they like."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = request.headers.get("Origin")
    return origin is None or origin.partition("://")[2] == request.host


def local(address: str) -> str:
    """`address`, if it is a path of this server; else the front page."""
    good = address.startswith("/") and not address.startswith("//") and address.isascii() and address.isprintable()
    return address if good and "\\" not in address else "/"
