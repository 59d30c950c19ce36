"""The OpenAPI document for people."""

import re

import pytest

from tests.http.conftest import Site, StartSite
from velesio.config import KeySection


@pytest.mark.parametrize(("path", "most"), [("/docs", "SwaggerUIBundle"), ("/redoc", "Redoc")])
async def test_a_reader_has_all_that_it_needs_here(site: Site, path: str, most: str) -> None:
    """Each script and style of the page is served from this place, compressed and to be kept; nothing is inline."""
    page = await site.get(path)
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self';" in page.headers["Content-Security-Policy"]
    text = page.body.decode()
    assert "http://" not in text
    assert "https://" not in text
    assert re.findall(r"<script(?! src=)", text) == []
    bodies = []
    for address in re.findall(r'(?:src|href)="(/(?:docs|redoc|static)/[^"]+)"', text):
        file = await site.get(address, Accept_Encoding="gzip")
        assert file.status == 200, address
        assert "immutable" in file.headers["Cache-Control"]
        bodies.append(file.body)
    assert len(bodies) >= 3
    assert any(most.encode() in body for body in bodies)


async def test_they_need_no_key(start_site: StartSite) -> None:
    """As the document itself; other names are not found, nor files of the package that no page asks for."""
    site = await start_site(keys=[KeySection(name="k", token="k")], specs=())
    assert (await site.get("/docs")).status == (await site.get("/redoc")).status == 200
    assert (await site.get("/docs/x/index.html")).status == 404
    assert (await site.get("/docs/../docs/x/..%2f__init__.py")).status == 404
    assert (await site.get("/docsx")).status == 401


async def test_the_swagger_ui_reads_openapi_3_1(site: Site) -> None:
    """Which those before 5 do not."""
    page = (await site.get("/docs")).body.decode()
    [address] = re.findall(r'src="(/docs/[^"]+bundle.js)"', page)
    bundle = (await site.get(address)).body.decode()
    assert [int(version) >= 5 for version in re.findall(r'PACKAGE_VERSION:"(\d+)', bundle)] == [True]
