"""Adapters change weights by what they say, in every form, and leave no trace."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.backends.diffusion import tiny
from tests.backends.diffusion.conftest import Studio
from velesio.backends.diffusion import loading
from velesio.backends.diffusion.adapters import Adapters, Target, change, read
from velesio.backends.diffusion.calls import Applied
from velesio.backends.diffusion.device import Device
from velesio.backends.diffusion.library import look
from velesio.backends.diffusion.networks import Networks
from velesio.backends.diffusion.options import Options
from velesio.jobs import Adapter, Image

GENERATOR = torch.Generator().manual_seed(7)
UP, DOWN = torch.randn(6, 2, generator=GENERATOR), torch.randn(2, 5, generator=GENERATOR)
WANTED = Target("unet", "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q")
PATH = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"


@pytest.mark.parametrize(
    ("down", "up"),
    [
        (f"lora_unet_{WANTED.name}.lora_down.weight", f"lora_unet_{WANTED.name}.lora_up.weight"),
        (
            "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
            "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_up.weight",
        ),
        (f"unet.{PATH}.lora_A.weight", f"unet.{PATH}.lora_B.weight"),
        (f"base_model.model.{PATH}.lora_A.weight", f"base_model.model.{PATH}.lora_B.weight"),
        (f"unet.{PATH}.lora.down.weight", f"unet.{PATH}.lora.up.weight"),
        (
            f"unet.{PATH.removesuffix('to_q')}processor.to_q_lora.down.weight",
            f"unet.{PATH.removesuffix('to_q')}processor.to_q_lora.up.weight",
        ),
    ],
    ids=["kohya", "kohya, original names", "peft", "peft model", "diffusers", "first diffusers"],
)
def test_all_forms_of_names(down: str, up: str) -> None:
    """The same tensors under each form's names change the same weight alike."""
    changes = read({down: DOWN, up: UP}, 1)
    assert list(changes) == [WANTED]
    found = change(changes[WANTED], torch.zeros(6, 5))
    assert found is not None
    assert torch.allclose(found, UP @ DOWN, atol=1e-6)


def test_text_encoders_have_scopes() -> None:
    """kohya's and peft's names of the two encoders."""
    names = [
        "lora_te_x.alpha",
        "lora_te1_x.alpha",
        "lora_te2_x.alpha",
        "text_encoder.x.alpha",
        "text_encoder_2.x.alpha",
    ]
    scopes = [next(iter(read({name: torch.ones(1)}, 1))).scope for name in names]
    assert scopes == ["te1", "te1", "te2", "te1", "te2"]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=GENERATOR)


def test_kinds_as_published() -> None:
    """LoRA with alpha, LoCon with a middle, LoHa, LoKr, whole differences and DoRA by their formulas."""
    alpha = {"lora_up.weight": UP, "lora_down.weight": DOWN, "alpha": torch.tensor(1.0)}
    assert torch.allclose(change(alpha, torch.zeros(6, 5)), UP @ DOWN / 2, atol=1e-6)
    mid, up, down = random(2, 2, 3, 3), random(6, 2, 1, 1), random(2, 4, 1, 1)
    wanted = torch.einsum("om,mnkl,ni->oikl", up[:, :, 0, 0], mid.transpose(0, 1).transpose(0, 1), down[:, :, 0, 0])
    found = change({"lora_up.weight": up, "lora_down.weight": down, "lora_mid.weight": mid}, torch.zeros(6, 4, 3, 3))
    assert torch.allclose(found, wanted, atol=1e-5)
    parts = {
        f"hada_w{number}_{side}": random(*shape) for number in "12" for side, shape in (("a", (6, 2)), ("b", (2, 5)))
    }
    wanted = (parts["hada_w1_a"] @ parts["hada_w1_b"]) * (parts["hada_w2_a"] @ parts["hada_w2_b"])
    assert torch.allclose(change(parts, torch.zeros(6, 5)), wanted, atol=1e-5)
    kron = {"lokr_w1": random(2, 2), "lokr_w2": random(3, 4)}
    assert torch.allclose(change(kron, torch.zeros(6, 8)), torch.kron(kron["lokr_w1"], kron["lokr_w2"]), atol=1e-6)
    whole = random(6, 5)
    assert torch.equal(change({"diff": whole}, torch.zeros(6, 5)), whole)
    weight, scale = random(6, 5), random(1, 5).abs()
    merged = weight + UP @ DOWN
    wanted = merged * (scale / merged.norm(dim=0, keepdim=True)) - weight
    parts = {"lora_up.weight": UP, "lora_down.weight": DOWN, "dora_scale": scale}
    assert torch.allclose(change(parts, weight), wanted, atol=1e-5)
    assert change({"ia3": random(5)}, weight) is None


