"""Assets: addresses that change with what is behind them."""

import gzip
from pathlib import Path

import pytest

from tests.http.conftest import Site
from velesio.http.pages.assets import ASSETS, Assets, takes_gzip


def test_an_address_changes_when_any_file_does(tmp_path: Path) -> None:
    """Since modules bring others with them."""
    (tmp_path / "a.js").write_text('import { b } from "./b.js";\n')
    (tmp_path / "b.js").write_text("export const b = 1;\n")
    before = Assets(tmp_path)
    assert before.address("a.js") == f"/static/{before.version}/a.js"
    (tmp_path / "b.js").write_text("export const b = 2;\n")
    assert Assets(tmp_path).address("a.js") != before.address("a.js")


def test_a_module_brings_those_that_it_imports(tmp_path: Path) -> None:
    """Directly or not, each once, itself first."""
    (tmp_path / "a.js").write_text('import { b } from "./b.js";\nimport "./c.js";\n')
    (tmp_path / "b.js").write_text('import {\n  c,\n} from "./c.js";\n')
    (tmp_path / "c.js").write_text('export * from "./a.js";\n')
    found = Assets(tmp_path).modules("a.js")
    assert [address.rpartition("/")[2] for address in found] == ["a.js", "b.js", "c.js"]


def test_a_name_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """So that a template with one fails in the tests."""
    with pytest.raises(KeyError):
        Assets(tmp_path).address("gone.js")


async def test_files_are_compressed_once(site: Site) -> None:
    """And sent as they are to who does not read that."""
    address = ASSETS().address("base.css")
    # aiohttp's client unpacks by itself
    async with site.client.get(site.address + address, headers={"Accept-Encoding": "gzip"}) as packed:
        assert packed.headers["Content-Encoding"] == "gzip"
        length = int(packed.headers["Content-Length"])
        body = await packed.read()
    plain = await site.get(address, Accept_Encoding="identity")
    assert "Content-Encoding" not in plain.headers
    assert plain.body == body == gzip.decompress(ASSETS().files["base.css"].packed)
    assert length < len(body) / 3


async def test_an_old_page_gets_the_current_file(site: Site) -> None:
    """And does not keep it."""
    found = await site.get("/static/000000000000/base.css")
    assert (found.status, found.headers["Cache-Control"]) == (200, "no-store")


@pytest.mark.parametrize("name", ["gone.css", "../pages.py", "%2e%2e/pages.py", "..%2fpages.py", "base.css/x"])
async def test_nothing_but_the_files_is_served(site: Site, name: str) -> None:
    """Whatever the address looks like."""
    assert (await site.get(f"/static/{ASSETS().version}/{name}")).status == 404


@pytest.mark.parametrize(
    ("accepted", "takes"),
    [("", False), ("gzip", True), ("br, gzip;q=0.5", True), ("gzip;q=0", False), ("*", True), ("deflate", False)],
)
def test_who_takes_gzip(accepted: str, takes: bool) -> None:
    """As the header says."""
    assert takes_gzip(accepted) is takes
