"""Pulls: which files of models the configuration and the command line ask for, and where each belongs."""

import asyncio
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import structlog

from velesio import notify
from velesio.config import Config, ModelSection
from velesio.downloads import Download, DownloadFailed, Source, source_of

log = structlog.get_logger(__name__)

FOLDERS = ("text", "checkpoints", "loras", "vae", "controlnet", "embeddings", "upscalers")
"""Of `models_dir`."""
_BAR = 0.2
"""Seconds between two states of the progress bar."""
_PATIENCE = 180_000_000
"""Microseconds that systemd shall wait for the next sign of a download, which may take longer than a start may."""


class Wanted(msgspec.Struct, frozen=True):
    """One file that shall be there."""

    source: Source
    target: Path


def folder_for(name: str) -> str:
    """Where a file of that name belongs, unless somebody says otherwise."""
    return "text" if name.lower().endswith(".gguf") else "checkpoints"


def place_of(model: ModelSection, hub: str) -> Path | None:
    """The file of a `[[models]]` table, under `models_dir`; None: it names none."""
    if model.path is not None or not model.source:
        return model.path
    name = source_of(model.source, hub).name
    return Path(folder_for(name)) / name


def named(config: Config, text: str, folder: str = "") -> Wanted:
    """What somebody asks for, in the folder that its name suggests if none is given.

    Raises:
        DownloadFailed: it means nothing.
    """
    source = source_of(text, config.downloads.hub)
    return Wanted(source, config.server.models_dir / (folder or folder_for(source.name)) / source.name)


def wanted(config: Config) -> list[Wanted]:
    """What the configuration asks for.

    Raises:
        DownloadFailed: a source that means nothing.
    """
    found, root = [], config.server.models_dir
    for model in config.models:
        if model.source:
            source = source_of(model.source, config.downloads.hub, model.sha256)
            found.append(Wanted(source, root / (place_of(model, config.downloads.hub) or source.name)))
    for folder in ("text", "checkpoints", "loras", "vae"):
        found += [named(config, text, folder) for text in getattr(config.downloads, folder)]
    return found


def pull(config: Config, files: Iterable[Wanted], say: Callable[[str], None]) -> int:
    """Fetches what is not there; answers how many files came.

    Raises:
        DownloadFailed: at the first that cannot be had.
    """
    came = 0
    for each in files:
        section = config.downloads
        download = Download(each.source, each.target, token=section.token, reserve=section.reserve)
        if asyncio.run(download.fetch(_Progress(each.target.name))):
            say(f"{each.target} is there")
            came += 1
    return came


def at_start(config: Config) -> None:
    """Has the files there that the configuration asks for, before anything looks for them; silent if they are."""
    files = wanted(config)
    if missing := [each for each in files if not each.target.exists()]:
        log.info("fetching models", files=[each.target.name for each in missing])
        pull(config, missing, lambda line: log.info("model fetched", file=line))


def remove(models_dir: Path, name: str) -> Path:
    """Deletes a file of `models_dir`, `text/a.gguf` or only `a.gguf`; answers which.

    Raises:
        DownloadFailed: there is none, or several.
    """
    root = models_dir.resolve()
    places = [root / name, *(root / folder / name for folder in FOLDERS)]
    found = [place for place in places if place.is_file() and place.resolve().is_relative_to(root)]
    if len(found) != 1:
        why = "there are several of that name" if found else "there is no such file"
        raise DownloadFailed(f"{name}: {why} under {models_dir}; name it as text/a.gguf")
    found[0].unlink()
    return found[0]


class _Progress:
    """A bar on a terminal; systemd, where it waits for the start, hears that it goes on; elsewhere nothing."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._shown = 0.0
        self._began = time.monotonic()
        self._first = -1

    def __call__(self, have: int, size: int) -> None:
        if self._first < 0:
            self._first = have
        now, done = time.monotonic(), have == size
        if now - self._shown < _BAR and not done:
            return
        self._shown = now
        part = have / size if size else 0.0
        notify.tell(f"EXTEND_TIMEOUT_USEC={_PATIENCE}\nSTATUS=fetching {self._name}, {part:.0%}")
        if not sys.stderr.isatty():
            return
        speed = (have - self._first) / max(now - self._began, 0.001) / 2**20
        bar = "#" * round(part * 30)
        sys.stderr.write(f"\r{self._name} [{bar:30}] {part:4.0%} {have / 2**20:.0f} MiB {speed:.1f} MiB/s\x1b[K")
        sys.stderr.write("\n" if done else "")
        sys.stderr.flush()
