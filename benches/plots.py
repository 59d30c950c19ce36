"""Plots of curves and bars: what is to be drawn, as data; `benches.painting` draws it in a venv of its own."""

import subprocess
from pathlib import Path
from typing import Literal

import msgspec

from benches import text_plot, venvs

_DRAWING = 120.0

prepare = text_plot.prepare


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One curve, or one bar of each group."""

    label: str
    values: list[float | None]


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One picture among several."""

    title: str
    at: list[float] | list[str]
    """Places along the x axis: numbers of curves, names of groups of bars."""
    series: list[Series]
    x: str = ""
    kind: Literal["curves", "bars"] = "curves"
    log_x: bool = False
    log_y: bool = False


class Plot(msgspec.Struct, frozen=True, kw_only=True):
    """A file with some panels."""

    caption: str
    panels: list[Panel]


def draw(python: Path, plot: Plot, file: Path) -> None:
    """Writes the picture to `file`; `python` is what `prepare` answered."""
    command = [str(python), "-m", "benches.painting", str(file.absolute())]
    order = msgspec.json.encode(plot)
    subprocess.run(command, cwd=venvs.ROOT, input=order, timeout=_DRAWING, check=True)
