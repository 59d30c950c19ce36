"""Dashboards as data: the panels of monitoring/grafana and the expressions that they draw."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "monitoring/grafana/dashboards/Velesio"
PATHS = sorted(FOLDER.glob("*.json"))


@dataclass(frozen=True)
class Query:
    """One line of a panel."""

    dashboard: str
    panel: str
    unit: str
    source: str
    """`prometheus` or `loki`."""
    expression: str
    legend: str

    def filled(self, values: dict[str, str]) -> str:
        """The expression with its variables replaced."""
        return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: values[found[1] or found[2]], self.expression)


def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def panels(dashboard: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Those that draw something."""
    for panel in dashboard["panels"]:
        if panel["type"] != "row":
            yield panel


def queries() -> list[Query]:
    """Of all dashboards."""
    return [
        Query(
            dashboard=path.stem,
            panel=panel["title"],
            unit=panel.get("fieldConfig", {}).get("defaults", {}).get("unit", ""),
            source=target["datasource"]["type"],
            expression=target["expr"],
            legend=target.get("legendFormat", ""),
        )
        for path in PATHS
        for panel in panels(load(path))
        for target in panel["targets"]
    ]
