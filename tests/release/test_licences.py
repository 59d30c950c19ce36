"""What Velesio is distributed with, and under which licences."""

from pathlib import Path

import pytest

from release import licences
from release.dependencies import SERVING, Dependency, installed, pins

CONSTRAINTS = Path(__file__).parents[2] / "constraints-cpu.txt"


@pytest.mark.parametrize(
    ("licence", "kind"),
    [
        ("MIT", "permissive"),
        ("MPL-2.0", "weak copyleft"),
        ("LGPL-3.0-or-later", "weak copyleft"),
        ("GPL-3.0-only", "copyleft"),
        ("AGPL-3.0-or-later", "copyleft"),
        ("GNU Affero General Public License v3", "copyleft"),
        ("GNU Lesser General Public License v2 (LGPLv2)", "weak copyleft"),
        ("GPL-2.0-only OR MIT", "permissive"),
        ("MPL-2.0 AND MIT", "weak copyleft"),
    ],
)
def test_a_licence_has_a_kind(licence: str, kind: str) -> None:
    """A choice of several is as good as the best of them."""
    assert Dependency("x", licence).kind == kind


def test_a_server_needs_nothing_under_the_gpl() -> None:
    """Nor anything whose licence nobody knows."""
    assert [each for each in installed(SERVING) if each.kind == "copyleft" or not each.licence] == []


def test_the_page_tells_of_all() -> None:
    """Every package of a server is in its own table, every pin of constraints-cpu.txt in one of them, with the licence
    that it states today; `python -m release licences` writes the page anew."""
    text = licences.PAGE.read_text(encoding="utf-8")
    serving, _, working = text.partition("## What developers need besides")
    for each in installed(SERVING):
        assert f"| `{each.name}` | {each.licence} | {each.kind} |" in serving
    rows = {line.split("`")[1] for line in (serving + working).splitlines() if line.startswith("| `")}
    assert pins(CONSTRAINTS).keys() - rows == set()


def test_the_constraints_are_whole() -> None:
    """What the pinned packages bring along is pinned as well, so that an installation is the same tomorrow."""
    pinned = pins(CONSTRAINTS)
    optional = {"pip", "setuptools", "einops", "nvidia-ml-py", "spandrel", "torchvision"}
    assert {each.name for each in installed((*SERVING, "dev"))} - pinned.keys() <= optional
