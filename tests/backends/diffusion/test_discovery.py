"""Checkpoints and the files around them are found by their heads alone, and their cards say what they can do."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.backends.diffusion import tiny
from tests.backends.diffusion.conftest import Studio, found, subject_of
from velesio.backends.base import Catalogue, ModelCard, ModelSpec
from velesio.backends.diffusion import backend, discovery
from velesio.backends.diffusion.library import look
from velesio.errors import BadRequest, ConfigError
from velesio.jobs import Inpaint


def test_cards_say_what_there_is(furnished: Path) -> None:
    """One for each checkpoint, with the names of everything that jobs may name; they travel as JSON."""
    cards = found(furnished).models()
    assert {card.name for card in cards} == {"tiny", "other"}
    card = next(card for card in cards if card.name == "tiny")
    assert (card.capability, card.meta["family"], card.meta["size"], card.meta["inpaints"]) == (
        "image",
        "sd1",
        512,
        False,
    )
    assert "style" in card.meta["loras"]
    assert card.meta["controls"] == ["edges", "edges-diffusers", "velesio-demo-canny"]
    assert (card.meta["vaes"], card.meta["embeddings"], card.meta["upscalers"]) == (["soft"], ["night", "sparkle"], [])
    assert msgspec.json.decode(msgspec.json.encode(card), type=ModelCard) == card


def test_a_configured_model(furnished: Path) -> None:
    """By its path, under any name, with options of its own; the same file is not found twice."""
    spec = ModelSpec(name="mine", path=Path("checkpoints/tiny.safetensors"), aliases=("m",), options={"slots": 3})
    cards = backend(Catalogue(models_dir=furnished, specs=(spec,))).models()
    assert [(card.name, card.slots) for card in cards] == [("mine", 3), ("other", 8)]


def test_a_model_without_a_file_is_an_error(tmp_path: Path) -> None:
    """It names the table and the place that was looked at."""
    spec = ModelSpec(name="x", path=Path("nowhere.safetensors"), place="models[1]")
    with pytest.raises(ConfigError, match=r"models\[1\].*nowhere"):
        backend(Catalogue(models_dir=tmp_path, specs=(spec,)))
    with pytest.raises(ConfigError, match="path"):
        backend(Catalogue(models_dir=tmp_path, specs=(ModelSpec(name="x"),)))


def test_the_demo_is_offered_where_nothing_else_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own name, and not beside others or where no demo is wanted."""
    demo = tiny.write(tmp_path / "demo" / "velesio-demo.safetensors")
    monkeypatch.setattr(discovery, "DEMO_FOLDER", demo.parent)
    catalogue = Catalogue(models_dir=tmp_path / "models")
    assert [card.name for card in backend(catalogue).models()] == ["velesio-demo"]
    assert backend(msgspec.structs.replace(catalogue, demo=False)).models() == []
    tiny.write(tmp_path / "models" / "checkpoints" / "own.safetensors")
    assert [card.name for card in backend(catalogue).models()] == ["own"]
    named = msgspec.structs.replace(catalogue, specs=(ModelSpec(name="velesio-demo"),), demo=False)
    assert [card.name for card in backend(named).models()] == ["velesio-demo", "own"]


def test_names_are_found_however_they_are_written(furnished: Path) -> None:
    """With ending, hash and in any case; unknown ones are refused with the nearest."""
    shelf = look([furnished], allow_pickle=False).vaes
    for name in ("soft", "soft.safetensors", "SOFT", "soft [1234567890]"):
        assert shelf.find(name).name == "soft.safetensors"
    with pytest.raises(BadRequest, match="'soft'"):
        shelf.find("sof")


def test_a_model_for_inpainting_is_recognised(tmp_path: Path) -> None:
    """Nine channels: the UNet sees mask and picture; it inpaints, and draws from nothing too."""
    unet = tiny.UNET | {"in_channels": 9}
    tiny.write(tmp_path / "checkpoints" / "tiny.safetensors", unet=unet)
    studio = Studio(subject_of(tmp_path))
    assert studio.subject.card.meta["inpaints"]
    drawn = studio.picture()
    mask = np.zeros((64, 64), np.uint8)
    mask[16:40, 16:40] = 255
    results = [
        studio.picture(init=(tiny.png(drawn),), inpaint=Inpaint(tiny.png(mask), blur_x=2, blur_y=2, mask_weight=weight))
        for weight in (1.0, 0.3)
    ]
    studio.engine.close()
    difference = np.abs(results[0] - drawn).max(axis=2)
    assert difference[:8].max() == 0
    assert difference[20:36, 20:36].mean() > 5
    assert (results[0] != results[1]).any()
