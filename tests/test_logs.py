"""Logs: one JSON object a line, from Velesio's own loggers and from its libraries'."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging, structlog
from velesio import logs
from velesio.config import LogSection
logs.configure(LogSection(level="info", format={format!r}))
logs.begin(request_id="r0", job_id="j0")
logs.add(request_id="r1")
structlog.get_logger("velesio.test").info("own", job_id="j1")
logging.getLogger("library").warning("foreign %s", "words")
structlog.get_logger("velesio.test").debug("too quiet")
try:
    1 / 0
except ZeroDivisionError:
    structlog.get_logger("velesio.test").exception("broken")
"""


def lines(form: str) -> list[str]:
    script = SCRIPT.format(format=form)
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout == ""
    return answer.stderr.splitlines()


def test_json_lines_carry_level_logger_time_and_context() -> None:
    """Every line is an object with the same fields whoever wrote it; quieter levels and nothing else are left out."""
    own, foreign, broken = [json.loads(line) for line in lines("json")]
    assert (own["event"], own["level"], own["logger"], own["job_id"]) == ("own", "info", "velesio.test", "j1")
    assert own["request_id"] == foreign["request_id"] == "r1"
    assert (foreign["event"], foreign["level"], foreign["logger"]) == ("foreign words", "warning", "library")
    assert "ZeroDivisionError" in broken["exception"]
    assert own["timestamp"].endswith("Z")


def test_the_console_form_is_for_people() -> None:
    """A line has the event and its fields in words."""
    first = lines("console")[0]
    assert "own" in first
    assert "job_id=j1" in first


CONTENT = """
import logging
from velesio import logs
from velesio.config import LogSection
logs.configure(LogSection(level={level!r}, format="json"))
logging.getLogger(logs.CONTENT).debug("request body: %s", "a secret")
logging.getLogger("asyncio").debug("a library's secret")
logging.getLogger("velesio.test").debug("own")
"""


@pytest.mark.parametrize(
    ("level", "events"), [("info", []), ("debug", ["own"]), ("debug-content", ["request body: a secret", "own"])]
)
def test_what_clients_say_has_a_level_of_its_own(level: str, events: list[str]) -> None:
    """It has to be asked for by name; `debug` does not show it, and libraries that may quote it are quieter."""
    script = [sys.executable, "-c", CONTENT.format(level=level)]
    answer = subprocess.run(script, capture_output=True, text=True, check=True, timeout=60)
    assert [json.loads(line)["event"] for line in answer.stderr.splitlines()] == events
