"""Trials of mutants: `python -m benches.trials FILE … -- TEST.py …`, in a copy of the repository.

Each mutant stands in its file while the tests that reach the changed statement run in a process of its own, forked
from one that has imported all that is not ours. What became of each goes to `RESULTS`.

Time is that of this process: while the machine stands still, no patience is lost, and a test that failed meanwhile has
said nothing. A mutant has run out of time if it did so twice.
"""

import argparse
import ast
import compileall
import contextlib
import ctypes
import functools
import importlib
import importlib.util
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from benches.mutations import Mutant, mutants

RESULTS = Path("mutants.json")
"""{path: {name of a mutant: survived, killed, timeout or not checked}}"""
DEAD = frozenset({"killed", "timeout"})
PATIENCE = 20.0
"""Seconds that the tests of a mutant may take, besides three times what they took without any change."""

_STILL = 2.0
"""Seconds between two looks at a process, after which the machine is said to have stood still."""
_TICK = 0.02
_TRIES = 4
_MEMORY = 4 << 30
"""Bytes of a process whose mutant made a list that never ends."""
_SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of Linux."""
_PLUGINS = ("pytest_asyncio.plugin", "pytest_aiohttp.plugin", "pytest_timeout", "_hypothesis_pytestplugin")
_OPTIONS = (
    *("-x", "-q", "-p", "no:cacheprovider", "-p", "no:unraisableexception", "--assert=plain"),
    *("--hypothesis-profile=mutants", "-o", "timeout=0"),
    *(option for plugin in _PLUGINS for option in ("-p", plugin)),
)
"""Of pytest: what a short test costs is mostly plugins that are looked for, and exceptions that nobody heard of."""


class Known(NamedTuple):
    """What the tests did without any change."""

    modules: list[str]
    """Imported, and not ours."""
    seconds: dict[str, float]
    """Of each test."""
    reach: dict[str, dict[str, list[str]]]
    """Path → line → tests that ran it; '' stands for an import. Python only."""


class Chosen:
    """A plug-in of pytest: only some of the tests, the quickest first."""

    def __init__(self, tests: frozenset[str] | None, seconds: dict[str, float]) -> None:
        self._tests, self._seconds = tests, seconds

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leaves out what does not reach the change."""
        items[:] = [item for item in items if self._tests is None or item.nodeid in self._tests]
        items.sort(key=lambda item: self._seconds.get(item.nodeid, 0.0))


class Watch:
    """A plug-in of pytest: how long each test takes, and which lines it runs."""

    def __init__(self, files: Sequence[str]) -> None:
        import coverage  # noqa: PLC0415 - an extra

        self.seconds: dict[str, float] = {}
        self._files = [path for path in files if path.endswith(".py")]
        self._coverage = coverage.Coverage(data_file=None, include=self._files or ["none"], config_file=False)
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """A test with its fixtures."""
        began = time.monotonic()
        self._coverage.switch_context(item.nodeid)
        try:
            return (yield)
        finally:
            self._coverage.switch_context("")
            self.seconds[item.nodeid] = time.monotonic() - began

    def reach(self) -> dict[str, dict[int, list[str]]]:
        """The lines of each file."""
        self._coverage.stop()
        data = self._coverage.get_data()
        return {path: data.contexts_by_lineno(str(Path(path).resolve())) for path in self._files}


def main() -> int:
    """1 if the tests fail without any change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--again", action="store_true", help="only those that survived last time")
    parser.add_argument("--rest", action="store_true", help="only those that were not looked at yet")
    parser.add_argument("--sample", type=int, metavar="N", help="only so many, drawn at random, always the same")
    parser.add_argument("--patience", type=float, default=PATIENCE)
    parser.add_argument("files", nargs="+")
    cut = sys.argv.index("--")
    chosen, tests = parser.parse_args(sys.argv[1:cut]), sys.argv[cut + 1 :]
    adopt_orphans()
    sys.dont_write_bytecode = True  # two texts of the same length in one second have the same bytecode
    compileall.compile_dir(".", quiet=1, maxlevels=20)
    for path in chosen.files:
        Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix="mutants-") as home:
        os.environ["TMPDIR"] = tempfile.tempdir = home
        known = _known(chosen.files, tests)
        if known is None:
            return 1
        for module in known.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(module)
        results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
        _try_all(_candidates(chosen, results), results, tests, known, chosen.patience)
    return 0


def adopt_orphans() -> None:
    """From now on what the tests have started and left is this process's child, and ends with their trial."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)


