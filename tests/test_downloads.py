"""Downloads: whole or not at all, go on where they stopped, and never fill the disk."""

import asyncio
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import web

from velesio import config
from velesio.config import DownloadSection, ModelSection, ServerSection
from velesio.downloads import Download, DownloadFailed, source_of
from velesio.pulls import remove, wanted

CONTENT = os.urandom(1 << 21)
SUM = hashlib.sha256(CONTENT).hexdigest()


class Usage(NamedTuple):
    total: int
    used: int
    free: int


class Hub:
    """A hub with one file, on a server that sends on to another for its content."""

    def __init__(self) -> None:
        self.content = CONTENT
        self.sum = SUM
        self.tag = '"v1"'
        self.breaks_after = 0
        """Bytes after which the connection breaks; 0: never."""
        self.waits_after = 0
        self.waiting = asyncio.Event()
        self.asked: list[tuple[str, str, str]] = []
        """Path, Range and Authorization of each request."""
        self.address = ""

    async def resolve(self, request: web.Request) -> web.Response:
        self.note(request)
        headers = {
            "X-Linked-ETag": f'"{self.sum}"',
            "Location": self.address.replace("127.0.0.1", "localhost") + "/cdn",
        }
        return web.Response(status=302, headers=headers)

    async def send(self, request: web.Request) -> web.StreamResponse:
        self.note(request)
        begin = 0
        if request.headers.get("If-Range") == self.tag:
            begin = int(request.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        body = self.content[begin:]
        response = web.StreamResponse(status=206 if begin else 200, headers={"ETag": self.tag})
        response.content_length = len(body)
        await response.prepare(request)
        if self.breaks_after:
            await response.write(body[: self.breaks_after])
            assert request.transport is not None
            request.transport.close()
            return response
        if self.waits_after:
            await response.write(body[: self.waits_after])
            self.waiting.set()
            await asyncio.sleep(60)
        await response.write(body)
        return response

    def note(self, request: web.Request) -> None:
        self.asked.append((request.path, request.headers.get("Range", ""), request.headers.get("Authorization", "")))


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub()
    app = web.Application()
    app.add_routes([web.get("/owner/name/resolve/main/{file:.+}", hub.resolve), web.get("/{file}", hub.send)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hub.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield hub
    await runner.cleanup()


def download(hub: Hub, folder: Path, text: str = "", **options: object) -> Download:
    source = source_of(text or f"{hub.address}/a.gguf", hub.address)
    return Download(source, folder / "a.gguf", **options)  # type: ignore[arg-type]


async def test_a_file_comes_and_is_not_asked_for_again(hub: Hub, tmp_path: Path) -> None:
    """Whole, under its name, with nothing beside it; the second time nobody is asked."""
    assert await download(hub, tmp_path / "text").fetch()
    assert (tmp_path / "text/a.gguf").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "text").iterdir()] == ["a.gguf"]
    asked = len(hub.asked)
    assert not await download(hub, tmp_path / "text").fetch()
    assert len(hub.asked) == asked


async def test_a_hub_is_known_by_its_name(hub: Hub, tmp_path: Path) -> None:
    """It tells the checksum, gets the token, and sends on to a server that does not get it."""
    file = download(hub, tmp_path, "hub:owner/name/sub/a.gguf", token="secret")
    assert await file.fetch()
    assert [(path, key) for path, _, key in hub.asked] == [
        ("/owner/name/resolve/main/sub/a.gguf", "Bearer secret"),
        ("/cdn", ""),
    ]
    (tmp_path / "a.gguf").unlink()
    hub.sum = "0" * 64
    with pytest.raises(DownloadFailed, match="SHA-256"):
        await download(hub, tmp_path, "hub:owner/name/a.gguf").fetch()


async def test_a_wrong_checksum_leaves_nothing_behind(hub: Hub, tmp_path: Path) -> None:
    """Neither under its name nor under another."""
    with pytest.raises(DownloadFailed, match=f"its SHA-256 is {SUM}, not {'ab' * 32}"):
        await download(hub, tmp_path, f"{hub.address}/a.gguf#sha256={'AB' * 32}").fetch()
    assert list(tmp_path.iterdir()) == []


async def test_a_broken_connection_is_gone_on_from(hub: Hub, tmp_path: Path) -> None:
    """The next try asks only for what is missing, and the checksum is that of all of it."""
    hub.breaks_after = 700_000
    with pytest.raises(DownloadFailed, match="what has come is kept"):
        await download(hub, tmp_path, f"{hub.address}/a.gguf#sha256={SUM}").fetch()
    assert not (tmp_path / "a.gguf").exists()
    hub.breaks_after = 0
    assert await download(hub, tmp_path, f"{hub.address}/a.gguf#sha256={SUM}").fetch()
    assert (tmp_path / "a.gguf").read_bytes() == CONTENT
    begin = int(hub.asked[-1][1].removeprefix("bytes=").removesuffix("-"))
    assert 0 < begin <= 700_000


async def test_another_file_at_the_source_begins_anew(hub: Hub, tmp_path: Path) -> None:
    """What came of the old one is not put before the new one's end."""
    hub.breaks_after = 700_000
    with pytest.raises(DownloadFailed):
        await download(hub, tmp_path).fetch()
    hub.breaks_after, hub.tag, hub.content = 0, '"v2"', CONTENT[::-1]
    assert await download(hub, tmp_path).fetch()
    assert (tmp_path / "a.gguf").read_bytes() == CONTENT[::-1]


async def test_a_full_disk_is_refused_before_the_download(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what is left and what is needed; nothing has been written."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, (1 << 21) + 99))
    with pytest.raises(
        DownloadFailed, match=r"has 2 MiB left; a\.gguf needs 2 more, and 0 stay free \(downloads\.reserve"
    ):
        await download(hub, tmp_path, reserve=100).fetch()
    assert list(tmp_path.iterdir()) == []
    assert await download(hub, tmp_path, reserve=99).fetch()


async def test_two_processes_do_not_write_one_file(hub: Hub, tmp_path: Path) -> None:
    """The second one is told; the first one ends undisturbed."""
    hub.waits_after = 1000
    first = asyncio.create_task(download(hub, tmp_path).fetch())
    await hub.waiting.wait()
    with pytest.raises(DownloadFailed, match="another process"):
        await download(hub, tmp_path).fetch()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_a_pull_that_is_killed_goes_on(hub: Hub, tmp_path: Path) -> None:
    """`velesio models pull` ended by kill -9 in the middle: the next one asks for the rest and has the whole file."""
    hub.waits_after = (1 << 20) + 5000
    command = [sys.executable, "-m", "velesio", "models", "pull", f"{hub.address}/a.gguf#sha256={SUM}"]
    command += ["--set", f"server.models_dir={tmp_path}"]
    first = await asyncio.create_subprocess_exec(*command, cwd=tmp_path)
    await hub.waiting.wait()
    part = tmp_path / "text/.a.gguf.part"
    async with asyncio.timeout(10):
        while not part.exists() or part.stat().st_size < 1 << 19:
            await asyncio.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    assert await first.wait() == -signal.SIGKILL
    assert not (tmp_path / "text/a.gguf").exists()
    hub.waits_after = 0
    again = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=subprocess.PIPE)
    said, _ = await again.communicate()
    assert again.returncode == 0
    assert b"a.gguf is there" in said
    assert (tmp_path / "text/a.gguf").read_bytes() == CONTENT
    assert int(hub.asked[-1][1].removeprefix("bytes=").removesuffix("-")) >= 1 << 19
    quiet = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, stdout=subprocess.PIPE)
    assert (await quiet.communicate())[0] == b""


