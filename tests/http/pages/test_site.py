"""Pages: who gets them, what surrounds them, and that they show what they are told as text."""

import re

import pytest

from tests.http.conftest import Answer, Site, StartSite
from velesio.config import KeySection
from velesio.http.pages.site import PAGES, page_at

HTML = "text/html,application/xhtml+xml,*/*;q=0.8"
BOSS = KeySection(name="boss", token="boss-key", scopes=("text", "images", "admin"))
GAME = KeySection(name="game", token="game-key")


async def look(site: Site, path: str, **headers: str) -> Answer:
    """What a browser gets, without being sent on."""
    async with site.client.get(
        site.address + path, headers={"Accept": HTML} | headers, allow_redirects=False
    ) as response:
        return Answer(response.status, response.headers, await response.read())


@pytest.mark.parametrize("path", [*(page.path for page in PAGES), "/jobs/0123", "/sign-in"])
async def test_a_page_loads_nothing_from_elsewhere(site: Site, path: str) -> None:
    """Each address in it is one of ours, no script and no style stands in it, and its policy says so to browsers."""
    page = await look(site, path)
    text = page.body.decode()
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.findall(r'(?:src|href|action)="(?!/[^/]|#|/")', text)
    assert not re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]* src=)", text)


@pytest.mark.parametrize("path", ["/", "/models"])
async def test_programs_get_json_where_browsers_get_pages(site: Site, path: str) -> None:
    """By what they say that they read, which caches are told."""
    assert (await look(site, path)).body.startswith(b"<!doctype html>")
    program = await site.get(path)
    assert "models" in program.json()
    assert "Accept" in (await look(site, path)).headers["Vary"]


async def test_every_address_in_a_page_leads_somewhere(site: Site) -> None:
    """Scripts, styles and pictures, under addresses that may be kept for ever."""
    for page in PAGES:
        text = (await look(site, page.path)).body.decode()
        for address in set(re.findall(r'(?:src|href)="(/static/[^"]+)"', text)):
            found = await site.get(address)
            assert (found.status, found.headers["Cache-Control"]) == (200, "public, max-age=31536000, immutable")


async def test_without_a_key_one_is_sent_to_sign_in_and_back(start_site: StartSite) -> None:
    """To the page that was wanted; nothing of the server is told before."""
    site = await start_site(keys=[GAME])
    sent = await look(site, "/models")
    assert (sent.status, sent.headers["Location"]) == (303, "/sign-in?next=/models")
    odd = await look(site, "/jobs/a%0d%0aSet-Cookie:x&b=%3Cc%3E")
    assert odd.headers["Location"] == "/sign-in?next=/jobs/a%0D%0ASet-Cookie%3Ax%26b%3D%3Cc%3E"
    door = (await look(site, sent.headers["Location"])).body.decode()
    assert 'value="/models"' in door
    assert "parrot" not in door
    closed = (await site.get("/")).body.decode()
    assert "API key" in closed
    assert "parrot" not in closed


async def test_pages_of_administrators_are_for_their_keys(start_site: StartSite) -> None:
    """Others are told so, and their navigation does not lead there."""
    site = await start_site(keys=[BOSS, GAME])
    for page in PAGES:
        status = (await look(site, page.path, Authorization="Bearer game-key")).status
        assert status == (403 if page.admin else 200), page.name
        assert (await look(site, page.path, Authorization="Bearer boss-key")).status == 200
    text = (await look(site, "/", Authorization="Bearer game-key")).body.decode()
    assert 'href="/models"' in text
    assert 'href="/dashboard"' not in text


async def test_refusals_are_pages_too_and_escape_what_they_show(site: Site) -> None:
    """For browsers; programs keep their family's JSON."""
    page = await look(site, "/v1/models/<script>alert(1)</script>")
    text = page.body.decode()
    assert (page.status, page.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert (await site.get("/v1/models/x")).json()["error"]["code"] == "model_not_found"


async def test_pages_are_compressed(site: Site) -> None:
    """Where the browser takes it."""
    packed = await look(site, "/", **{"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    plain = await look(site, "/", **{"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers


def test_which_page_is_at_an_address() -> None:
    """Jobs have one each; what lies below is no page."""
    assert [page_at(page.path) for page in PAGES] == list(PAGES)
    assert getattr(page_at("/jobs/abc"), "name", "") == "job"
    assert page_at("/jobs/abc/result") is None
    assert page_at("/v1/models") is None
