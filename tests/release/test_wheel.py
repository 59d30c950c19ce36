"""What is in the wheel, and what it says of itself."""

import base64
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from release import installation, wheel
from velesio import __version__

MINE = tomllib.loads((wheel.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built as scripts/package builds it."""
    return wheel.build(tmp_path_factory.mktemp("dist"))


def test_the_wheel_has_all_of_the_package_and_nothing_else(made: Path) -> None:
    """Demo models, pages, scripts, templates, types and licences; no tests, no bytecode, nothing huge."""
    assert wheel.faults(made) == []


def test_faults_of_a_wheel_are_told(tmp_path: Path) -> None:
    """What is missing, what does not belong there, and what is too large."""
    with zipfile.ZipFile(tmp_path / "velesio.whl", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tests/test_cli.py", "")
        archive.writestr("velesio/cli.pyc", "")
        archive.writestr("velesio/huge.json", bytes(11 << 20))
    found = wheel.faults(tmp_path / "velesio.whl")
    for told in (
        "velesio/py.typed is missing",
        "tests/test_cli.py does not belong",
        "cli.pyc is of a kind",
        "huge.json has",
    ):
        assert any(told in fault for fault in found)


def test_the_wheel_describes_itself(made: Path) -> None:
    """Version, licence, command and backends, types."""
    with zipfile.ZipFile(made) as archive:
        texts = {name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist() if "info/" in name}
    about = Parser().parsestr(texts["METADATA"])
    assert (about["Name"], about["Version"]) == ("velesio", __version__)
    assert about["License-Expression"] == "Apache-2.0 AND MIT"
    assert about.get_all("License-File") == ["LICENSE", "velesio/backends/diffusion/clip/LICENSE"]
    assert "Typing :: Typed" in about.get_all("Classifier", [])
    assert set(about.get_all("Provides-Extra", [])) == set(MINE["optional-dependencies"])
    entries = texts["entry_points.txt"]
    assert "velesio = velesio.cli:main" in entries
    assert all(f"{name} = velesio.backends.{name}:backend" in entries for name in ("diffusion", "echo", "llama"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_wheel_serves_from_an_empty_folder(made: Path, tmp_path: Path) -> None:
    """`pip install velesio[all]` in a fresh environment fits together; curl gets a text and a picture."""
    python = installation.install(made, tmp_path)
    with installation.serving(python, tmp_path) as address:
        assert installation.text(address).strip().startswith("Paris")
        assert base64.b64decode(installation.picture(address)).startswith(b"\x89PNG")
