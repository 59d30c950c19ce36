"""npm clients: installs the pinned packages of package.json into a cache folder, and runs scripts with them."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).parent
_NEEDED = ("package.json", "package-lock.json")
_REMEDY = "scripts/setup --dev installs Debian's nodejs and npm as root, else apt-get install them"


def modules(folder: Path = _HERE) -> Path:
    """`node_modules` for the package-lock.json of `folder`, made with `npm ci` if the cache has none for it."""
    found = _cache() / _digest(folder) / "node_modules"
    if not found.is_dir():
        _install(folder, found.parent)
    return found


def run(script: str, modules: Path, *arguments: str, timeout: float = 90.0) -> Any:
    """What `script`, a file beside this one, prints: one JSON document. Fails with its errors if it fails."""
    command = [_program("node"), str(_HERE / script), *arguments]
    env = {**os.environ, "NODE_PATH": str(modules), "NODE_NO_WARNINGS": "1"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        pytest.fail(f"{script} {' '.join(arguments)}:\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "velesio-tests" / "npm"


def _digest(folder: Path) -> str:
    content = b"".join((folder / name).read_bytes() for name in _NEEDED)
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def _install(folder: Path, target: Path) -> None:
    """Into a folder of its own first: test processes that do this at the same time do not see each other's halves."""
    npm = _program("npm")
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        for name in _NEEDED:
            shutil.copy(folder / name, fresh)
        arguments = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run([npm, *arguments], cwd=fresh, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            pytest.fail(f"npm ci for {folder}/package.json: {done.stdout}{done.stderr}")
        if not target.exists():
            fresh.rename(target)
    except OSError:
        if not target.exists():  # else another process was first
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing: {_REMEDY}")
    return found
