"""What the doctor finds: programs, packages, backends, models, the broker."""

import importlib.metadata
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from velesio.backends import plugins
from velesio.backends.base import Finding
from velesio.cli import doctor
from velesio.config import Config, RedisSection, ServerSection


def nvidia_smi(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name, the only one there is."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_each_gpu_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As NVIDIA's own program tells it."""
    nvidia_smi(tmp_path, 'echo "one, 8 GiB, 550"; echo "two, 24 GiB, 550"', monkeypatch)
    assert list(doctor._devices(Config())) == [
        Finding("gpu", "one, 8 GiB, 550"),
        Finding("gpu", "two, 24 GiB, 550"),
    ]


@pytest.mark.parametrize("channel", ["1", "2"])
def test_a_driver_that_does_not_answer_is_told(channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its own words; it is missing, which is no defect of this installation."""
    nvidia_smi(tmp_path, f'echo "no driver" >&{channel}; exit 9', monkeypatch)
    last = list(doctor._devices(Config()))[-1]
    assert last == Finding("gpu", "nvidia-smi failed: no driver", missing=True)


def test_without_the_program_models_run_on_the_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is said."""
    monkeypatch.setenv("PATH", str(tmp_path))
    [finding] = doctor._devices(Config())
    assert finding.missing
    assert "on the CPU" in finding.text


def test_what_is_not_installed_says_what_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extra is missing; what every installation needs is broken."""

    def version(name: str) -> str:
        if name in {"torch", "aiohttp"}:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = {finding.subject: finding for finding in doctor._packages(Config())}
    assert found["torch"] == Finding("torch", f"not installed: {doctor.PACKAGES['torch']}", missing=True)
    assert found["aiohttp"].broken
    assert found["redis"] == Finding("redis", "1.0")


def test_a_backend_that_cannot_be_imported_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are looked at all the same."""
    points = [
        EntryPoint("broken", "velesio.no_such_module:backend", plugins.GROUP),
        EntryPoint("echo", "velesio.backends.echo:backend", plugins.GROUP),
    ]
    monkeypatch.setattr(plugins, "entry_points", lambda group: EntryPoints(points))
    broken, echo = doctor._backends(Config())
    assert broken.broken
    assert "no_such_module" in broken.text
    assert not echo.broken


def test_the_broker_is_named_but_not_its_address(tmp_path: Path) -> None:
    """An address may hold a password; of the embedded one its folder is told."""
    [remote] = doctor._broker(Config(redis=RedisSection(url="redis://:secret@host")))
    assert "secret" not in remote.text
    [own] = doctor._broker(Config(server=ServerSection(data_dir=tmp_path)))
    assert str(tmp_path) in own.text


def test_no_model_at_all_says_where_to_put_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the folder."""
    monkeypatch.setattr(doctor.catalogue, "backends", lambda config: [])
    [finding] = doctor._models(Config(server=ServerSection(models_dir=tmp_path)))
    assert finding.missing
    assert str(tmp_path / "text") in finding.text
