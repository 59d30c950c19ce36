"""The dashboards' form: what Grafana's own linter asks for, and our names."""

import json
import re
from pathlib import Path

import pytest

from tests.clients import node
from tests.monitoring.dashboards import PATHS, load, panels, queries

COUNTERS = re.compile(r"\b\w+_total\b")
NEEDED = {
    "queue": {"instance", "model", "tenant"},
    "system": {"instance", "model", "tenant"},
    "gpu": set(),
    "logs": {"tenant", "model"},
}
BARE = {"nvidia_smi_ecc_errors_uncorrected_volatile_total"}
"""Counters that are shown as they are: how many errors there were is the point."""


def test_there_are_four() -> None:
    assert [path.stem for path in PATHS] == ["gpu", "logs", "queue", "system"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_a_dashboard_is_well_formed(path: Path) -> None:
    """Written as `json.dumps(indent=2)` writes it, not editable, with its own uid, and variables for the data source
    and whatever can be chosen; every variable that is used is there, and the other way round."""
    text = path.read_text(encoding="utf-8")
    dashboard = json.loads(text)
    assert text == json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
    assert dashboard["editable"] is False
    assert dashboard["uid"] == f"velesio-{path.stem}"
    assert dashboard["schemaVersion"] == 42
    variables = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert NEEDED[path.stem] | {"datasource"} <= variables
    used = set(re.findall(r"\$\{?(\w+)\}?", json.dumps([dashboard["panels"], dashboard["templating"]])))
    built_in = {"__rate_interval", "__auto", "__all"}
    assert used - built_in <= variables
    if path.stem != "queue":
        assert variables - used <= {"datasource", "model", "tenant"}


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_panels_explain_themselves(path: Path) -> None:
    """Title, description, unit, a data source from a variable, a query in each, and none over another."""
    seen: set[tuple[int, int]] = set()
    for panel in panels(load(path)):
        name = panel["title"]
        assert name, panel
        assert panel["description"].endswith("."), name
        assert panel["targets"], name
        assert panel["datasource"]["uid"] in {"${datasource}", "${loki}"}, name
        assert all(target["datasource"]["uid"].startswith("${") for target in panel["targets"]), name
        if panel["type"] != "logs":
            assert panel["fieldConfig"]["defaults"]["unit"], name
        box = panel["gridPos"]
        cells = {(x, y) for x in range(box["x"], box["x"] + box["w"]) for y in range(box["y"], box["y"] + box["h"])}
        assert not cells & seen, name
        assert max(x for x, _ in cells) < 24, name
        seen |= cells


@pytest.mark.parametrize(
    "query", [q for q in queries() if q.source == "prometheus"], ids=lambda q: f"{q.dashboard}-{q.panel}"
)
def test_counters_are_drawn_as_rates(query) -> None:
    """Over the interval that Grafana computes from the scrape interval."""
    for counter in set(COUNTERS.findall(query.expression)) - BARE:
        assert re.search(rf"(rate|increase)\({counter}(\{{.*?\}})?\[\$__rate_interval\]\)", query.expression), counter
    assert not re.search(r"\[\d", query.expression)


def test_logql_parses() -> None:
    """By Grafana's own grammar."""
    asked = [
        query.filled(
            {"service": "velesio", "level": "info", "tenant": ".*", "model": ".*", "search": "x", "__auto": "1m"}
        )
        for query in queries()
        if query.source == "loki"
    ]
    assert len(asked) >= 6
    assert node.run("logql.cjs", node.modules(), json.dumps([*asked, '{service="x"} | json | oops("'])) == [
        *([True] * len(asked)),
        False,
    ]
