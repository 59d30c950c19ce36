"""Inventory: files of models that come, go and change while a worker runs."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from velesio.backends.base import Backend
from velesio.config import Config, ModelSection, ServerSection
from velesio.errors import ConfigError
from velesio.inventory import Inventory, present


class Told:
    """Hears of changes."""

    def __init__(self) -> None:
        self.names: list[list[str]] = []

    def __call__(self, backends: Sequence[Backend]) -> None:
        self.names.append(sorted(card.name for backend in backends for card in backend.models()))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(server=ServerSection(models_dir=tmp_path), demo=False)


async def test_a_file_that_comes_or_goes_is_told_once(config: Config, smollm2: Path) -> None:
    """When it has been the same for two looks: one that is being copied is no model yet."""
    told, text = Told(), config.server.models_dir / "text"
    inventory = Inventory(config, told)
    text.mkdir()
    whole = smollm2.read_bytes()
    (text / "story.gguf").write_bytes(whole[:1000])
    await inventory.look()
    (text / "story.gguf").write_bytes(whole[:2000])
    await inventory.look()
    shutil.copy(smollm2, text / "story.gguf")
    await inventory.look()
    assert told.names == []
    await inventory.look()
    await inventory.look()
    assert told.names == [["story"]]
    (text / "story.gguf").unlink()
    for _ in range(3):
        await inventory.look()
    assert told.names == [["story"], []]


async def test_what_is_no_model_yet_is_left_alone(config: Config) -> None:
    """An unfinished download, whatever it grows to."""
    told, text = Told(), config.server.models_dir / "text"
    text.mkdir()
    inventory = Inventory(config, told)
    (text / ".story.gguf.part").write_bytes(b"GGUF")
    for _ in range(3):
        await inventory.look()
    assert told.names == []


async def test_a_configured_model_may_go_and_come_back(tmp_path: Path, smollm2: Path) -> None:
    """The others stay; the demo does not take its place."""
    models = tuple(ModelSection(name=name, path=Path(f"{name}.gguf")) for name in ("one", "two"))
    config = Config(server=ServerSection(models_dir=tmp_path), models=models)
    for name in ("one", "two"):
        shutil.copy(smollm2, tmp_path / f"{name}.gguf")
    told = Told()
    inventory = Inventory(config, told)
    (tmp_path / "two.gguf").rename(tmp_path / "away")
    await inventory.look()
    await inventory.look()
    (tmp_path / "away").rename(tmp_path / "two.gguf")
    await inventory.look()
    await inventory.look()
    assert told.names == [["one"], ["one", "two"]]
    for name in ("one", "two"):
        (tmp_path / f"{name}.gguf").unlink()
    assert (present(config).models, present(config).demo) == ((), False)


async def test_what_cannot_be_served_leaves_everything_as_it_is(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log says why; a later look finds what has been mended."""

    def refuse(_: Config) -> list[Backend]:
        raise ConfigError("models: 'a' names both")

    told, vae = Told(), config.server.models_dir / "vae"
    inventory = Inventory(config, told)
    vae.mkdir()
    with monkeypatch.context() as patched:
        patched.setattr("velesio.catalogue.backends", refuse)
        (vae / "one.safetensors").write_bytes(b"x")
        for _ in range(3):
            await inventory.look()
    assert told.names == []
    (vae / "two.safetensors").write_bytes(b"x")
    for _ in range(2):
        await inventory.look()
    assert told.names == [[]]