def _candidates(chosen: argparse.Namespace, results: dict[str, dict[str, str]]) -> list[tuple[str, Mutant]]:
    """The mutants that are to be looked at, in one order of chance. Brings `results` up to date."""
    wanted = {state for state, asked in (("survived", chosen.again), ("not checked", chosen.rest)) if asked}
    found = []
    for path in chosen.files:
        before = results.get(path, {}) if wanted else {}
        of_file = mutants(path, Path(path).read_text(encoding="utf-8"))
        results[path] = {mutant.name: before.get(mutant.name, "not checked") for mutant in of_file}
        found += [(path, mutant) for mutant in of_file if not wanted or results[path][mutant.name] in wanted]
    random.Random(0).shuffle(found)  # what was looked at before an interruption is a sample, too
    return found[: chosen.sample]


def _try_all(
    found: Iterable[tuple[str, Mutant]],
    results: dict[str, dict[str, str]],
    tests: Sequence[str],
    known: Known,
    patience: float,
) -> None:
    for path, mutant in found:
        file = Path(path)
        text = file.read_text(encoding="utf-8")
        reached = _reached(text, mutant.line, known.reach.get(path, {}))
        seconds = sum(known.seconds[test] for test in (known.seconds if reached is None else reached))
        file.write_text(mutant.text, encoding="utf-8")
        run = functools.partial(_pytest, tests, Chosen(reached, known.seconds))
        try:
            state = _tried(run, patience + 3 * seconds)
        finally:
            file.write_text(text, encoding="utf-8")
        results[path][mutant.name] = state
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False), encoding="utf-8")
        print(f"{state}: {path}:{mutant.name}", flush=True)


def _reached(text: str, line: int, reach: dict[str, list[str]]) -> frozenset[str] | None:
    """The tests that run the statement in which a line is; of one that an import runs, those that run any of the file.

    None stands for all tests, where nobody knows.
    """
    of_file = frozenset(test for tests in reach.values() for test in tests) - {""}
    if not of_file:
        return None
    of_line = frozenset(test for at in _statement(text, line) for test in reach.get(str(at), ()))
    return of_file if "" in of_line else of_line


def _statement(text: str, line: int) -> range:
    """The lines of the innermost statement around a line; of a compound one only its head."""
    best = range(line, line + 1)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.stmt, ast.match_case, ast.ExceptHandler)):
            first = node.pattern.lineno if isinstance(node, ast.match_case) else node.lineno
            body = getattr(node, "body", None)
            last = max(first, body[0].lineno - 1) if body else (getattr(node, "end_lineno", None) or first)
            if first <= line <= last:
                best = range(first, last + 1)  # walked from the outermost in
    return best


def _tried(run: Callable[[], int], patience: float) -> str:
    """What the tests say: survived, killed, timeout."""
    said = ""
    for _ in range(_TRIES):
        before = said
        said, stood_still = _forked(run, patience)
        if said == "survived" or (said == "killed" and not stood_still) or (said == before == "timeout"):
            break
    return said


def _forked(run: Callable[[], int], patience: float) -> tuple[str, bool]:
    """What a process says that runs the tests, and whether the machine stood still meanwhile."""
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        os._exit(run())
    said, stood_still = _awaited(child, patience)
    _bury()
    return said, stood_still


def _awaited(child: int, patience: float) -> tuple[str, bool]:
    stood_still = False
    while patience > 0:
        looked = time.monotonic()
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return "survived" if status in {0, pytest.ExitCode.NO_TESTS_COLLECTED << 8} else "killed", stood_still
        time.sleep(_TICK)
        passed = time.monotonic() - looked
        stood_still = stood_still or passed > _STILL
        patience -= min(passed, _STILL)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "timeout", stood_still


def _bury() -> None:
    """Ends what the tests have left, say a broker in a script that never ends."""
    while left := Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split():
        for child in map(int, left):
            group = os.getpgid(child)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL) if group != os.getpgrp() else os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _pytest(tests: Sequence[str], *plugins: Any) -> int:
    order = ["-p", "no:randomly"] if "PYTEST_DISABLE_PLUGIN_AUTOLOAD" not in os.environ else []
    return int(pytest.main([*_OPTIONS, *order, *tests], plugins=plugins))


def _known(files: Sequence[str], tests: Sequence[str]) -> Known | None:
    """Runs the tests without any change; None if they fail."""
    note = Path(os.environ["TMPDIR"], "known.json")
    here = str(Path.cwd())

    def run() -> int:
        watch = Watch(files)
        code = _pytest(tests, watch)
        modules = [
            name
            for name, module in sys.modules.items()
            if (file := getattr(module, "__file__", None)) and not str(file).startswith(here)
        ]
        note.write_text(json.dumps([modules, watch.seconds, watch.reach()]), encoding="utf-8")
        return code

    began = time.monotonic()
    if (said := _tried(run, 600.0)) != "survived":
        print(f"the tests fail without any change: {said}")
        return None
    known = Known(*json.loads(note.read_text(encoding="utf-8")))
    print(f"{len(known.seconds)} tests take {time.monotonic() - began:.1f} s", flush=True)
    return known


if __name__ == "__main__":
    raise SystemExit(main())
