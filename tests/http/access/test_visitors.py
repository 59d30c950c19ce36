"""Visitors: what a request says of where it comes from counts only from a proxy that is trusted."""

import ipaddress

import pytest
from multidict import CIMultiDict

from tests.http.conftest import StartSite
from velesio.config import KeySection, ServerSection
from velesio.errors import Forbidden
from velesio.http.access.visitors import Visitor, check_host, visitor_of

TRUSTED = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("fd00::/8"))


def ask(peer: object, *headers: tuple[str, str]) -> Visitor:
    return visitor_of(peer, CIMultiDict(headers), TRUSTED, secure=False)


FOR, PROTO = "X-Forwarded-For", "X-Forwarded-Proto"


@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        (("127.0.0.1", 1), (), Visitor("127.0.0.1", local=True)),
        (("::1", 1, 0, 0), (), Visitor("::1", local=True)),
        (("::ffff:127.0.0.1", 1), (), Visitor("127.0.0.1", local=True)),
        ("", (), Visitor("", local=True)),
        (None, (), Visitor("")),
        (("8.8.8.8", 1), (), Visitor("8.8.8.8")),
        # not trusted: what it says is nothing, but it is not local either
        (("127.0.0.2", 1), ((FOR, "1.2.3.4"),), Visitor("127.0.0.2")),
        (("8.8.8.8", 1), ((FOR, "1.2.3.4"), (PROTO, "https")), Visitor("8.8.8.8")),
        (("127.0.0.1", 1), (("X-Real-IP", "127.0.0.1"),), Visitor("127.0.0.1")),
        (("127.0.0.1", 1), (("Forwarded", "for=127.0.0.1"),), Visitor("127.0.0.1")),
        (("127.0.0.1", 1), (("Via", "1.1 proxy"),), Visitor("127.0.0.1")),
        # trusted: from the end back to the first stranger
        (("127.0.0.1", 1), ((FOR, "1.2.3.4"), (PROTO, "https")), Visitor("1.2.3.4", secure=True)),
        (("10.1.1.1", 1), ((FOR, "6.6.6.6, 1.2.3.4, 10.9.9.9"),), Visitor("1.2.3.4")),
        (("10.1.1.1", 1), ((FOR, "6.6.6.6"), (FOR, "1.2.3.4")), Visitor("1.2.3.4")),
        (("10.1.1.1", 1), ((FOR, "[2001:db8::1]:443"),), Visitor("2001:db8::1")),
        (("10.1.1.1", 1), ((FOR, "1.2.3.4:5678"),), Visitor("1.2.3.4")),
        (("10.1.1.1", 1), ((FOR, "127.0.0.1"),), Visitor("127.0.0.1")),
        (("10.1.1.1", 1), ((FOR, "1.2.3.4, nonsense"),), Visitor("10.1.1.1")),
        (("10.1.1.1", 1), ((FOR, ""),), Visitor("10.1.1.1")),
        (("10.1.1.1", 1), ((PROTO, "https, http"), (FOR, "1.2.3.4")), Visitor("1.2.3.4")),
        (("fd00::1", 1, 0, 0), ((FOR, "1.2.3.4"), (PROTO, "HTTPS")), Visitor("1.2.3.4", secure=True)),
    ],
)
def test_who_sends_a_request(peer: object, headers: tuple[tuple[str, str], ...], expected: Visitor) -> None:
    """Each proxy adds to the end; a request that was passed on is never local, whoever it says it is from."""
    assert ask(peer, *headers) == expected


@pytest.mark.parametrize(
    "host",
    [
        None,
        "localhost",
        "LOCALHOST:8000",
        "127.0.0.1:8000",
        "127.3.2.1",
        "[::1]:8000",
        "app.localhost",
        "ai.lan:1",
        "localhost.",
    ],
)
def test_this_machines_names(host: str | None) -> None:
    """localhost, loopback addresses, configured names, with and without a port; no Host header is no browser."""
    check_host(host, ("ai.lan",))


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "localhost.evil.example", "10.0.0.1", "0.0.0.0", "", "127.0.0.1.evil"]
)
def test_other_names_are_refused(host: str) -> None:
    """A page whose name was made to stand for 127.0.0.1 has that name in its requests."""
    with pytest.raises(Forbidden, match=r"server\.hosts"):
        check_host(host, ("ai.lan",))


