"""Pulls: where files belong, what is taken away, what is shown meanwhile."""

import io
from pathlib import Path

import pytest

from velesio import pulls
from velesio.config import Config, DownloadSection, ServerSection
from velesio.downloads import DownloadFailed


def test_files_go_where_their_names_say(tmp_path: Path) -> None:
    """Text models apart from checkpoints, unless a folder is named."""
    assert pulls.folder_for("A.GGUF") == "text"
    assert pulls.folder_for("a.safetensors") == "checkpoints"
    config = Config(
        server=ServerSection(models_dir=tmp_path),
        downloads=DownloadSection(text=("https://host/a.gguf",), vae=("https://host/b.safetensors",)),
    )
    assert [each.target.relative_to(tmp_path) for each in pulls.wanted(config)] == [
        Path("text/a.gguf"),
        Path("vae/b.safetensors"),
    ]


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def test_a_file_is_removed_by_its_name_or_its_place(tmp_path: Path) -> None:
    """Where several have the name, only by its place."""
    put(tmp_path, "text/a.gguf", "vae/b.safetensors", "checkpoints/b.safetensors")
    assert pulls.remove(tmp_path, "a.gguf") == tmp_path.resolve() / "text/a.gguf"
    assert not (tmp_path / "text/a.gguf").exists()
    with pytest.raises(DownloadFailed, match=r"b\.safetensors: there are several of that name"):
        pulls.remove(tmp_path, "b.safetensors")
    pulls.remove(tmp_path, "vae/b.safetensors")
    assert not (tmp_path / "vae/b.safetensors").exists()
    assert (tmp_path / "checkpoints/b.safetensors").exists()


def test_nothing_outside_the_folder_is_removed(tmp_path: Path) -> None:
    """Neither by a path that leads out nor through a link."""
    root = tmp_path / "models"
    put(tmp_path, "models/text/a.gguf", "secret.gguf")
    (root / "text/link.gguf").symlink_to(tmp_path / "secret.gguf")
    for name in ("../secret.gguf", str(tmp_path / "secret.gguf"), "link.gguf", "text", "none.gguf"):
        with pytest.raises(DownloadFailed, match="there is no such file"):
            pulls.remove(root, name)
    assert (tmp_path / "secret.gguf").exists()


class Terminal(io.StringIO):
    """Standard error, looked at by somebody."""

    def isatty(self) -> bool:
        return True


def test_a_bar_is_shown_to_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most five times a second, at the end in any case, with a line of its own."""
    terminal, clock = Terminal(), iter([100.0, 100.0, 100.1, 101.0, 101.05, 101.1])
    monkeypatch.setattr(pulls.sys, "stderr", terminal)
    monkeypatch.setattr(pulls.time, "monotonic", lambda: next(clock))
    progress = pulls._Progress("a.gguf")
    for have in (2 << 20, 3 << 20, 4 << 20, 5 << 20):
        progress(have, 8 << 20)
    progress(8 << 20, 8 << 20)
    shown = terminal.getvalue().split("\r")[1:]
    assert [line.split("]")[1].split()[0] for line in shown] == ["25%", "50%", "100%"]
    assert "4 MiB 2.0 MiB/s" in shown[1]
    assert shown[1].count("#") == 15
    assert [line.endswith("\n") for line in shown] == [False, False, True]


def test_a_log_has_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody looks there is nothing; nor does a file of unknown size break it."""
    quiet = io.StringIO()
    monkeypatch.setattr(pulls.sys, "stderr", quiet)
    pulls._Progress("a.gguf")(5, 5)
    assert quiet.getvalue() == ""
    terminal = Terminal()
    monkeypatch.setattr(pulls.sys, "stderr", terminal)
    pulls._Progress("a.gguf")(5, 0)
    assert "0%" in terminal.getvalue()
