"""The painter of `benches.plots`: draws what standard input holds into the file that is named.

It runs in the venv of matplotlib, which has nothing else of Velesio's.
"""

import json
import sys
from typing import Any

_COLOURS = ("#2a7f62", "#b5482e", "#3d5a98", "#c9922b", "#6b4c8a", "#4c4c4c")
_COLUMNS = 3


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
        _logarithmic(axes)
    else:
        axes.set_ylim(bottom=0)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)


def _logarithmic(axes: Any) -> None:
    """With numbers as people write them."""
    from matplotlib import ticker  # type: ignore[import-not-found]  # noqa: PLC0415

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_locator(ticker.NullLocator())


def _bars(axes: Any, panel: dict[str, Any]) -> None:
    count = len(panel["series"])
    width = 0.8 / count
    for number, (series, colour) in enumerate(zip(panel["series"], _COLOURS, strict=False)):
        places = [group + (number - (count - 1) / 2) * width for group in range(len(panel["at"]))]
        heights = [value or 0.0 for value in series["values"]]
        axes.bar(places, heights, width=width * 0.92, color=colour, label=series["label"])
    axes.set_xticks(range(len(panel["at"])), panel["at"], rotation=20, fontsize=7)
    if panel["log_y"]:
        _logarithmic(axes)
    axes.grid(axis="y", linewidth=0.4, alpha=0.5)


if __name__ == "__main__":
    _paint(json.load(sys.stdin), sys.argv[1])
