"""The records that docs/performance.md and docs/planning.md stand on: one JSON file of each bench."""

from pathlib import Path
from typing import TypeVar

import msgspec

from benches import gateway, growth_record, images, queue, simulation, text
from benches.venvs import ROOT

FOLDER = ROOT / "docs" / "performance"
_T = TypeVar("_T")


class Records(msgspec.Struct, frozen=True, kw_only=True):
    """All of them."""

    queue: queue.Report
    text: text.Report
    images: images.Report
    gateway: gateway.Report
    growth: growth_record.Growth
    simulation: simulation.Report


def read(folder: Path = FOLDER) -> Records:
    """From files that carry the benches' names."""
    return Records(
        queue=_read(folder, "queue", queue.Report),
        text=_read(folder, "text", text.Report),
        images=_read(folder, "images", images.Report),
        gateway=_read(folder, "gateway", gateway.Report),
        growth=_read(folder, "growth", growth_record.Growth),
        simulation=_read(folder, "simulation", simulation.Report),
    )


def _read(folder: Path, name: str, kind: type[_T]) -> _T:
    return msgspec.json.decode((folder / f"{name}.json").read_bytes(), type=kind)