async def test_a_rebound_name_gets_nothing_without_a_key(start_site: StartSite) -> None:
    """403 in the family's shape, and the same page may ask if the operator names it, or with a key."""
    site = await start_site(server=ServerSection(hosts=("ai.lan",)))
    for path in ("/completion", "/v1/jobs", "/admin/keys"):
        answer = await site.post(path, {"prompt": "x"}, Host="evil.example")
        assert answer.status == 403
        assert "server.hosts" in answer.json()["error"]["message"]
    assert (await site.post("/completion", {"prompt": "x"}, Host="ai.lan")).status == 200
    assert (await site.post("/completion", {"prompt": "x"})).status == 200
    keyed = await start_site(keys=(KeySection(name="a", token="a"),))
    assert (await keyed.post("/completion", {"prompt": "x"}, Host="evil.example", X_Api_Key="a")).status == 200


async def test_a_proxy_passes_no_loopback_privileges_on(start_site: StartSite) -> None:
    """Trusted or not: who comes through a proxy needs a key, even if the proxy says that it came from 127.0.0.1."""
    for server in (ServerSection(), ServerSection(trusted_proxies=("127.0.0.0/8",))):
        site = await start_site(server=server)
        for headers in ({"X_Forwarded_For": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"X_Real_IP": "::1"}):
            answer = await site.post("/completion", {"prompt": "x"}, **headers)
            assert answer.status == 401, headers
            assert "its own machine only" in answer.json()["error"]["message"]


async def test_pages_of_other_sites_do_nothing_without_a_key(start_site: StartSite) -> None:
    """A browser would send a form's request and only keep the answer from the page. Reading is up to CORS."""
    site = await start_site(server=ServerSection(cors_origins=("https://friend.example",)))
    for origin in ("https://evil.example", "null", "http://localhost.evil.example"):
        answer = await site.post("/completion", {"prompt": "x"}, Origin=origin)
        assert answer.status == 403
        assert "server.cors_origins" in answer.json()["error"]["message"]
        assert (await site.get("/v1/models", Origin=origin)).status == 200
    for origin in ("https://friend.example", "http://localhost:3000", site.address):
        assert (await site.post("/completion", {"prompt": "x"}, Origin=origin)).status == 200


async def test_llamacpps_port_is_open_to_pages_but_not_its_administration(start_site: StartSite) -> None:
    """llama-server answers every page; keys and workers are none of its business."""
    site = await start_site()
    there = {"at": site.llamacpp, "Origin": "https://page.example"}
    assert (await site.ask("POST", "/completion", {"prompt": "x"}, **there)).status == 200
    answer = await site.ask("POST", "/admin/queue/pause", {}, **there)
    assert answer.status == 403
    answer = await site.ask("GET", "/admin/workers", **there)
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_what_browsers_must_not_do_with_an_answer(start_site: StartSite) -> None:
    """Headers of every answer, refusals and streams too; a page's own policy stays; HTTPS is insisted on only there."""
    site = await start_site(
        server=ServerSection(trusted_proxies=("127.0.0.0/8",)), keys=(KeySection(name="a", token="a"),)
    )
    for answer in (
        await site.get("/v1/models", X_Api_Key="a"),
        await site.get("/nothing"),
        await site.post("/completion", {"prompt": "x", "stream": True}, X_Api_Key="a"),
    ):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["Cache-Control"] in {"no-store", "no-cache"}
        assert "Strict-Transport-Security" not in answer.headers
    secure = await site.get("/v1/models", X_Api_Key="a", X_Forwarded_For="1.2.3.4", X_Forwarded_Proto="https")
    assert secure.headers["Strict-Transport-Security"].startswith("max-age=")
    page = await site.get("/", Accept="text/html")
    assert "script-src" in page.headers["Content-Security-Policy"]