async def test_a_pull_of_nothing_named_fetches_what_the_configuration_names(hub: Hub, tmp_path: Path) -> None:
    """So a container that may write does it for those that only read. systemd, if it waits, hears that it goes on."""
    (tmp_path / "config.toml").write_text("")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0velesio-" + tmp_path.name)
        named = {"MODEL_URL": f"{hub.address}/a.gguf#sha256={SUM}", "NOTIFY_SOCKET": "@velesio-" + tmp_path.name}
        command = [sys.executable, "-m", "velesio", "models", "pull", "--set", f"server.models_dir={tmp_path}"]
        pull = await asyncio.create_subprocess_exec(*command, cwd=tmp_path, env={**os.environ, **named})
        assert await pull.wait() == 0
        assert systemd.recv(200).startswith(b"EXTEND_TIMEOUT_USEC=180000000\nSTATUS=fetching a.gguf")
    assert (tmp_path / "text/a.gguf").read_bytes() == CONTENT


async def test_a_folder_that_cannot_be_written_is_named(hub: Hub) -> None:
    """As where models are mounted read-only."""
    with pytest.raises(DownloadFailed, match=r"/proc/models/a\.gguf: No such file or directory"):
        await Download(source_of(f"{hub.address}/a.gguf"), Path("/proc/models/a.gguf")).fetch()


@pytest.mark.parametrize(
    "text",
    ["a.gguf", "ftp://x/a.gguf", "https://x/", "https://x/..", "https://x/%2e%2e%2fpasswd", "hub:owner", "hub:a/b",
     "https://x/a.gguf#sha256=12", "https:///a.gguf", "file:///etc/passwd", "https://x/.hidden", "https://x/a%00b"],
)  # fmt: skip
def test_what_means_no_file_is_refused(text: str) -> None:
    """No source leads out of its folder."""
    with pytest.raises(DownloadFailed):
        source_of(text)


def test_the_configuration_names_files(tmp_path: Path) -> None:
    """Tables of models, lists by folder, and the variables of the earlier server."""
    loaded = config.Config(
        server=ServerSection(models_dir=tmp_path),
        models=(
            ModelSection(name="a", source="hub:o/n/a.gguf", sha256="0" * 64),
            ModelSection(name="b", source="https://x.org/b.gguf", path=Path("mine/b.gguf")),
        ),
        downloads=DownloadSection(loras=("https://x.org/l.safetensors",), hub="https://hub.org/"),
    )
    found = {str(each.target.relative_to(tmp_path)): each.source for each in wanted(loaded)}
    assert found.keys() == {"text/a.gguf", "mine/b.gguf", "loras/l.safetensors"}
    assert found["text/a.gguf"].url == "https://hub.org/o/n/resolve/main/a.gguf"
    assert found["text/a.gguf"].sha256 == "0" * 64
    file = tmp_path / "config.toml"
    file.write_text("")
    earlier = config.load(file, {"MODEL_URL": "https://x/a.gguf, https://x/b.gguf", "VAE_URL": "https://x/v.pt"})
    assert earlier.downloads.text == ("https://x/a.gguf", "https://x/b.gguf")
    assert earlier.downloads.vae == ("https://x/v.pt",)


def test_files_are_removed_from_models_dir_only(tmp_path: Path) -> None:
    """By name or by place; nothing outside, whatever the name says."""
    models = tmp_path / "models"
    (models / "text").mkdir(parents=True)
    (models / "text/a.gguf").touch()
    (tmp_path / "b.gguf").touch()
    for name in ("../b.gguf", str(tmp_path / "b.gguf"), "c.gguf", "text"):
        with pytest.raises(DownloadFailed):
            remove(models, name)
    assert remove(models, "a.gguf").name == "a.gguf"
    assert not (models / "text/a.gguf").exists()
    assert (tmp_path / "b.gguf").exists()
