"""Plots of curves and bars: what is to be drawn, as data; drawn in a venv of its own, as `benches.text_plot` is.

Run as a module, this draws what standard input holds.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import msgspec

from benches import text_plot, venvs

_DRAWING = 120.0
_COLOURS = ("#2a7f62", "#b5482e", "#3d5a98", "#c9922b", "#6b4c8a", "#4c4c4c")
_COLUMNS = 3

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
    command = [str(python), "-m", "benches.plots", str(file.absolute())]
    order = msgspec.json.encode(plot)
    subprocess.run(command, cwd=venvs.ROOT, input=order, timeout=_DRAWING, check=True)


def _paint(plot: dict[str, Any], file: str) -> None:
    import matplotlib as mpl  # type: ignore[import-not-found]  # noqa: PLC0415 - the driver has none

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    panels = plot["panels"]
    columns = min(_COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    size = (4.2 * columns, 3.2 * lines + 0.3)
    figure, all_axes = plt.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False)
    for axes, panel in zip(all_axes.flat, panels, strict=False):
        (_bars if panel["kind"] == "bars" else _curves)(axes, panel)
        axes.set_title(panel["title"], fontsize=9, loc="left")
        axes.set_xlabel(panel["x"], fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        if len(panel["series"]) > 1:
            axes.legend(fontsize=7, frameon=False)
    for axes in list(all_axes.flat)[len(panels) :]:
        axes.set_axis_off()
    figure.supxlabel(plot["caption"], fontsize=7)
    figure.savefig(file, dpi=110)


def _curves(axes: Any, panel: dict[str, Any]) -> None:
    for series, colour in zip(panel["series"], _COLOURS, strict=False):
        points = [(x, y) for x, y in zip(panel["at"], series["values"], strict=True) if y is not None]
        axes.plot(*zip(*points, strict=True), marker="o", markersize=3.5, color=colour, label=series["label"])
    if panel["log_x"]:
        axes.set_xscale("log")
    axes.set_xticks(panel["at"], [f"{x:,.0f}" for x in panel["at"]], rotation=30)
    axes.minorticks_off()
    if panel["log_y"]:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)


def _bars(axes: Any, panel: dict[str, Any]) -> None:
    count = len(panel["series"])
    width = 0.8 / count
    for number, (series, colour) in enumerate(zip(panel["series"], _COLOURS, strict=False)):
        places = [group + (number - (count - 1) / 2) * width for group in range(len(panel["at"]))]
        heights = [value or 0.0 for value in series["values"]]
        axes.bar(places, heights, width=width * 0.92, color=colour, label=series["label"])
    axes.set_xticks(range(len(panel["at"])), panel["at"], rotation=20, fontsize=7)
    if panel["log_y"]:
        axes.set_yscale("log")
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)


if __name__ == "__main__":
    _paint(json.load(sys.stdin), sys.argv[1])
