"""`python -m release`: all steps, or one of them: build, licences, audit."""

import argparse
import base64
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path

from release import advisories, installation, licences, wheel
from release.dependencies import pins

_DIST = wheel.ROOT / "dist"
_AT_ONCE = 4
_CONSTRAINTS = wheel.ROOT / "constraints-cpu.txt"


def main() -> int:
    """Answers 1 if something is wrong."""
    parser = argparse.ArgumentParser(prog="scripts/package", description="Makes a release; see docs/packaging.md.")
    steps = {"build": _build, "licences": _licences, "audit": _audit, "all": _all}
    parser.add_argument("step", nargs="?", choices=steps, default="all", help="default: all")
    return steps[parser.parse_args().step]()


def _say(line: str) -> None:
    print(line, flush=True)


def _build() -> int:
    for old in _DIST.glob("velesio-*"):
        old.unlink()
    made = wheel.build(_DIST)
    faults = wheel.faults(made)
    _say(f"{made.name}: {made.stat().st_size / 1e6:.1f} MB" + "".join(f"\n  {fault}" for fault in faults))
    return int(bool(faults))


def _licences() -> int:
    licences.PAGE.write_text(licences.page(), encoding="utf-8")
    _say(f"{licences.PAGE.relative_to(wheel.ROOT)} is written")
    return 0


def _audit() -> int:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        names, versions = zip(*sorted(pins(_CONSTRAINTS).items()), strict=True)
        found = list(pool.map(advisories.verdict, names, versions, repeat(advisories.fetch)))
    for each in found:
        if each.state == "vulnerable":
            why = advisories.ACCEPTED.get(each.name, "")
            _say(
                f"{each.name} {each.version}: {'; '.join(each.advisories)}" + f": accepted, since it {why}" * bool(why)
            )
    unknown = [f"{each.name} {each.version}" for each in found if each.state == "unknown"]
    if unknown:
        _say(f"the index tells nothing of {', '.join(unknown)}")
    _say(f"{sum(each.state == 'clean' for each in found)} of {len(found)} pins have no known vulnerability")
    return int(any(each.state == "vulnerable" and each.name not in advisories.ACCEPTED for each in found))


def _all() -> int:
    if _build():
        return 1
    (made,) = _DIST.glob("velesio-*.whl")
    with tempfile.TemporaryDirectory(prefix="velesio-release-") as name:
        folder = Path(name)
        python = installation.install(made, folder)
        _sbom(python, made)
        with installation.serving(python, folder) as address:
            _say(f"text: {installation.text(address)!r}")
            _say(f"picture: {len(base64.b64decode(installation.picture(address)))} bytes")
    return _audit()


def _sbom(python: Path, made: Path) -> None:
    """What that environment holds, as CycloneDX: without pip itself, which pip's own check needs."""
    target = made.with_suffix(".cdx.json")
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(wheel.ROOT / "pyproject.toml")]
    options = ["--mc-type", "application", "--output-reproducible", "--of", "JSON", "-o", str(target), str(python)]
    subprocess.run([*command, *options], check=True)
    _say(f"{target.relative_to(wheel.ROOT)} is written")


if __name__ == "__main__":
    sys.exit(main())
