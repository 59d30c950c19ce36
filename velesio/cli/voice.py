"""The voice of the command line: lines, tables and JSON on standard output, and in whose name it acts."""

import getpass
import os
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from velesio.cli.table import lines

Say = Callable[[str], None]
"""Where lines go: `aloud`, or a list in tests."""


def aloud(line: str) -> None:
    """On standard output, at once."""
    print(line, flush=True)  # noqa: T201 - the command line's own voice


def say_table(say: Say, rows: Sequence[Sequence[str]]) -> None:
    """Rows with aligned columns, the first of them the heading."""
    for line in lines(rows):
        say(line)


def say_json(say: Say, value: Any) -> None:
    """One JSON document, indented."""
    say(msgspec.json.format(msgspec.json.encode(value)).decode())


def speaker() -> str:
    """Who runs the command, for the audit log."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # in a container, users need no names
        name = str(os.getuid())
    return f"{name} (command line)"
