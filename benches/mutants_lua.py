"""Mutants of the broker's scripts: `python -m benches.mutants_lua FILE.lua … -- TEST.py …`, in a copy.

An operator, a number or a truth value is another one, or a command is left out. Each mutant is tested in a process that
is forked when pytest has been imported; what became of it goes where mutmut would put it.
"""

import argparse
import json
import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import hypothesis  # noqa: F401 - imported once, for all that are forked
import pytest

from benches.mutants import OPTIONS
from velesio.queue import client, scripts  # noqa: F401 - the same

PATIENCE = 120
"""Seconds for the tests of one mutant: a script that never ends is noticed."""
_SWAPS = {
    "==": "~=", "~=": "==", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "+": "-", "-": "+", "*": "/", "/": "*",
    "and": "or", "or": "and", "not ": "", "true": "false", "false": "true", "math.max": "math.min",
    "math.min": "math.max",
}  # fmt: skip
_TOKEN = re.compile(
    r"--[^\n]*|'(?:\\.|[^'\\])*'"  # comments and texts stay
    r"|(?P<swap>==|~=|<=|>=|[<>*/]|(?<=\w )[+-](?= )|\b(?:and|or|true|false)\b|\bnot |math\.(?:max|min))"
    r"|(?P<number>(?<![\w.])\d+(?![\w.]))"
)
_COMMAND = re.compile(r"^ *(?:redis\.call|keep|count|wake|claim|leave|put_blob)\(.*\)$", re.MULTILINE)


class Mutant(NamedTuple):
    """One change of a text."""

    name: str
    """Line, column and what became what."""
    text: str


def mutants(text: str) -> Iterator[Mutant]:
    """Each change alone."""
    for match in _TOKEN.finditer(text):
        if match["swap"]:
            yield _changed(text, match.start(), match.end(), _SWAPS[match["swap"]])
        elif match["number"]:
            yield _changed(text, match.start(), match.end(), str(int(match["number"]) + 1))
    for match in _COMMAND.finditer(text):
        if match[0].count("(") == match[0].count(")"):
            yield _changed(text, match.start(), match.end(), "")


def _changed(text: str, start: int, end: int, after: str) -> Mutant:
    line, column = text.count("\n", 0, start) + 1, start - text.rfind("\n", 0, start)
    name = f"{line}:{column}: {text[start:end].strip()} → {after.strip() or 'nothing'}"
    return Mutant(name, text[:start] + after + text[end:])


def check(path: Path, tests: list[str], *, again: bool) -> None:
    """Tests the mutants of one file; those that were killed before are left out if only the others are to be seen."""
    meta = Path("mutants", f"{path}.meta")
    meta.parent.mkdir(parents=True, exist_ok=True)
    text = path.read_text(encoding="utf-8")
    before = json.loads(meta.read_text())["exit_code_by_key"] if again and meta.exists() else {}
    states = {mutant.name: before.get(mutant.name, "not checked") for mutant in mutants(text)}
    try:
        for mutant in mutants(text):
            if states[mutant.name] not in {"killed", "timeout"}:
                path.write_text(mutant.text, encoding="utf-8")
                states[mutant.name] = _tested(tests)
                meta.write_text(json.dumps({"exit_code_by_key": states}))
                print(f"{path}:{mutant.name}: {states[mutant.name]}", flush=True)
    finally:
        path.write_text(text, encoding="utf-8")


def _tested(tests: list[str]) -> str:
    """What the tests say of the files as they are now: survived, killed, timeout."""
    child = os.fork()
    if not child:
        signal.alarm(PATIENCE)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        os._exit(int(pytest.main(["-x", "-q", "-p", "no:randomly", *OPTIONS, *tests])))
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "timeout"
    return "killed" if os.WEXITSTATUS(status) else "survived"


def main() -> int:
    """1 if the tests fail without any change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("files", nargs="+", type=Path)
    cut = sys.argv.index("--")
    chosen, tests = parser.parse_args(sys.argv[1:cut]), sys.argv[cut + 1 :]
    if (state := _tested(tests)) != "survived":
        print(f"the tests fail without any change: {state}")
        return 1
    for path in chosen.files:
        check(path, tests, again=chosen.again)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
