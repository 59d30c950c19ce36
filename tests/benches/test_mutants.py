"""What a change of a script is, and how much of them counts as killed."""

from collections import Counter

from benches.mutants import REPOSITORY, TARGETS, _killed
from benches.mutants_lua import mutants

SCRIPT = """\
-- 1 + 1 == 2
local left = ARGV[1] == 'a or 1' and not gone
  keep(key)
count(job.ten, left > 0 and -1 or
  10)
"""


def test_each_change_stands_alone() -> None:
    """Operators, numbers, truth values and commands; texts and comments stay, and every change has its own name."""
    found = list(mutants(SCRIPT))
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
        assert changed == [lines[int(mutant.name.split(":")[0]) - 1]]


def test_what_runs_for_ever_is_killed() -> None:
    """A mutant that no test reaches is not, nor one that was not looked at."""
    assert _killed(Counter({"killed": 5, "timeout": 1, "survived": 2, "no tests": 1, "not checked": 1})) == 60
    assert _killed(Counter()) == 0


def test_what_is_named_exists() -> None:
    """Every file and every test of every target."""
    assert [
        path
        for target in TARGETS.values()
        for path in (*target.files, *target.tests)
        if not (REPOSITORY / path).is_file()
    ] == []
