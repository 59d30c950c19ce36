"""Runs targets under atheris, one process after the other: `python -m tests.fuzz [--seconds N] [TARGET …]`."""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

_SLOWER = "20"
"""Seconds of processor time for one input: instrumented code takes several times as long."""


def main() -> int:
    """Answers 1 if there was a find."""
    parser = argparse.ArgumentParser(
        prog="scripts/fuzz", description="Fuzzes what reads foreign bytes; see docs/fuzzing.md."
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each target (60)")
    parser.add_argument("--corpus", type=Path, help="a folder that keeps what was found to reach new code")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("target", nargs="*", help="default: all")
    options = parser.parse_args()
    if options.one:
        return _fuzz(options.one, options.seconds, options.corpus)
    from tests.fuzz.targets import TARGETS

    if unknown := set(options.target) - TARGETS.keys():
        parser.error(f"no target {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    with tempfile.TemporaryDirectory(prefix="velesio-fuzz-") as folder:
        corpus = options.corpus or Path(folder)
        return max([_campaign(name, options.seconds, corpus) for name in options.target or TARGETS])


def _campaign(name: str, seconds: int, corpus: Path) -> int:
    """One target in a process of its own, which atheris ends; a line about it."""
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        "--one",
        name,
        "--seconds",
        str(seconds),
        "--corpus",
        str(corpus / name),
    ]
    found = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
        env=os.environ | {"FUZZ_SECONDS": _SLOWER},
    )
    runs = re.findall(r"^(?:Done |stat::number_of_executed_units: |#)(\d+)", found.stderr, re.MULTILINE)
    coverage = re.findall(r"cov: (\d+)", found.stderr)
    verdict = "no find" if not found.returncode else "FIND"
    most_runs, most_edges = (max(map(int, numbers), default=0) for numbers in (runs, coverage))
    print(f"{name:12} {most_runs:>10} runs  {most_edges:>6} edges  {verdict}", flush=True)
    if found.returncode:
        print(found.stdout[-6000:], found.stderr[-3000:], flush=True)
    return int(found.returncode != 0)


def _fuzz(name: str, seconds: int, corpus: Path) -> int:
    import atheris

    with atheris.instrument_imports(include=["velesio"]):
        from tests.fuzz.targets import TARGETS
    target = TARGETS[name]
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [
        f"-max_total_time={seconds}",
        "-rss_limit_mb=3000",
        "-max_len=4096",
        "-timeout=600",
        "-print_final_stats=1",
    ]
    crash = f"-artifact_prefix={corpus}/find-"
    atheris.Setup([sys.argv[0], *limits, crash, str(corpus)], target)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
