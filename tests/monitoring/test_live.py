"""The whole stack on loopback: Velesio under load, Debian's Prometheus and exporters, every expression of every panel.

Renamed metrics, which no linter sees, are found here.
"""

import http.client
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.process import eventually
from tests.monitoring.dashboards import queries
from tests.monitoring.sheet import draw
from tests.monitoring.stack import ROOT, Stack

VARIABLES = {
    "job": ".*",
    "instance": ".*",
    "model": ".*",
    "tenant": ".*",
    "node": ".*",
    "gpu_instance": ".*",
    "gpu": ".*",
}
OFTEN = {"__rate_interval": "20s"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Everything, loaded until Prometheus has enough samples of it."""
    with Stack() as stack:
        yield stack


@pytest.mark.timeout(400)
def test_every_panel_has_data(stack: Stack, tmp_path: Path) -> None:
    """Each expression gives at least one series, and numbers that can be: nothing negative, parts between 0
    and 1. The series are drawn on one sheet, so that their shapes can be looked at: DASHBOARD_SHEET keeps one of two
    minutes."""
    kept, seconds = os.environ.get("DASHBOARD_SHEET"), 30
    if kept:
        seconds = 120
        stack.expect(f'count_over_time(up{{job="velesio"}}[5m]) > {seconds}', within=200)
    drawn = []
    for query in (query for query in queries() if query.source == "prometheus"):
        expression = query.filled(VARIABLES | OFTEN)
        values = [value for one in stack.expect(expression) for value in one.numbers]
        assert min(values) >= 0, query
        assert query.unit != "percentunit" or max(values) <= 1.01, query
        drawn.append((query, stack.series(expression, seconds)))
    draw(drawn, tmp_path / "dashboards.png")
    assert (tmp_path / "dashboards.png").stat().st_size > 10_000
    if kept:
        shutil.copy(tmp_path / "dashboards.png", kept)


def test_every_metric_that_a_rule_names_is_there(stack: Stack) -> None:
    """Whatever is compared has something to compare; and no rule failed to evaluate."""
    names = set()
    for path in ROOT.glob("rules/*.yml"):
        for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]:
            for rule in group["rules"]:
                bare = re.sub(r"\"[^\"]*\"|\{[^}]*\}|\b(by|on|without)\s*\([^)]*\)", "", rule["expr"])
                names |= set(re.findall(r"\b(?:velesio|node|redis|nvidia|DCGM|up|process)[_:\w]*", bare))
    assert len(names) > 25
    for name in sorted(names):
        stack.expect(name)
    rules = stack.ask("/api/v1/rules")["data"]["groups"]
    assert [rule["lastError"] for group in rules for rule in group["rules"] if rule.get("lastError")] == []


def test_the_alert_of_a_killed_worker(stack: Stack) -> None:
    """Fires when it is gone, ends when another has come. In all of these the rules' minutes are seconds."""
    stack.workers[1].kill()
    eventually(lambda: "VelesioWorkerLost" in stack.firing(), 40.0)
    stack.restart_worker(1)
    eventually(lambda: "VelesioWorkerLost" not in stack.firing(), 60.0)


def test_the_alert_of_a_stuck_queue(stack: Stack) -> None:
    """Both engines hang, so that jobs wait and none begins; it ends when nobody waits any more."""
    clients: list[http.client.HTTPConnection] = []
    for _ in range(12):
        clients.append(stack.gateway.connect())
        body = json.dumps({"model": "parrot", "prompt": "[[hang]] a"})
        clients[-1].request("POST", "/completion", body, {"Content-Type": "application/json"})
    eventually(lambda: "VelesioQueueStuck" in stack.firing(), 60.0)
    for client in clients:
        client.close()
    for number, worker in enumerate(stack.workers):
        worker.kill()
        stack.restart_worker(number)
    eventually(lambda: "VelesioQueueStuck" not in stack.firing(), 60.0)


def test_the_alert_of_a_dead_broker(stack: Stack) -> None:
    """Nothing of Velesio is restarted."""
    stack.broker.stop()
    eventually(lambda: "VelesioBrokerDown" in stack.firing(), 40.0)
    stack.broker.start()
    eventually(lambda: "VelesioBrokerDown" not in stack.firing(), 60.0)
    eventually(lambda: stack.gateway.get("/readyz")[0] == 200, 60.0)
