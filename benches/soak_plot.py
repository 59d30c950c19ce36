"""The soak as a picture: drawn in a venv of its own, since nothing else needs matplotlib.

The driver hands its report over as JSON; run as a module, this draws it: `python -m benches.soak_plot REPORT FILE`.
"""

import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benches import text_plot, venvs

_DRAWING = 120.0
_FAMILIES = 8
"""Families of keys that are drawn: the largest."""

prepare = text_plot.prepare


def draw(python: Path, found: bytes, file: Path) -> None:
    """Writes the picture of a report, which is JSON, to `file`."""
    with tempfile.NamedTemporaryFile(suffix=".json") as order:
        order.write(found)
        order.flush()
        command = [str(python), "-m", "benches.soak_plot", order.name, str(file.absolute())]
        subprocess.run(command, cwd=venvs.ROOT, timeout=_DRAWING, check=True)


def _paint(found: dict[str, Any], file: str) -> None:
    """Memory, what is held, keys, and the load, over the same minutes; what was seen at rest as dots."""
    import matplotlib as mpl  # type: ignore[import-not-found]  # noqa: PLC0415 - the driver has none

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    samples = found["samples"]
    figure, axes = plt.subplots(5, 1, figsize=(10, 12), sharex=True, layout="constrained")
    _draw_memory(axes[0], samples)
    _draw_broker(axes[1], samples)
    _draw_held(axes[2], samples)
    _draw_keys(axes[3], samples)
    _draw_load(axes[4], samples)
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        each.set_ylim(bottom=0)
    axes[-1].set_xlabel("minutes")
    around = found["circumstances"]
    figure.supxlabel(
        f"scripts/soak, {found['minutes']:g} minutes, {around['date']}, {around['commit']}, {around['processor']}, "
        f"{around['cores']} cores; dots: at rest, with the same models loaded",
        fontsize=7,
    )
    figure.savefig(file, dpi=110)


def _draw_memory(axes: Any, samples: list[dict[str, Any]]) -> None:
    axes.set_title("resident memory, MiB", fontsize=9, loc="left")
    axes.plot(
        *_line(samples, lambda level: level["server"]["memory_mib"]), label="server", color="#2a7f62", linewidth=0.8
    )
    rests = [level for level in samples if level["resting"]]
    axes.plot(*_line(rests, lambda level: level["server"]["memory_mib"]), "o", label="server at rest", color="#2a7f62")
    worker = [level for level in samples if level["worker"]]
    axes.plot(
        *_line(worker, lambda level: level["worker"]["memory_mib"]), ".", label="worker", color="#b5482e", markersize=2
    )


def _draw_broker(axes: Any, samples: list[dict[str, Any]]) -> None:
    axes.set_title("broker, MiB", fontsize=9, loc="left")
    axes.plot(*_line(samples, lambda level: level["broker"]["memory_mib"]), label="resident", linewidth=0.8)
    axes.plot(*_line(samples, lambda level: level["used_mib"]), label="used", linewidth=0.8)
    rests = [level for level in samples if level["resting"]]
    axes.plot(*_line(rests, lambda level: level["used_mib"]), "o", label="used, at rest", markersize=4)


def _draw_held(axes: Any, samples: list[dict[str, Any]]) -> None:
    axes.set_title("the server's threads, files and sockets", fontsize=9, loc="left")
    rests = [level for level in samples if level["resting"]]
    for name, colour in (("threads", "#2a7f62"), ("files", "#b5482e"), ("sockets", "#3c5a99")):
        axes.plot(*_line(samples, lambda level, name=name: level["server"][name]), color=colour, linewidth=0.6)
        axes.plot(
            *_line(rests, lambda level, name=name: level["server"][name]), "o", label=name, color=colour, markersize=4
        )
    axes.plot(*_line(samples, lambda level: level["temp_files"]), label="temporary files", color="black", linewidth=0.8)


def _draw_keys(axes: Any, samples: list[dict[str, Any]]) -> None:
    axes.set_title("the broker's keys, by family", fontsize=9, loc="left")
    counted = [level for level in samples if level["keys"]]
    most: dict[str, int] = {}
    for level in counted:
        for name, count in level["keys"].items():
            most[name] = max(most.get(name, 0), count)
    for name in sorted(most, key=lambda name: -most[name])[:_FAMILIES]:
        axes.plot(*_line(counted, lambda level, name=name: level["keys"].get(name, 0)), label=name, linewidth=0.8)


def _draw_load(axes: Any, samples: list[dict[str, Any]]) -> None:
    axes.set_title("the load: requests a minute, cores in use; lines: the worker is killed", fontsize=9, loc="left")
    rates = [
        (later["seconds"] / 60, 60 * (later["requests"] - level["requests"]) / (later["seconds"] - level["seconds"]))
        for level, later in zip(samples[:-12], samples[12:], strict=True)
        if later["seconds"] > level["seconds"]
    ]
    axes.plot([x for x, _ in rates], [y for _, y in rates], label="requests a minute", linewidth=0.8)
    axes.plot(*_line(samples, lambda level: 100 * level["cores"]), label="cores, hundredths", linewidth=0.5)
    kills = [later for level, later in itertools.pairwise(samples) if later["kills"] > level["kills"]]
    for level in kills:
        axes.axvline(level["seconds"] / 60, color="#b5482e", linewidth=0.5, alpha=0.6)


def _line(samples: list[dict[str, Any]], read: Any) -> tuple[list[float], list[float]]:
    return [level["seconds"] / 60 for level in samples], [read(level) for level in samples]


if __name__ == "__main__":
    _paint(json.loads(Path(sys.argv[1]).read_bytes()), sys.argv[2])
