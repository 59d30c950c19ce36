"""Coverage by package, from what `coverage json` wrote: `python -m benches.coverage FILE.json [--least %]`."""

import argparse
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_PARTS = ("covered_lines", "num_statements", "covered_branches", "num_branches")


def by_package(files: Mapping[str, Any]) -> dict[str, Counter[str]]:
    """Statements and branches, all and reached, of each folder that holds modules, and of all of them together."""
    found: dict[str, Counter[str]] = {}
    for name, file in sorted(files.items()):
        for package in (str(Path(name).parent), "all"):
            found.setdefault(package, Counter()).update({part: file["summary"][part] for part in _PARTS})
    return found


def percent(counts: Counter[str]) -> float:
    """Of statements and branches together; 100 where there are none."""
    every = counts["num_statements"] + counts["num_branches"]
    return 100 * (counts["covered_lines"] + counts["covered_branches"]) / every if every else 100.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table in Markdown; 1 if all together are reached less than `--least` %."""
    parser = argparse.ArgumentParser(prog="python -m benches.coverage", description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--least", type=float, default=95.0, metavar="%", help="of all together (95)")
    chosen = parser.parse_args(arguments)
    packages = by_package(json.loads(chosen.file.read_text(encoding="utf-8"))["files"])
    print("| package | statements | branches | reached |\n|---|---:|---:|---:|")
    for name, counts in packages.items():
        if name != "all":
            print(f"| {name} | {counts['num_statements']} | {counts['num_branches']} | {percent(counts):.1f} % |")
    total = packages.get("all", Counter())
    print(f"| all | {total['num_statements']} | {total['num_branches']} | {percent(total):.1f} % |")
    return 0 if percent(total) >= chosen.least else 1


if __name__ == "__main__":
    raise SystemExit(main())
