"""Mutants: how many small changes of a module its tests notice. `scripts/mutants --help` lists the modules.

`benches.mutations` makes them, `benches.trials` tries them, in a copy of the repository, `build/mutants/NAME`, so that
no change ever stands in the checkout.
"""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benches.trials import DEAD, RESULTS

REPOSITORY = Path(__file__).resolve().parent.parent
COPIES = REPOSITORY / "build" / "mutants"


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
        _under("tests/queue", "test_scripts", "test_histories", "test_limits", "test_client", "test_blobs"),
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Tries the mutants of the named modules and prints what became of them; 1 if fewer than `--least` % died."""
    parser = argparse.ArgumentParser(prog="scripts/mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which modules, of {', '.join(TARGETS)} (all)")
    parser.add_argument("--again", action="store_true", help="only those that survived last time")
    parser.add_argument("--rest", action="store_true", help="only those that were not looked at yet")
    parser.add_argument("--sample", metavar="N", help="only so many of each module, drawn at random, always the same")
    parser.add_argument("--show", action="store_true", help="run nothing; show what was left last time")
    parser.add_argument("--least", type=float, default=85.0, metavar="%", help="killed of each module (85)")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - TARGETS.keys():
        parser.error(f"no such module: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if importlib.util.find_spec("mutmut") is None:
        parser.error("mutmut is missing: pip install 'velesio[proof]'")
    options = [f"--{name}" for name in ("again", "rest") if getattr(chosen, name)]
    options += ["--sample", chosen.sample] if chosen.sample else []
    enough = True
    for name in chosen.names or TARGETS:
        target, copy = TARGETS[name], COPIES / name
        if not chosen.show:
            _refresh(copy)
            _try(copy, target, options)
        enough &= _report(name, copy, chosen.least)
    return 0 if enough else 1


def _refresh(copy: Path) -> None:
    """Brings the copy up to date. Files that did not change keep their times, and so their bytecode."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
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


def _try(copy: Path, target: Target, options: Sequence[str]) -> None:
    command = [sys.executable, "-m", "benches.trials", *options, *target.files, "--", *target.tests]
    bare = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(copy)}
    fewer = {"VELESIO_HISTORIES": "50"}  # half of what the suite generates
    subprocess.run(command, cwd=copy, check=False, env=fewer | os.environ | bare)


def _report(name: str, copy: Path, least: float) -> bool:
    """Prints the mutants that are left and the counts by file; whether enough were killed."""
    results = json.loads((copy / RESULTS).read_text(encoding="utf-8")) if (copy / RESULTS).exists() else {}
    counts: Counter[str] = Counter()
    for path in TARGETS[name].files:
        states = results.get(path, {})
        for mutant, state in states.items():
            if state == "survived":
                print(f"{state}: {path}:{mutant}")
        print(f"{path}: {_words(Counter(states.values()))}")
        counts.update(states.values())
    print(f"{name}: {_words(counts)}")
    return _killed(counts) >= least


def _killed(counts: Counter[str]) -> float:
    """Percent of those that were looked at."""
    return 100 * sum(counts[state] for state in DEAD) / max(1, counts.total() - counts["not checked"])


def _words(counts: Counter[str]) -> str:
    kinds = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    return f"{counts.total()} mutants, {_killed(counts):.1f} % killed ({kinds})"


if __name__ == "__main__":
    raise SystemExit(main())
