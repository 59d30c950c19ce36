"""Venvs of the rivals: one each, since they need different versions of the same libraries; made on first use."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
LIST = Path(__file__).parent / "rivals.txt"
FOLDER = ROOT / ".venv-bench"
_INSTALLING = 900.0


class MissingRival(Exception):
    """A rival cannot be run; the message says why."""


def pinned(path: Path = LIST) -> dict[str, list[str]]:
    """The rivals' names, each with what pip installs for it: lines of the form `name: requirement …`."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, requirements = line.partition("#")[0].partition(":")
        if name.strip():
            found[name.strip()] = requirements.split()
    return found


def python_of(
    name: str,
    *,
    install: bool = True,
    folder: Path = FOLDER,
    listed: Path = LIST,
    requirements: Sequence[str] = (),
) -> Path:
    """The interpreter of a rival's venv, which is made or renewed first if need be; it holds `requirements`, or what
    is `listed` for that name.

    Raises:
        MissingRival: it is not installed and may not or cannot be.
    """
    requirements = requirements or pinned(listed)[name]
    home = folder / name
    stamp = home / ".installed"
    wanted = f"{sys.version}\n{' '.join(requirements)}\n"
    python = home / "bin" / "python"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    if not install:
        raise MissingRival("not installed here (--no-install)")
    print(f"installing {' '.join(requirements)} into {home}", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(home)])
    _run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *requirements])
    stamp.write_text(wanted, encoding="utf-8")
    return python


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALLING, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingRival(f"cannot be installed: {error}") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or done.stderr.splitlines()
        raise MissingRival(f"cannot be installed: {lines[0] if lines else 'pip failed'}")
