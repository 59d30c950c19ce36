"""Files of models that are fetched by request."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.http.conftest import Site, StartSite, until
from velesio.config import KeySection, ServerSection
from velesio.http.admin.pulls import Pulls

CONTENT = b"weights" * 1000


class Source:
    """A web server with files; `gate` lets the second half of one go."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.address = ""

    async def file(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT)), "ETag": '"one"'})
        await response.prepare(request)
        await response.write(CONTENT[:3500])
        await self.gate.wait()
        await response.write(CONTENT[3500:])
        return response


@pytest.fixture
async def source() -> AsyncIterator[Source]:
    source, app = Source(), web.Application()
    app.router.add_get("/{name}", source.file)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    source.address = f"http://{host}:{port}"
    yield source
    source.gate.set()
    await runner.cleanup()


@pytest.fixture
async def site(start_site: StartSite, tmp_path: Path) -> Site:
    return await start_site(specs=(), server=ServerSection(models_dir=tmp_path))


async def told(site: Site) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = (await site.get("/admin/pulls")).json()["pulls"]
    return listed


async def becomes(site: Site, state: str) -> dict[str, Any]:
    """The latest one, when it is in that state."""
    async with asyncio.timeout(5):
        while (latest := (await told(site))[0])["state"] != state:
            await asyncio.sleep(0.01)
    return latest


async def test_a_file_is_fetched_into_its_folder(site: Site, source: Source, tmp_path: Path) -> None:
    """With how far it is meanwhile; a second request for it is refused, before and after."""
    source.gate.clear()
    order = {"source": f"{source.address}/a.gguf"}
    begun = await site.post("/admin/pulls", order)
    assert (begun.status, begun.json()["file"], begun.json()["folder"]) == (202, "a.gguf", "text")
    async with asyncio.timeout(5):
        while not (on_its_way := (await told(site))[0])["have"]:
            await asyncio.sleep(0.01)
    assert (on_its_way["state"], on_its_way["size"]) == ("running", len(CONTENT))
    assert 0 < on_its_way["have"] < len(CONTENT)
    assert (await site.post("/admin/pulls", order)).status == 409
    source.gate.set()
    done = await becomes(site, "done")
    assert done["ended"] >= done["began"] > 0
    assert (tmp_path / "text" / "a.gguf").read_bytes() == CONTENT
    assert (await site.post("/admin/pulls", order)).status == 409


async def test_one_that_is_stopped_leaves_nothing_in_its_place(site: Site, source: Source, tmp_path: Path) -> None:
    """And goes on when it is asked for again."""
    source.gate.clear()
    order = {"source": f"{source.address}/a.safetensors", "folder": "loras"}
    name = (await site.post("/admin/pulls", order)).json()["id"]
    await becomes(site, "running")
    assert (await site.ask("DELETE", f"/admin/pulls/{name}")).json()["state"] == "cancelled"
    assert not (tmp_path / "loras" / "a.safetensors").exists()
    assert (await site.ask("DELETE", "/admin/pulls/unknown")).status == 404
    source.gate.set()
    assert (await site.post("/admin/pulls", order)).status == 202
    await becomes(site, "done")
    assert (tmp_path / "loras" / "a.safetensors").read_bytes() == CONTENT


async def test_a_wrong_checksum_is_told(site: Site, source: Source, tmp_path: Path) -> None:
    """And nothing is left of the file."""
    await site.post("/admin/pulls", {"source": f"{source.address}/a.gguf#sha256={'0' * 64}"})
    failed = await becomes(site, "failed")
    assert failed["reason"]
    assert not list((tmp_path / "text").glob("*.gguf"))


@pytest.mark.parametrize(
    ("order", "field"),
    [
        ({}, "source"),
        ({"source": 5}, "source"),
        ({"source": "file:///etc/passwd"}, "source"),
        ({"source": "hub:nothing"}, "source"),
        ({"source": "https://example.org/.."}, "source"),
        ({"source": "https://example.org/%2e%2e%2fa.gguf"}, "source"),
        ({"source": "https://example.org/a.gguf", "folder": "../text"}, "folder"),
        ({"source": "https://example.org/a.gguf", "folder": "elsewhere"}, "folder"),
    ],
)
async def test_what_means_nothing_is_refused(site: Site, order: dict[str, Any], field: str) -> None:
    """Naming the field; nothing is asked for."""
    answer = await site.post("/admin/pulls", order)
    assert (answer.status, answer.json()["error"]["param"]) == (400, field)
    assert await told(site) == []


async def test_pulls_are_for_administrators_and_end_with_the_server(
    start_site: StartSite, source: Source, tmp_path: Path
) -> None:
    """Whoever runs on would keep the process."""
    server = ServerSection(models_dir=tmp_path)
    site = await start_site(specs=(), keys=[KeySection(name="game", token="game")], server=server)
    answer = await site.post("/admin/pulls", {"source": f"{source.address}/a.gguf"}, Authorization="Bearer game")
    assert answer.status == 403
    source.gate.clear()
    pulls = Pulls(site.gateway)
    pull = pulls.begin(f"{source.address}/b.gguf")
    await until(lambda: pull.have)
    await pulls.close()
    assert (pull.state, pull.ended > 0) == ("cancelled", True)
