"""A command: words of the command line, what they take, and what runs."""

import argparse
import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from velesio.cli.voice import aloud
from velesio.config import Config

if TYPE_CHECKING:
    from velesio.cli.desk import Desk

Run = Callable[[Config, argparse.Namespace], int]
"""Answers the exit status."""
Words: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""The words that may come next."""


def noun(words: Words, name: str, text: str) -> Words:
    """Adds a word that needs a verb behind it; answers the verbs."""
    parser = words.add_parser(name, help=text, description=_sentence(text))
    return parser.add_subparsers(title="commands", metavar="", required=True)


def command(words: Words, name: str, run: Run, text: str) -> argparse.ArgumentParser:
    """Adds a word that runs something; answers its parser, for arguments of its own."""
    parser = words.add_parser(name, help=text, description=_sentence(text))
    common(parser, default=argparse.SUPPRESS)  # so that the options may stand before or after the command
    parser.set_defaults(run=run)
    return parser


def common(parser: argparse.ArgumentParser, default: object) -> None:
    """Adds what every command takes: the configuration."""
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=Path(os.environ["VELESIO_CONFIG"]) if default is None and "VELESIO_CONFIG" in os.environ else default,
        help="configuration file (default: config.toml here, if there is one)",
    )
    parser.add_argument(
        "--set",
        action="append",
        metavar="SECTION.KEY=VALUE",
        default=default,
        help="set one option; may be repeated",
    )


def operate(settings: Config, work: "Callable[[Desk], Awaitable[bool]]") -> int:
    """Has something done at the broker; 1 if a part of it could not be done."""
    from velesio import logs  # noqa: PLC0415 - reading the arguments needs no broker
    from velesio.cli.desk import at_desk  # noqa: PLC0415

    quiet = msgspec.structs.replace(settings.log, level="warning") if settings.log.level == "info" else settings.log
    logs.configure(quiet)  # the desk says what it does
    return 0 if asyncio.run(at_desk(settings, aloud, work)) else 1


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."
