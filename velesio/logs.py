"""Structured logs on standard error: JSON for machines, lines for a terminal; never a prompt, never a key.

What clients and models say is written at the level `debug-content` alone, which somebody has to ask for by that name:
by the logger `CONTENT`, and by no other.
"""

import contextlib
import logging
import sys
from collections.abc import MutableMapping
from contextvars import ContextVar
from typing import Any

import msgspec
import structlog
from structlog.typing import Processor

from velesio.config import LogSection

CONTENT = "velesio.content"
_TALKATIVE = ("asyncio", "aiohttp.client", "opentelemetry", "urllib3", "PIL")
"""Libraries whose debugging lines may quote what they handle."""

_about: ContextVar[dict[str, Any]] = ContextVar("about")


def begin(**fields: Any) -> None:
    """Has every line of this task, and of those that it begins, bear these fields."""
    _about.set(fields)


def add(**fields: Any) -> None:
    """Has the lines bear these too, from now on. One variable for all of them: a new value of a variable costs as much
    as a line."""
    _about.get().update(fields)


def configure(section: LogSection) -> None:
    """Sends the logs of Velesio and of its libraries through structlog."""
    console = section.format == "console" or (section.format == "auto" and sys.stderr.isatty())
    level = section.level.partition("-")[0].upper()
    shared: list[Processor] = [
        merge,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if console:
        renderer: Processor = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        _through_the_library(shared)
        tail = [renderer]
    else:
        renderer = structlog.processors.JSONRenderer(serializer=_to_json)
        tail = [structlog.processors.format_exc_info, renderer]
        _past_the_library([*shared, *tail], level)
    handler = logging.StreamHandler(sys.stderr)
    processors = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=processors))
    _configure_library(handler, level)
    logging.getLogger(CONTENT).disabled = section.level != "debug-content"


def _through_the_library(shared: list[Processor]) -> None:
    """Lines for people are written with those of libraries, in one form."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )


def _past_the_library(processors: list[Processor], level: str) -> None:
    """The standard library would take two thirds of a line's time; only its own lines go through it."""
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=_Lines,
        cache_logger_on_first_use=True,
    )


def _configure_library(handler: logging.Handler, level: str) -> None:
    # Nobody asks where in the code a line was written, nor in which thread: finding out costs a quarter of the line.
    logging._srcfile = None  # as the library's documentation advises
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)  # the middleware writes the access log
    logging.getLogger("aiohttp.server").addFilter(_is_ours)


class _Lines:
    """Writes the lines of one logger."""

    def __init__(self, name: str = "velesio") -> None:
        self.name = name

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads standard error any more: no reason to fail
            sys.stderr.write(line + "\n")

    debug = info = warning = error = critical = exception = _write


def merge(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The line with what `begin` and `add` have said; its own words count more."""
    known = _about.get(None)
    return {**known, **event} if known else event


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether a server error is more than a client that speaks bad HTTP, which has been told so by a 400."""
    error = record.exc_info[1] if record.exc_info else None
    return not type(error).__module__.startswith("aiohttp.http_exceptions")


def _to_json(event: Any, **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()
