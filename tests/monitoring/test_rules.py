"""Prometheus's files by Prometheus's own tool."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "monitoring/prometheus"


def run(program: str, *arguments: str) -> None:
    """Runs it; fails with what it says."""
    found = shutil.which(program)
    assert found, f"{program} is missing: scripts/setup --dev installs it as root, else apt-get does"
    done = subprocess.run([found, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_valid() -> None:
    run("promtool", "check", "config", "prometheus.yml")


def test_the_rules_are_valid() -> None:
    run("promtool", "check", "rules", *(str(path) for path in sorted(FOLDER.glob("rules/*.yml"))))


@pytest.mark.parametrize("name", ["velesio", "host"])
def test_alerts_fire_and_resolve(name: str) -> None:
    """On made-up series, in virtual time."""
    run("promtool", "test", "rules", f"tests/{name}.test.yml")


def test_the_alertmanagers_configuration_is_valid() -> None:
    run("amtool", "check-config", "../alertmanager/alertmanager.yml")


def alerts() -> list[dict[str, Any]]:
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("rules/*.yml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"] if "alert" in rule]


def test_every_alert_leads_to_its_heading_in_the_runbook() -> None:
    """And each of those headings belongs to an alert; the page of monitoring tells of each."""
    runbook = (ROOT / "docs/runbook.md").read_text(encoding="utf-8")
    monitoring = (ROOT / "docs/monitoring.md").read_text(encoding="utf-8")
    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names)) >= 14
    assert sorted(re.findall(r"^## (\w+)$", runbook, re.MULTILINE)) == sorted(names)
    for rule in alerts():
        annotations = rule["annotations"]
        assert annotations["summary"], rule["alert"]
        assert annotations["remedy"], rule["alert"]
        assert annotations["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert f"`{rule['alert']}`" in monitoring
