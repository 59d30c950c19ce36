"""Styles: texts by name that A1111's clients have put around their prompts, from a file like its `styles.csv`."""

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import structlog
from aiohttp import web

log = structlog.get_logger("velesio.http")

_MOST_BYTES = 1 << 20
_PLACE = "{prompt}"


class Style(NamedTuple):
    """One of them."""

    name: str
    prompt: str = ""
    negative_prompt: str = ""


StylesByName = Mapping[str, Style]


class Styles:
    """The file's styles; they are read again when it changes."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: tuple[int, int] | None = None
        self._styles: StylesByName = {}

    def read(self) -> StylesByName:
        """All of them, by name; without a file there are none."""
        try:
            state = self._path.stat() if self._path else None
        except OSError:
            state = None
        known = (state.st_mtime_ns, state.st_size) if state else None
        if known != self._known:
            self._known, self._styles = known, self._load() if known else {}
        return self._styles

    def _load(self) -> StylesByName:
        assert self._path is not None  # noqa: S101 - it was looked at
        try:
            with self._path.open("rb") as file:
                return parse(file.read(_MOST_BYTES).decode("utf-8-sig"))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            log.warning("styles left out", path=str(self._path), error=str(error))
            return {}


STYLES = web.AppKey("styles", Styles)


def parse(text: str) -> dict[str, Style]:
    """Styles of a CSV whose first line names the columns name, prompt, negative_prompt; the last of a name counts.

    Raises:
        csv.Error
    """
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    found = (
        Style(row["name"], row.get("prompt") or row.get("text") or "", row.get("negative_prompt") or "")
        for row in rows
        if row.get("name")
    )
    return {style.name: style for style in found}


def applied(prompt: str, negative_prompt: str, styles: Iterable[Style]) -> tuple[str, str]:
    """Both prompts with styles around them, one after the other."""
    for style in styles:
        prompt, negative_prompt = _joined(prompt, style.prompt), _joined(negative_prompt, style.negative_prompt)
    return prompt, negative_prompt


def _joined(prompt: str, style: str) -> str:
    """The style with the prompt in its place, or behind it."""
    if _PLACE in style:
        return style.replace(_PLACE, prompt)
    return ", ".join(part for part in (prompt.strip(), style.strip()) if part)


def named(names: Iterable[str] | None, styles: StylesByName) -> list[Style]:
    """The styles of these names; unknown ones are passed over, as A1111 does."""
    return [styles[name] for name in names or () if name in styles]
