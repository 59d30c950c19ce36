"""`velesio models`: what would be served and what workers have loaded; files of models; loading, unloading, pinning."""

import argparse
import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from velesio.cli.command import Words, command, noun, operate
from velesio.cli.voice import aloud, say_table
from velesio.config import Config
from velesio.errors import ConfigError

if TYPE_CHECKING:
    from velesio.backends.base import ModelCard
    from velesio.states import ModelState


def add(words: Words) -> None:
    """Adds the commands."""
    verbs = noun(words, "models", "the models")
    command(verbs, "list", _list, "list those that would be served, and what workers have loaded")
    verb = command(verbs, "pull", _pull, "fetch files of models into models_dir; those that are there stay")
    verb.add_argument(
        "source",
        nargs="*",
        help="https://…, or hub:owner/name/file; #sha256=… behind it is checked (default: what config.toml names)",
    )
    verb.add_argument("--to", metavar="FOLDER", default="", help="text, checkpoints, loras … (default: by its name)")
    verb = command(verbs, "rm", _rm, "delete files of models_dir")
    verb.add_argument("file", nargs="+", help="text/a.gguf, or only a.gguf")
    verb = command(verbs, "load", _load, "have workers load models, and wait for it")
    verb.add_argument("model", nargs="+")
    verb.add_argument(
        "--keep-alive", type=float, metavar="SECONDS", help="until it is unloaded after its last job; -1: never"
    )
    for name, run, text in (
        ("unload", _unload, "have workers unload models when their jobs have ended"),
        ("pin", _pin, "have models loaded and kept, whatever other models are wanted"),
        ("unpin", _unpin, "let pinned models be unloaded again"),
    ):
        command(verbs, name, run, text).add_argument("model", nargs="+")


def _list(settings: Config, _: argparse.Namespace) -> int:
    from velesio import catalogue, logs  # noqa: PLC0415 - reading the arguments needs no broker
    from velesio.cli.desk import served  # noqa: PLC0415

    logs.configure(settings.log)
    told = asyncio.run(served(settings))
    states = {card.name: state for card, state in told or ()}
    own = [card for backend in catalogue.backends(settings) for card in backend.models()]
    others = [card for card, _ in told or () if all(card.name != each.name for each in own)]
    rows: list[Sequence[str]] = [("NAME", "KIND", "BACKEND", "CONTEXT", "SLOTS", "MEMORY", "STATE", "ALIASES")]
    rows += [_row(card, states.get(card.name)) for card in (*own, *others)]
    say_table(aloud, rows)
    return 0


def _row(card: "ModelCard", state: "ModelState | None") -> Sequence[str]:
    """`state` None: no worker tells."""
    part = f" {state.progress:.0%}" if state and state.state == "loading" else ""
    return (
        card.name,
        card.capability,
        card.backend,
        str(card.context or "-"),
        str(card.slots),
        f"{card.bytes / 2**20:.0f} MiB",
        state.state + part if state else "-",
        ", ".join(card.aliases) or "-",
    )


def _pull(settings: Config, options: argparse.Namespace) -> int:
    from velesio import pulls  # noqa: PLC0415

    if options.to and options.to not in pulls.FOLDERS:
        raise ConfigError(f"--to {options.to}: expected one of {', '.join(pulls.FOLDERS)}")
    files = [pulls.named(settings, text, options.to) for text in options.source] or pulls.wanted(settings)
    pulls.pull(settings, files, aloud)
    return 0


def _rm(settings: Config, options: argparse.Namespace) -> int:
    from velesio import pulls  # noqa: PLC0415

    for name in options.file:
        aloud(f"{pulls.remove(settings.server.models_dir, name)} is deleted")
    return 0


def _load(settings: Config, options: argparse.Namespace) -> int:
    return operate(settings, lambda desk: desk.load_models(options.model, options.keep_alive))


def _unload(settings: Config, options: argparse.Namespace) -> int:
    return operate(settings, lambda desk: desk.unload_models(options.model))


def _pin(settings: Config, options: argparse.Namespace) -> int:
    return operate(settings, lambda desk: desk.pin_models(options.model, on=True))


def _unpin(settings: Config, options: argparse.Namespace) -> int:
    return operate(settings, lambda desk: desk.pin_models(options.model, on=False))
