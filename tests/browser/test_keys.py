"""Signing in, and keys that are made, rotated and revoked."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Watch, visiting
from tests.browser.site import ECHO, toml
from tests.end_to_end.process import Server, eventually, own_folder, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAME = "<img src=x onerror=alert(1)>"
BOSS = {"name": NAME, "token": "boss-key", "scopes": ["text", "images", "admin"]}
GAME = {"name": "game", "token": "game-key", "tenant": "studio"}


@pytest.fixture(scope="module")
def locked(browser: "Browser") -> Iterator[Server]:
    """A server that wants keys, one of which has markup for a name."""
    settings = (f"models={toml([{'name': ECHO, 'backend': 'echo'}])}", f"keys={toml([BOSS, GAME])}")
    with own_folder() as folder, running(Server("all", folder, *settings)) as server:
        yield server


@pytest.fixture
def visit(browser: "Browser", locked: Server) -> Iterator[tuple["Page", Watch]]:
    with visiting(browser, locked.url) as visit:
        yield visit


def enter(page: "Page", key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_a_key_leads_to_where_one_wanted_to_go(visit: tuple["Page", Watch]) -> None:
    """A wrong one is told; the cookie is out of scripts' reach; signing out ends it."""
    page, seen = visit
    seen.expected = ["401"]
    page.goto("/models")
    enter(page, "wrong")
    page.get_by_role("alert").get_by_text("not known").wait_for()
    enter(page, "boss-key")
    page.get_by_role("heading", name="Models").wait_for()
    page.get_by_role("row").filter(has_text=ECHO).wait_for()
    assert page.evaluate("document.cookie") == ""
    assert "boss-key" not in page.content()
    [cookie] = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("heading", name="Sign in").wait_for()
    page.goto("/dashboard")
    page.get_by_role("heading", name="Sign in").wait_for()


def test_what_is_asked_by_cookie_is_answered(visit: tuple["Page", Watch]) -> None:
    """The playground works as without keys, and its code names a key."""
    page, _ = visit
    page.goto("/")
    enter(page, "game-key")
    page.get_by_label("Your message").fill("hello you")
    page.keyboard.press("Enter")
    page.get_by_role("article", name="Answer").get_by_text("hello you").wait_for()
    page.locator(".stats").wait_for()
    assert page.get_by_role("link", name="Dashboard").count() == 0
    place = page.locator("#chat-code")
    place.get_by_text("The same from your program").click()
    assert "$VELESIO_KEY" in place.get_by_label("The request as code").inner_text()


def test_a_page_that_the_key_is_not_for_says_so(visit: tuple["Page", Watch]) -> None:
    """With a way on."""
    page, seen = visit
    seen.expected = ["403"]
    page.goto("/dashboard")
    enter(page, "game-key")
    page.get_by_role("heading", name="This key may not do that").wait_for()
    page.get_by_role("link", name="Sign in with another key").click()
    enter(page, "boss-key")
    page.get_by_role("heading", name="Playground").wait_for(state="attached")


def test_a_keys_name_is_shown_as_text(visit: tuple["Page", Watch]) -> None:
    """Also where it stands in an attribute."""
    page, _ = visit
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto("/keys")
    enter(page, "boss-key")
    page.get_by_role("heading", name="Keys").wait_for()
    assert NAME in (page.get_by_role("button", name="Sign out").get_attribute("title") or "")
    assert page.locator("img").count() == 0


def test_a_key_is_made_rotated_and_revoked(visit: tuple["Page", Watch], locked: Server) -> None:
    """It is shown once and works at once; revoked, it is refused. Its name, which looks like markup, is text."""
    page, _ = visit
    page.on("dialog", lambda dialog: pytest.fail(f"a script ran: {dialog.message}"))
    page.goto("/keys")
    enter(page, "boss-key")
    page.get_by_role("button", name="New key").click()
    page.get_by_label("Name", exact=True).fill("<b>ada</b>")
    page.get_by_label("Tenant", exact=True).fill("studio")
    page.get_by_label("Pictures").uncheck()
    page.get_by_label("Ends after").select_option("30 days")
    page.get_by_role("button", name="Make the key").click()
    page.get_by_role("heading", name="Keep this key").wait_for()
    key = page.locator("#secret").inner_text()
    assert key.startswith("vk_")
    assert asks(locked, key) == 200
    page.get_by_role("button", name="I have it").click()
    assert key not in page.content()
    row = page.get_by_role("row").filter(has_text="<b>ada</b>")
    row.get_by_text("live").wait_for()
    assert row.locator("b").count() == 0
    row.get_by_role("button", name="Rotate").click()
    page.get_by_role("button", name="Rotate it").click()
    page.get_by_role("heading", name="Keep the new secret").wait_for()
    second = page.locator("#secret").inner_text()
    eventually(lambda: asks(locked, second) == 200)
    page.get_by_role("button", name="I have it").click()
    row.get_by_role("button", name="Revoke").click()
    page.get_by_role("button", name="Revoke it").click()
    row.get_by_text("revoked").wait_for()
    eventually(lambda: asks(locked, key) == asks(locked, second) == 401, within=2)


def test_an_end_in_another_year_is_told_with_it(visit: tuple["Page", Watch], locked: Server) -> None:
    """Else it would seem to be near, or past."""
    page, _ = visit
    key = {"name": "far", "expires": "2099-06-15T12:00:00Z"}
    assert locked.post("/admin/keys", key, {"Authorization": "Bearer boss-key"})[0] == 201
    page.goto("/keys")
    enter(page, "boss-key")
    page.get_by_role("row").filter(has_text="far").get_by_text("15 Jun 2099").wait_for()


def asks(server: Server, key: str) -> int:
    """What a request with the key gets."""
    return server.get("/v1/models", {"Authorization": f"Bearer {key}"})[0]
