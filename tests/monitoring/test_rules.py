"""Prometheus's files by Prometheus's own tool."""

import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "monitoring/prometheus"


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
