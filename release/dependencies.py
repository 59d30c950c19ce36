"""Dependencies: what an installation of Velesio brings along, and under which licences, as packages say themselves."""

import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

import msgspec
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SERVING = ("all", "gpu", "tracing", "upscalers")
"""Extras with which a server is installed."""
WORKING = ("browser", "dev", "fuzz", "package", "proof")
"""Those of whoever works on it; nothing of them is shipped."""

_ELSEWHERE = {
    "nvidia-ml-py": ("BSD-3-Clause", ()),
    "spandrel": ("MIT", ("torchvision", "einops")),
    "torchvision": ("BSD-3-Clause", ()),
    "einops": ("MIT", ()),
}
"""Packages that machines of developers need not have: licence and needs, by their own metadata."""
_UNSAID = {"atheris": "Apache-2.0"}
"""What only the repository of a package says."""
_COPYLEFT = re.compile(r"\bA?GPL|GNU (Affero )?General", re.IGNORECASE)
_WEAK = re.compile(r"\bLGPL|\bMPL|Lesser General|Mozilla|\bEPL|\bCDDL", re.IGNORECASE)
_SPELLINGS = {
    "Apache Software License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache 2.0 License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache 2": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "BSD": "BSD-3-Clause",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0",
    "ISC License (ISCL)": "ISC",
}


class Dependency(msgspec.Struct, frozen=True, order=True):
    """A package."""

    name: str
    licence: str

    @property
    def kind(self) -> str:
        """`permissive`, `weak copyleft` (what is changed of the package itself stays free) or `copyleft`."""
        choices = re.split(r"\bOR\b", self.licence)
        if all(_COPYLEFT.search(choice) and not _WEAK.search(choice) for choice in choices):
            return "copyleft"
        return "weak copyleft" if all(_WEAK.search(choice) for choice in choices) else "permissive"


def installed(extras: Iterable[str]) -> list[Dependency]:
    """All that Velesio with these extras needs, and what that needs, by name.

    Raises:
        metadata.PackageNotFoundError: something of it is not installed here.
    """
    needed: dict[str, frozenset[str]] = {}
    todo = [("velesio", frozenset(extras))]
    while todo:
        name, more = todo.pop()
        known = needed.get(name)
        if known is not None and more <= known:
            continue
        needed[name] = (known or frozenset()) | more
        todo += _required(name, needed[name])
    return sorted(Dependency(name, licence_of(name)) for name in needed if name != "velesio")


def _required(name: str, extras: frozenset[str]) -> list[tuple[str, frozenset[str]]]:
    if name in _ELSEWHERE:
        return [(need, frozenset()) for need in _ELSEWHERE[name][1]]
    found = []
    for line in metadata.requires(name) or ():
        need = Requirement(line)
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            found.append((canonicalize_name(need.name), frozenset(need.extras)))
    return found


def licence_of(name: str) -> str:
    """As an SPDX expression where the package says so that it can be told; empty: it does not say."""
    if name in _ELSEWHERE:
        return _ELSEWHERE[name][0]
    about = metadata.metadata(name)
    expression = about.get("License-Expression", "")
    told = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier", []) if line.startswith("License ::")]
    told = [line for line in told if not line.endswith("pproved")] or (about.get("License") or "").splitlines()[:1]
    spelled = dict.fromkeys(_SPELLINGS.get(line.strip(), line.strip()) for line in told)
    return expression or " AND ".join(spelled) or _UNSAID.get(name, "")


def pins(constraints: Path) -> Mapping[str, str]:
    """Versions by name, as a constraints file has them."""
    lines = (line.partition("#")[0].strip() for line in constraints.read_text(encoding="utf-8").splitlines())
    pairs = (line.split("==") for line in lines if line)
    return {canonicalize_name(name): version.partition(";")[0].strip() for name, version in pairs}
