"""How much the tests reach, by package."""

import json
from pathlib import Path

import pytest

from benches.coverage import main

FILES = {
    "velesio/a.py": {"summary": {"covered_lines": 8, "num_statements": 10, "covered_branches": 1, "num_branches": 2}},
    "velesio/b.py": {"summary": {"covered_lines": 4, "num_statements": 4, "covered_branches": 3, "num_branches": 4}},
    "velesio/http/c.py": {
        "summary": {"covered_lines": 0, "num_statements": 0, "covered_branches": 0, "num_branches": 0}
    },
}


def test_statements_and_branches_count_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """16 of 20 are 80 %; what has nothing to reach is reached; less than asked for is a failure."""
    measured = tmp_path / "measured.json"
    measured.write_text(json.dumps({"files": FILES}))
    assert main([str(measured), "--least", "80"]) == 0
    assert capsys.readouterr().out.splitlines()[2:] == [
        "| velesio | 14 | 6 | 80.0 % |",
        "| velesio/http | 0 | 0 | 100.0 % |",
        "| all | 14 | 6 | 80.0 % |",
    ]
    assert main([str(measured), "--least", "80.1"]) == 1
