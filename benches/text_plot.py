"""The text bench as a picture: drawn in a venv of its own, since nothing else needs matplotlib.

The driver hands the rows over as JSON; run as a module, this draws them.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benches import venvs

_NAME = "matplotlib"
_REQUIREMENTS = ("matplotlib==3.11.2",)
_DRAWING = 120.0


def prepare(*, install: bool) -> Path | None:
    """The interpreter that can draw; None, with a word about it, if there is none."""
    try:
        return venvs.python_of(_NAME, install=install, requirements=_REQUIREMENTS)
    except venvs.MissingRival as missing:
        print(f"no picture: matplotlib: {missing}", file=sys.stderr)
        return None


def draw(python: Path, bars: Sequence[dict[str, Any]], caption: str, file: Path) -> None:
    """Writes the picture to `file`; `bars` are those of `text_figures.bars`, as objects."""
    order = json.dumps({"bars": bars, "caption": caption, "file": str(file.absolute())})
    command = [str(python), "-m", "benches.text_plot"]
    subprocess.run(command, cwd=venvs.ROOT, input=order, text=True, timeout=_DRAWING, check=True)


def _paint(order: dict[str, Any]) -> None:
    """Two panels: what is better when higher, and what is better when lower; each as a part of the rival's."""
    import matplotlib as mpl  # type: ignore[import-not-found]  # noqa: PLC0415 - the driver has none

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    panels = [
        ("higher is better", [bar for bar in order["bars"] if bar["more_is_better"]]),
        ("lower is better", [bar for bar in order["bars"] if not bar["more_is_better"]]),
    ]
    heights = [max(1, len(bars)) for _, bars in panels]
    figure, all_axes = plt.subplots(
        2, 1, figsize=(9, 1.6 + 0.5 * sum(heights)), height_ratios=heights, layout="constrained"
    )
    for axes, (title, bars) in zip(all_axes, panels, strict=True):
        places = range(len(bars), 0, -1)
        colours = ["#2a7f62" if bar["passed"] else "#b5482e" for bar in bars]
        axes.barh(places, [bar["value"] for bar in bars], color=colours, height=0.6)
        for place, bar in zip(places, bars, strict=True):
            axes.plot([bar["must"]] * 2, [place - 0.4, place + 0.4], color="black", linewidth=1.5)
            axes.text(bar["value"], place, f" {bar['value']:.2f}", va="center", fontsize=9)
        axes.set_yticks(places, [bar["name"] for bar in bars], fontsize=9)
        axes.set_title(
            f"Velesio as a multiple of its rival: {title} (line: what it must reach)", fontsize=9, loc="left"
        )
        axes.margins(x=0.12)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel(order["caption"], fontsize=7)
    figure.savefig(order["file"], dpi=120)


if __name__ == "__main__":
    _paint(json.load(sys.stdin))
