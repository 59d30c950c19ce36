"""llama-server of the very llama.cpp that Velesio runs on: built once, from the installed llama-cpp-python's sources.

The source distribution of that version is fetched, and its llama.cpp compiled with the switches that the installed
libraries were compiled with, which their CMake package records. The result is kept outside the repository.
"""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path

_DISTRIBUTION = "llama-cpp-python"
_SWITCH = re.compile(r'^set\((GGML_\w+) "(ON|OFF)"\)', re.MULTILINE | re.IGNORECASE)
_DERIVED = re.compile(r"_(FOUND|DEFAULT|ENABLED|FETCH|LIB|STANDALONE|DIRTY|TESTS|EXAMPLES)$")
"""Ends of the names that CMake works out by itself, or that do not concern the server."""
_FIXED = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "ON",  # as in the wheel
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",  # else the build fetches it
    "LLAMA_OPENSSL": "OFF",
}
_WORDS = 600
"""Characters of a failed command's output that are shown."""


class BuildFailed(Exception):
    """There is no llama-server; the message says why."""


def version() -> str:
    """Of the installed llama-cpp-python."""
    return metadata.version(_DISTRIBUTION)


def switches(recorded: str) -> dict[str, str]:
    """The GGML switches in the text of an installed `ggml-config.cmake`, without those that CMake derives."""
    found = {name: value.upper() for name, value in _SWITCH.findall(recorded)}
    return {name: value for name, value in found.items() if not _DERIVED.search(name)}


def folder() -> Path:
    """Where the build of this version is kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "velesio" / f"llama-server-{version()}"


def executable(home: Path | None = None, *, build: bool = True) -> Path:
    """Path of llama-server, which is built first if need be; that takes some minutes.

    Raises:
        BuildFailed: it is not there and may not or cannot be built.
    """
    home = home or folder()
    wanted = _FIXED | switches(_recorded())
    stamp = home / ".built"
    recipe = "\n".join([_machine(), *(f"{name}={value}" for name, value in sorted(wanted.items())), ""])
    server = home / "build" / "bin" / "llama-server"
    if stamp.exists() and stamp.read_text(encoding="utf-8") == recipe:
        return server
    if not build:
        raise BuildFailed("not built here (--no-install)")
    print(f"building llama-server of llama-cpp-python {version()} in {home}", file=sys.stderr)
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    _compile(_sources(home), home, wanted)
    stamp.write_text(recipe, encoding="utf-8")
    return server


def _recorded() -> str:
    """The CMake package of the installed ggml; nothing if the wheel came without."""
    spec = importlib.util.find_spec("llama_cpp")
    for place in (spec.submodule_search_locations or []) if spec else []:
        file = Path(place).parent / "lib" / "cmake" / "ggml" / "ggml-config.cmake"
        if file.exists():
            return file.read_text(encoding="utf-8")
    return ""


def _machine() -> str:
    """What `GGML_NATIVE` compiles for."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):
        return platform.machine()


def _sources(home: Path) -> Path:
    """The folder of llama.cpp in the unpacked source distribution."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory(prefix="velesio-bench-") as fetched:
        _run([*pip, "--no-deps", "--no-binary", ":all:", "-d", fetched, f"{_DISTRIBUTION}=={version()}"], home)
        archive = next(Path(fetched).glob("*.tar.gz"))
        with tarfile.open(archive) as packed:
            packed.extractall(home, filter="data")
    return next(home.glob("*/vendor/llama.cpp"))


def _compile(sources: Path, home: Path, wanted: Mapping[str, str]) -> None:
    build = str(home / "build")
    options = [f"-D{name}={value}" for name, value in wanted.items()]
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(os.cpu_count() or 1)
    _run(["cmake", "-S", str(sources), "-B", build, *options], home)
    _run(["cmake", "--build", build, "--target", "llama-server", "-j", jobs], home)


def _run(command: Sequence[str], home: Path) -> None:
    log = home / "build.log"
    try:
        with log.open("ab") as output:
            done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    except OSError as error:
        raise BuildFailed(f"cannot run {command[0]}: {error}") from None
    if done.returncode:
        words = " | ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
        raise BuildFailed(f"{' '.join(command[:3])} failed: {words[-_WORDS:]}; all of it is in {log}")


if __name__ == "__main__":
    print(executable())
