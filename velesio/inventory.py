"""Inventory: which files of models there are, looked at again and again, so that a worker serves what has come.

`velesio models pull`, an operator's pull, a copied file and `velesio models rm` are noticed alike, by looking, whoever
does it. A file that grows is left alone until it has been the same for two looks.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
import structlog

from velesio import catalogue, pulls
from velesio.backends.base import Backend
from velesio.config import Config, ModelSection
from velesio.errors import ConfigError
from velesio.queue.tasks import Loop

log = structlog.get_logger(__name__)

Signature = frozenset[tuple[str, int, int]]
"""Of each file its path, size and time of change."""


class Inventory:
    """Calls `restock(backends)` in the event loop when files have come, gone or changed."""

    def __init__(self, config: Config, restock: Callable[[Sequence[Backend]], None]) -> None:
        self._config = config
        self._restock = restock
        self._known = self._last = signature(config)
        self._loop = Loop("inventory", self.look, pause=config.worker.rescan or 1.0)

    def start(self) -> None:
        """Begin to look each `worker.rescan` seconds."""
        if self._config.worker.rescan:
            self._loop.start()

    async def close(self) -> None:
        """Stop."""
        await self._loop.close()

    async def look(self) -> None:
        """Look once. What was another at the last look already, and is so still, is told."""
        found, before = await asyncio.to_thread(signature, self._config), self._last
        self._last = found
        if found != before or found == self._known:
            return
        self._known = found
        try:
            backends = await asyncio.to_thread(catalogue.backends, present(self._config))
        except ConfigError as error:
            log.warning("files of models have changed and cannot be served; models stay as they are", error=str(error))
            return
        self._restock(backends)


def signature(config: Config) -> Signature:
    """All files that could make up a model; unfinished downloads are none."""
    return frozenset(_seen(config))


def _seen(config: Config) -> Iterator[tuple[str, int, int]]:
    folders = [config.server.models_dir / name for name in pulls.FOLDERS]
    others = [place for model in config.models for place in _places(config, model)]
    for place in (*folders, *others):
        for path in (place, *_below(place)):
            try:
                found = path.stat()
            except OSError:
                continue
            if not path.is_dir():
                yield str(path), found.st_size, found.st_mtime_ns


def _below(place: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(place, followlinks=True):
        for name in names:
            if not name.startswith("."):
                yield Path(folder, name)


def present(config: Config) -> Config:
    """The configuration without the tables of models whose files are gone."""
    there = tuple(model for model in config.models if _is_there(config, model))
    return msgspec.structs.replace(config, models=there, demo=config.demo and not config.models)


def _is_there(config: Config, model: ModelSection) -> bool:
    places = _places(config, model)
    return not places or any(place.exists() for place in places)


def _places(config: Config, model: ModelSection) -> list[Path]:
    """Where a table's file may lie; empty: it names none."""
    named, root = pulls.place_of(model, config.downloads.hub), config.server.models_dir
    if named is None:
        return []
    return [named] if named.is_absolute() else [root / named, *(root / folder / named for folder in pulls.FOLDERS)]
