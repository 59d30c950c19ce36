"""A real server and chromium. Whatever a test does, no page may complain or ask anybody else.

The tests are skipped where chromium or playwright is missing; scripts/test-browser installs both.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.site import start_server
from tests.end_to_end.process import Server, own_folder, running

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.timeout(180))


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """One chromium for all tests."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing: scripts/test-browser")
    if not CHROMIUM:
        pytest.skip("chromium is missing: scripts/test-browser")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def server(browser: "Browser") -> Iterator[Server]:
    """SmolLM2, a model that draws, and echo models, which fail when they are told to."""
    with own_folder() as folder, running(start_server(folder)) as server:
        yield server


class Watch:
    """What went wrong in a context's pages."""

    def __init__(self, context: "BrowserContext", origin: str) -> None:
        self.wrong: list[str] = []
        self.expected: list[str] = []
        """Parts of complaints that the test provokes."""
        self.origin = origin
        context.on("console", self._said)
        context.on("weberror", lambda error: self.wrong.append(f"error: {error.error}"))
        context.on("request", self._asked)

    def _said(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.wrong.append(f"console: {message.text}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((f"{self.origin}/", "data:", "blob:")):
            self.wrong.append(f"asked elsewhere: {request.url}")

    def left(self) -> list[str]:
        """Complaints that nobody expected."""
        return [text for text in self.wrong if not any(part in text for part in self.expected)]


@contextlib.contextmanager
def visiting(browser: "Browser", origin: str, **options: Any) -> Iterator[tuple["Page", Watch]]:
    """A page of a fresh browser, which must not complain until it is left."""
    settings = {"base_url": origin, "viewport": {"width": 1280, "height": 900}} | options
    context = browser.new_context(**settings)
    context.set_default_timeout(30_000)
    watch = Watch(context, origin)
    try:
        yield context.new_page(), watch
        assert not watch.left(), watch.left()
    finally:
        context.close()


@pytest.fixture
def watch() -> list[str]:
    """Parts of complaints that a test provokes; it adds them."""
    return []


@pytest.fixture
def page(browser: "Browser", server: Server, watch: list[str]) -> Iterator["Page"]:
    """A page at the server's address."""
    with visiting(browser, server.url) as (page, seen):
        seen.expected = watch
        yield page
