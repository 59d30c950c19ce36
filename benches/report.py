"""Reports: facts of the machine, aligned tables, the JSON file."""

import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import psutil

from benches.venvs import ROOT


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """Where, when and how something was measured."""

    command: str
    date: str
    """ISO 8601, UTC."""
    commit: str
    python: str
    system: str
    processor: str
    cores: int
    memory_mib: int
    busy_before: float
    """Cores that other programs used in the second before."""

    @property
    def busy(self) -> bool:
        """Whether other programs took enough of the machine to change the figures."""
        return self.busy_before > self.cores / 8


def circumstances() -> Circumstances:
    """Those of this moment."""
    return Circumstances(
        command=" ".join(["scripts/bench", *sys.argv[1:]]),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=_commit(),
        python=platform.python_version(),
        system=platform.platform(),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_mib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        busy_before=round(psutil.cpu_percent(1.0) / 100 * (os.cpu_count() or 1), 2),
    )


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns: the first to the left, the others to the right."""
    widths = [max(len(line[column]) for line in [heads, *rows]) for column in range(len(heads))]
    lines = [_line(heads, widths), "  ".join("-" * width for width in widths)]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)])


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The same for a page: every column but the first to the right."""
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, digits: int = 2) -> str:
    """A figure for a table; a dash for none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def write(path: Path, content: msgspec.Struct) -> None:
    """Writes indented JSON."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))])


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or "unknown"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
