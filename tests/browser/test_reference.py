"""The API reference in a browser: drawn whole, under its policy, without asking anybody else."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_swagger_ui_shows_each_family(page: "Page") -> None:
    """A family opens to its routes; the page's own watch fails for whatever its policy refuses."""
    page.goto("/docs")
    page.locator("#operations-tag-ollama").wait_for()
    page.locator("#operations-tag-ollama").click()
    page.get_by_text("/api/embed", exact=True).first.wait_for()


def test_redoc_shows_the_document(page: "Page", watch: list[str]) -> None:
    """All routes on one page; how sure it is of the samples that it makes is its own matter."""
    watch.append("OpenAPI Sampler")
    page.goto("/redoc")
    page.get_by_role("heading", name="Velesio").first.wait_for()
    page.wait_for_function("() => document.body.textContent.includes('/admin/events')")
