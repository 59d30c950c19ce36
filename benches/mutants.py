"""Mutants: how many small changes of a module its tests notice. `scripts/mutants --help` lists the modules.

mutmut changes Python, `benches.mutants_lua` the broker's scripts. Both work on a copy of the repository, in
`build/mutants/NAME`, so that no change ever stands in the checkout.
"""

import argparse
import contextlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
COPIES = REPOSITORY / "build" / "mutants"
LEFT = ("survived", "no tests", "not checked", "suspicious", "segfault")
"""What mutmut says of a mutant that no test has killed."""

PLUGINS = ("pytest_asyncio.plugin", "pytest_aiohttp.plugin", "pytest_timeout", "_hypothesis_pytestplugin")
OPTIONS = (
    *("-p", "no:cacheprovider", "-p", "no:unraisableexception", "--assert=plain", "--hypothesis-profile=mutants"),
    *(option for plugin in PLUGINS for option in ("-p", plugin)),
)
"""Of pytest: what a short test costs is mostly plugins that are looked for, and exceptions that nobody heard of."""
BARE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


class Target(NamedTuple):
    """What is changed, and which tests must notice."""

    files: tuple[str, ...]
    tests: tuple[str, ...]


def _under(folder: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{folder}/{name}.py" for name in names)


TARGETS = {
    "client": Target(
        _under("velesio/queue", "client", "limits", "prefixes", "records", "wire"),
        _under(
            "tests/queue", *(f"test_{name}" for name in ("client", "limits", "pause", "prefixes", "records", "wire"))
        ),
    ),
    "model": Target(_under("tests/queue", "model"), _under("tests/queue", "test_histories")),
    "cache": Target(
        _under("velesio/backends/llama", "prefix_cache"), _under("tests/backends/llama", "test_prefix_cache")
    ),
    "solvers": Target(
        _under("velesio/backends/diffusion", "solvers", "multistep", "adaptive"),
        _under("tests/backends/diffusion", "test_solver_laws", "test_solvers"),
    ),
    "prompt": Target(_under("velesio/backends/diffusion", "prompt"), _under("tests/backends/diffusion", "test_prompt")),
    "lua": Target(
        tuple(f"velesio/queue/lua/{name}.lua" for name in ("take", "enqueue")),
        _under("tests/queue", "test_scripts", "test_histories", "test_limits"),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks the mutants of the named modules and prints what became of them; 1 if fewer than `--least` % died."""
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which modules, of {', '.join(TARGETS)} (all)")
    parser.add_argument("--again", action="store_true", help="only those that were not killed last time")
    parser.add_argument("--show", action="store_true", help="run nothing; show what was left last time")
    parser.add_argument("--least", type=float, default=85.0, metavar="%", help="killed of each module (85)")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - TARGETS.keys():
        parser.error(f"no such module: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if importlib.util.find_spec("mutmut") is None:
        parser.error("mutmut is missing: pip install 'velesio[proof]'")
    enough = True
    for name in chosen.names or TARGETS:
        target, copy = TARGETS[name], COPIES / name
        if not chosen.show:
            _refresh(copy)
            check = _check_lua if target.files[0].endswith(".lua") else _check_python
            check(copy, target, again=chosen.again)
        enough &= _report(name, copy, chosen.least)
    return 0 if enough else 1


def _refresh(copy: Path) -> None:
    """Brings the copy up to date. Files that did not change keep their times, by which mutmut knows them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True)
    wanted = {Path(name) for name in listed.stdout.decode().split("\0") if name and (REPOSITORY / name).is_file()}
    for path in wanted:
        source, place = REPOSITORY / path, copy / path
        if not place.exists() or place.read_bytes() != source.read_bytes():
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)
    for top in {path.parts[0] for path in wanted}:
        for place in (copy / top).rglob("*.py"):
            if place.relative_to(copy) not in wanted:
                place.unlink()


def _check_python(copy: Path, target: Target, *, again: bool) -> None:
    settings = {
        "source_paths": sorted({path.split("/")[0] for path in target.files}),
        "only_mutate": list(target.files),
        "also_copy": ["velesio", "benches", "examples", "config.toml"],
        "pytest_add_cli_args": list(OPTIONS),
        "pytest_add_cli_args_test_selection": list(target.tests),
        "timeout_constant": 10.0,
        "timeout_multiplier": 4.0,
        "track_dependencies": False,
        "use_git_change_detection": False,
    }
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
    (copy / "pyproject.toml").write_text("\n".join([project, "[tool.mutmut]", *lines, ""]), encoding="utf-8")
    (copy / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)  # which tests reach which function
    left = [name for name, state in _states(copy, target) if state in LEFT] if again else []
    if not again:
        shutil.rmtree(copy / "mutants", ignore_errors=True)
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *left]
    subprocess.run(command, cwd=copy, check=False, env=os.environ | BARE)


def _check_lua(copy: Path, target: Target, *, again: bool) -> None:
    subprocess.run(
        [
            sys.executable,
            "-m",
            "benches.mutants_lua",
            *(["--again"] if again else []),
            *target.files,
            "--",
            *target.tests,
        ],
        cwd=copy,
        check=False,
        env=os.environ | BARE | {"PYTHONPATH": str(copy)},
    )


def _states(copy: Path, target: Target) -> Iterator[tuple[str, str]]:
    """The mutants by name, and what became of each."""
    from mutmut.stats import status_by_exit_code  # noqa: PLC0415 - an extra

    for path in target.files:
        meta = copy / "mutants" / f"{path}.meta"
        if meta.exists():
            for name, code in json.loads(meta.read_text())["exit_code_by_key"].items():
                yield name, code if isinstance(code, str) else status_by_exit_code[code]


def _report(name: str, copy: Path, least: float) -> bool:
    """Prints the mutants that are left and the counts by file; whether enough were killed."""
    counts: Counter[str] = Counter()
    for path in TARGETS[name].files:
        target = TARGETS[name]._replace(files=(path,))
        found: Counter[str] = Counter()
        for mutant, state in _states(copy, target):
            found[state] += 1
            if state in LEFT:
                print(f"{state}: {mutant}", *_change(copy, path, mutant), sep="\n    ")
        print(f"{path}: {_words(found)}")
        counts += found
    print(f"{name}: {_words(counts)}")
    return _killed(counts) >= least


def _killed(counts: Counter[str]) -> float:
    """Percent."""
    return 100 * (counts["killed"] + counts["timeout"]) / max(1, counts.total())


def _words(counts: Counter[str]) -> str:
    kinds = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    return f"{counts.total()} mutants, {_killed(counts):.1f} % killed ({kinds})"


def _change(copy: Path, path: str, mutant: str) -> list[str]:
    """What a mutant changes, as lines that begin with - and +."""
    if path.endswith(".lua"):
        return []
    from mutmut.mutation.diff_apply import get_diff_for_mutant  # noqa: PLC0415 - an extra

    with contextlib.chdir(copy), contextlib.redirect_stdout(io.StringIO()):
        diff = get_diff_for_mutant(mutant, path=Path(path))
    return [line for line in diff.splitlines() if line[:1] in "+-" and line[:3] not in {"+++", "---"}]


if __name__ == "__main__":
    raise SystemExit(main())
