"""Sign-in: a key once, a cookie from then on, and no request that another site caused."""

from http.cookies import SimpleCookie

import pytest

from tests.http.conftest import Answer, Site, StartSite
from velesio.config import KeySection
from velesio.http.pages.sign_in import COOKIE, CSRF_HEADER, csrf_of, local, sealed

HTML = "text/html,*/*;q=0.8"
KEY = KeySection(name="game", token="the secret key")


async def send(site: Site, method: str, path: str, body: str = "", **headers: str) -> Answer:
    """One request without the client's own cookies."""
    form = {"Content-Type": "application/x-www-form-urlencoded", "Accept": HTML} | headers
    async with site.client.request(
        method, site.address + path, data=body, headers=form, allow_redirects=False
    ) as response:
        site.client.cookie_jar.clear()
        return Answer(response.status, response.headers, await response.read())


async def session_of(site: Site) -> str:
    """Signs in; the id of the session."""
    answer = await send(site, "POST", "/sign-in", "key=the+secret+key&next=/models")
    assert (answer.status, answer.headers["Location"]) == (303, "/models")
    return SimpleCookie(answer.headers["Set-Cookie"])[COOKIE].value


def bearing(session: str, *, token: bool = False) -> dict[str, str]:
    shown = {CSRF_HEADER: csrf_of(session)} if token else {}
    return {"Cookie": f"{COOKIE}={session}", "Accept": "*/*"} | shown


@pytest.fixture
async def keyed(start_site: StartSite) -> Site:
    return await start_site(keys=[KEY])


async def test_a_key_opens_a_session(keyed: Site) -> None:
    """Whose cookie scripts cannot read and other sites cannot send; it is worth what the key is worth."""
    answer = await send(keyed, "POST", "/sign-in", "key=the+secret+key&next=/models")
    cookie = SimpleCookie(answer.headers["Set-Cookie"])[COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"], cookie["secure"]) == (True, "Strict", "/", "")
    assert "secret" not in answer.headers["Set-Cookie"]
    assert (await send(keyed, "GET", "/models", **bearing(cookie.value))).status == 200
    assert (await send(keyed, "GET", "/models", Accept="*/*")).status == 401


async def test_behind_tls_the_cookie_never_travels_without(keyed: Site) -> None:
    """As the proxy tells."""
    tls = {"X-Forwarded-Proto": "https"}
    answer = await send(keyed, "POST", "/sign-in", "key=the+secret+key", **tls)
    assert "; Secure" in answer.headers["Set-Cookie"]
    [(name, cookie)] = SimpleCookie(answer.headers["Set-Cookie"]).items()
    assert name == f"__Host-{COOKIE}"  # browsers take it from this very address alone
    for shown, status in ((name, 200), (COOKIE, 401)):
        bearer = {"Cookie": f"{shown}={cookie.value}", "Accept": "*/*"} | tls
        assert (await send(keyed, "GET", "/queue/status", **bearer)).status == status


@pytest.mark.parametrize("key", ["", "wrong", "the+secret+key+", "%00", "%ff"])
async def test_a_wrong_key_opens_nothing(keyed: Site, key: str) -> None:
    """And the form says so, with what was typed gone and the way kept."""
    answer = await send(keyed, "POST", "/sign-in", f"key={key}&next=/usage")
    if key == "the+secret+key+":  # blanks around a key come with copying
        assert answer.status == 303
        return
    assert answer.status == 401
    assert "Set-Cookie" not in answer.headers
    assert b'role="alert"' in answer.body
    assert b'value="/usage"' in answer.body


async def test_a_key_has_a_bounded_number_of_sessions(keyed: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest ends with the one that is too many: nobody fills the broker with a key of his own."""
    monkeypatch.setattr("velesio.http.pages.sign_in._SESSIONS", 2)
    first, second, third = [await session_of(keyed) for _ in range(3)]
    statuses = [(await send(keyed, "GET", "/queue/status", **bearing(each))).status for each in (first, second, third)]
    assert statuses == [401, 200, 200]


async def test_changes_by_cookie_need_the_token_of_our_pages(keyed: Site) -> None:
    """Reading does not; a key in a header needs none."""
    session, body = await session_of(keyed), '{"prompt": "one"}'
    assert (await send(keyed, "GET", "/queue/status", **bearing(session))).status == 200
    refused = await send(keyed, "POST", "/completion", body, **bearing(session))
    assert refused.status == 403
    assert CSRF_HEADER in refused.json()["error"]["message"]
    other = bearing(session) | {CSRF_HEADER: csrf_of("x" * 43)}
    assert (await send(keyed, "POST", "/completion", body, **other)).status == 403
    assert (await send(keyed, "POST", "/completion", body, **bearing(session, token=True))).status == 200
    key = {"Authorization": "Bearer the secret key"}
    assert (await send(keyed, "POST", "/completion", body, **bearing(session) | key)).status == 200


async def test_another_site_cannot_sign_somebody_in(keyed: Site) -> None:
    """As an account of its own, to read there what is typed."""
    for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert (await send(keyed, "POST", "/sign-in", "key=the+secret+key", **headers)).status == 403
    same = {"Origin": keyed.address}
    assert (await send(keyed, "POST", "/sign-in", "key=the+secret+key", **same)).status == 303


async def test_signing_out_ends_the_session(keyed: Site) -> None:
    """For whoever has a copy of the cookie, too; it needs the token like any change."""
    session = await session_of(keyed)
    assert (await send(keyed, "POST", "/sign-out", "", **bearing(session))).status == 403
    assert (await send(keyed, "GET", "/models", **bearing(session))).status == 200
    out = await send(keyed, "POST", "/sign-out", f"csrf={csrf_of(session)}", **bearing(session))
    assert (out.status, out.headers["Location"]) == (303, "/sign-in")
    assert (await send(keyed, "GET", "/models", **bearing(session))).status == 401


async def test_the_broker_holds_no_key_and_no_session_id(keyed: Site) -> None:
    """What it holds is of no use without the cookie, and ends by itself."""
    session = await session_of(keyed)
    broker = keyed.gateway.broker
    [owned] = await broker.command("KEYS", broker.keys.session("of:*"))
    [name] = await broker.command("LRANGE", owned, 0, -1)
    value = await broker.command("GET", name)
    assert session.encode() not in owned + name + value
    assert b"secret" not in value
    assert sealed(session, value) == b"the secret key"
    for kept in (owned, name):
        assert 0 < await broker.command("TTL", kept) <= 12 * 3600


async def test_a_session_is_as_good_as_its_key(keyed: Site, start_site: StartSite) -> None:
    """It holds at other gateways, and ends with the key."""
    session = await session_of(keyed)
    other = await start_site(keys=[KEY], specs=())
    assert (await send(other, "GET", "/models", **bearing(session))).status == 200
    without = await start_site(keys=[KeySection(name="new", token="another")], specs=())
    assert (await send(without, "GET", "/models", **bearing(session))).status == 401


@pytest.mark.parametrize("session", ["", "short", "x" * 43, "é" * 43, "x" * 5000])
async def test_a_session_that_is_none_is_no_key(keyed: Site, session: str) -> None:
    """Whatever it looks like."""
    named = {"Cookie": f"{COOKIE}={session}".encode().decode("latin-1"), "Accept": "*/*"}
    assert (await send(keyed, "GET", "/models", **named)).status == 401


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("/models", "/models"),
        ("/jobs/a?x=1", "/jobs/a?x=1"),
        ("", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/a\r\nSet-Cookie: x", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_one_is_sent_on_within_this_server_only(address: str, path: str) -> None:
    """Whatever the form says."""
    assert local(address) == path
