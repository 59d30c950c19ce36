"""The table of all routes for programs: the modules that have them, and the page of docs/api where each stands.

A family's page is put together in its own package and added here; the application's routes, the pages and the OpenAPI
document are made from it.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

from velesio.http import sessions, statements, status
from velesio.http.admin.reference import ADMIN
from velesio.http.anthropic.reference import ANTHROPIC
from velesio.http.background import jobs as background
from velesio.http.background import lists as job_lists
from velesio.http.earlier.reference import EARLIER
from velesio.http.llamacpp.reference import LLAMACPP, UNITY
from velesio.http.ollama.reference import OLLAMA
from velesio.http.openai.reference import OPENAI
from velesio.http.operations import Operation
from velesio.http.pages import docs as docs_pages
from velesio.http.reference import Page, render
from velesio.http.sdapi.reference import SCHEDULER, SDAPI

VELESIO = Page.of(
    name="velesio",
    title="Velesio's own routes",
    intro="""
Background jobs ([more](../jobs.md)), and what operators and their programs ask. `GET /metrics` answers in Prometheus's
text format, `GET /openapi.json` tells all of these pages as OpenAPI 3.1.
""",
    parts=(
        background,
        job_lists,
        sessions,
        statements,
        status,
        docs_pages,
    ),
)
PAGES = (VELESIO, ADMIN, LLAMACPP, OPENAI, ANTHROPIC, OLLAMA, UNITY, SDAPI, SCHEDULER, EARLIER)


def routes() -> Iterator[web.RouteDef]:
    """Those of all pages; of a module that stands on several, once."""
    for module in dict.fromkeys(module for page in PAGES for module in page.modules):
        yield from module.ROUTES


def operations() -> Iterator[Operation]:
    """Those of all pages."""
    for page in PAGES:
        yield from page.operations


def write(folder: Path) -> list[Path]:
    """Writes the pages; returns those that were not current."""
    changed = []
    for page in PAGES:
        path, text = folder / f"{page.name}.md", render(page)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


if __name__ == "__main__":
    sys.stdout.writelines(f"{path}\n" for path in write(Path("docs/api")))
