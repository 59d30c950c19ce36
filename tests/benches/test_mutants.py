"""What a change is, what the tests say of it, and how much of them counts as killed."""

import json
import os
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from benches.mutants import REPOSITORY, TARGETS, _killed
from benches.mutations import mutants
from benches.trials import RESULTS, _statement

SCRIPT = """\
-- 1 + 1 == 2
local left = ARGV[1] == 'a or 1' and not gone
  keep(key)
count(job.ten, left > 0 and -1 or
  10)
"""

MODULE = """\
LEAST = 1


def total(count: int = 2) -> int:
    return count * LEAST
"""


def test_each_change_of_a_script_stands_alone() -> None:
    """Operators, numbers, truth values and commands; texts and comments stay, and every change has its own name."""
    found = mutants("one.lua", SCRIPT)
    assert [mutant.name for mutant in found] == [
        "2:19: 1 → 2",
        "2:22: == → ~=",
        "2:34: and → or",
        "2:38: not → nothing",
        "4:21: > → >=",
        "4:23: 0 → 1",
        "4:25: and → or",
        "4:30: 1 → 2",
        "4:32: or → and",
        "5:3: 10 → 11",
        "3:1: keep(key) → nothing",
    ]
    lines = SCRIPT.splitlines()
    for mutant in found:
        changed = [line for line, other in zip(lines, mutant.text.splitlines(), strict=True) if line != other]
        assert changed == [lines[mutant.line - 1]]


def test_each_change_of_python_stands_alone() -> None:
    """Outside of functions too; the name says the line, and what it was and is."""
    pytest.importorskip("mutmut")
    found = mutants("one.py", MODULE)
    assert {mutant.name for mutant in found} >= {
        "1: LEAST = 1 → LEAST = 2",
        "4: def total(count: int = 2) -> int: → def total(count: int = 3) -> int:",
        "5: return count * LEAST → return count / LEAST",
    }
    assert len({mutant.text for mutant in found} | {MODULE}) == len(found) + 1
    for mutant in found:
        changed = [
            pair for pair in zip(MODULE.splitlines(), mutant.text.splitlines(), strict=True) if len(set(pair)) > 1
        ]
        assert [mutant.name] == [f"{mutant.line}: {before.strip()} → {after.strip()}" for before, after in changed]


def test_a_statement_is_what_tests_reach() -> None:
    """Of a compound one the head, however many lines that has; of a simple one all its lines."""
    text = "def one(\n    a,\n    b,\n):\n    return (\n        a\n        + b\n    )\n"
    assert [_statement(text, line) for line in (1, 3, 6)] == [range(1, 5), range(1, 5), range(5, 9)]
    assert _statement("match a:\n    case 1:\n        b = 2\n", 2) == range(2, 3)


def test_tests_say_what_becomes_of_a_change(tmp_path: Path) -> None:
    """Killed or survived, as the tests that reach it say; afterwards the file is what it was."""
    pytest.importorskip("mutmut")
    (tmp_path / "one.py").write_text(MODULE + "\n\ndef unseen() -> bool:\n    return True\n")
    (tmp_path / "test_one.py").write_text(
        textwrap.dedent("""\
            import one

            def test_total():
                assert one.total() == 2

            def test_nothing():
                assert one.LEAST > 0

            def test_script():
                assert eval(open("one.lua").read().splitlines()[1]) == 4
        """)
    )
    (tmp_path / "one.lua").write_text("-- 1 …\n2 * 2\n")
    (tmp_path / "conftest.py").write_text(
        "import hypothesis\nhypothesis.settings.register_profile('mutants', derandomize=True)\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    before = (tmp_path / "one.py").read_text()
    command = [sys.executable, "-m", "benches.trials", "one.py", "one.lua", "--", "test_one.py"]
    paths = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{tmp_path}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    subprocess.run(command, cwd=tmp_path, check=True, env=paths, timeout=90)
    assert (tmp_path / "one.py").read_text() == before
    results = json.loads((tmp_path / RESULTS).read_text())
    assert results["one.lua"] == {"2:1: 2 → 3": "killed", "2:3: * → /": "killed", "2:5: 2 → 3": "killed"}
    states = results["one.py"]
    assert states["1: LEAST = 1 → LEAST = 2"] == "killed"
    assert states["5: return count * LEAST → return count / LEAST"] == "survived"
    assert states["1: LEAST = 1 → LEAST = None"] == "killed"
    assert states["9: return True → return False"] == "survived"
    assert set(states.values()) == {"killed", "survived"}


def test_time_must_run_out_twice(tmp_path: Path) -> None:
    """What ends says what it says; what does not is ended, with what it has started, and tried once more."""
    program = """if True:
        import subprocess, sys
        from benches.trials import _tried, adopt_orphans
        adopt_orphans()
        assert _tried(lambda: 0, 60) == _tried(lambda: 5, 60) == "survived"
        assert _tried(lambda: 1, 60) == "killed"
        def endless():
            with subprocess.Popen(["sleep", "600"]) as left, open(sys.argv[1], "a") as seen:
                seen.write(f"{left.pid}\\n")
        assert _tried(endless, 1) == "timeout"
    """
    subprocess.run([sys.executable, "-c", program, tmp_path / "seen"], cwd=REPOSITORY, timeout=60, check=True)
    first, second = map(int, (tmp_path / "seen").read_text().split())
    assert first != second
    for left in (first, second):
        with pytest.raises(ProcessLookupError):
            os.kill(left, 0)


def test_what_runs_for_ever_is_killed() -> None:
    """What was not looked at counts neither as killed nor as left."""
    assert _killed(Counter({"killed": 5, "timeout": 1, "survived": 4, "not checked": 10})) == 60
    assert _killed(Counter()) == 0


def test_what_is_named_exists() -> None:
    """Every file and every test of every target."""
    assert [
        path
        for target in TARGETS.values()
        for path in (*target.files, *target.tests)
        if not (REPOSITORY / path).is_file()
    ] == []