@pytest.fixture(scope="module")
def networks(furnished: Path) -> Networks:
    source = loading.Source(furnished / "checkpoints" / "tiny.safetensors", Options())
    return loading.load(source, Device(Options()), lambda part: None)


def state(networks: Networks) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in networks.unet.state_dict().items()}


def test_taking_off_leaves_no_trace(networks: Networks, furnished: Path) -> None:
    """On, stronger, off, twenty times over: every weight is bit for bit what it was."""
    adapters = Adapters(networks, look([furnished], allow_pickle=False).loras, allow_pickle=False)
    before = state(networks)
    for weight in range(20):
        adapters.apply((Applied("style", 1.0, weight / 10),))
    changed = [name for name, tensor in state(networks).items() if not torch.equal(tensor, before[name])]
    assert len(changed) > 5
    assert all(name.endswith(("to_q.weight", "conv1.weight")) for name in changed)
    adapters.apply(())
    assert all(torch.equal(tensor, before[name]) for name, tensor in state(networks).items())


def test_files_that_are_kept_have_room_by_bytes(networks: Networks, furnished: Path, tmp_path: Path) -> None:
    """The longest unused ones are forgotten when they take more than the room; the one in use always stays."""
    for number in range(4):
        place = tmp_path / "loras" / f"style{number}.safetensors"
        place.parent.mkdir(exist_ok=True)
        place.write_bytes((furnished / "loras" / "style.safetensors").read_bytes())
    shelf = look([tmp_path], allow_pickle=False).loras
    one = Adapters(networks, shelf, allow_pickle=False)
    assert not one.fits("style0")
    for room, kept in [(one.bytes * 2, 2), (1, 1)]:
        adapters = Adapters(networks, shelf, allow_pickle=False, room=room)
        for number in range(4):
            assert not adapters.fits(f"style{number}")
            assert adapters.bytes <= max(room, one.bytes)
        assert adapters.bytes == one.bytes * kept


def test_a_stronger_adapter_moves_the_picture_further(studio: Studio) -> None:
    """Weight 0 changes nothing, 0.5 something, 1 more; tags and the job's own list say the same."""
    plain = studio.picture()
    moved = [
        np.abs(studio.picture(adapters=(Adapter("style", 1.0, weight),)) - plain).mean() for weight in (0, 0.1, 0.5)
    ]
    assert moved[0] == 0 < moved[1] < moved[2]
    tagged, listed = studio.picture("a fox<lora:style:0.5>"), studio.picture(adapters=(Adapter("style", 0.5, 0.5),))
    assert (tagged == listed).all()
    assert (studio.picture("a fox<lora:style:0.5>", apply_tags=False) == plain).all()


def test_adapters_that_do_not_fit_are_noted(studio: Studio, furnished: Path) -> None:
    """Unknown ones, and those for another kind of model: the picture is drawn without them, and the result says so."""
    tiny.save(furnished / "loras" / "alien.safetensors", {"lora_unet_nowhere.lora_up.weight": torch.zeros(2, 2)})
    result = studio.result("a fox<lora:nope:1>")
    assert result.notes == ("there is no LoRA called 'nope'",)
    assert (tiny.pixels(result.pictures[0]) == studio.picture()).all()


def test_jobs_with_and_without_adapters_do_not_mix(studio: Studio) -> None:
    """Drawn at the same time, each is what it is alone."""
    jobs: list[dict[str, Any]] = [{}, {"prompt": "a fox<lora:style:1>"}, {"prompt": "a fox<lora:style:0.4>"}]
    alone = [studio.result(**fields).pictures[0] for fields in jobs]
    works = [studio.start(Image(**({"prompt": "a fox", "seed": 3, "steps": 5} | fields))) for fields in jobs]
    for final, wanted in zip(studio.finish(*works), alone, strict=True):
        assert tiny.difference(final.result.pictures[0], wanted) <= 1
