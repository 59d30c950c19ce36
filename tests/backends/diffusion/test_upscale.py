"""Upscalers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from velesio.backends.diffusion import esrgan, upscale
from velesio.backends.diffusion.device import Device
from velesio.backends.diffusion.options import Options
from velesio.errors import BadRequest, JobFailed, ModelLoadFailed

CPU = Device(Options(device="cpu"))


def picture(height: int = 24, width: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def dense(**changes) -> esrgan.ResidualDense:
    torch.manual_seed(0)
    shape = {"features": 8, "growth": 4, "blocks": 2, "doublings": 2, "shuffle": 1, "channels": 3}
    return esrgan.ResidualDense(**{**shape, **changes}).requires_grad_(False)


def first_release(state: dict) -> dict:
    """The same weights under the names of ESRGAN's first release."""
    outer = {"conv_first": "model.0", "conv_body": "model.1.sub.2", "conv_hr": "model.8", "conv_last": "model.10"}
    outer |= {"conv_up1": "model.3", "conv_up2": "model.6"}
    renamed = {}
    for name, tensor in state.items():
        stem, _, kind = name.rpartition(".")
        if stem in outer:
            renamed[f"{outer[stem]}.{kind}"] = tensor
        else:
            _, block, trio, conv = stem.split(".")
            renamed[f"model.1.sub.{block}.{trio.upper()}.{conv}.0.{kind}"] = tensor
    return renamed


def second_release(state: dict) -> dict:
    """The same weights under the names of its second release."""
    names = {"conv_body": "trunk_conv", "conv_hr": "HRconv", "conv_up": "upconv", "body.": "RRDB_trunk.", "rdb": "RDB"}
    renamed = {}
    for name, tensor in state.items():
        old_name = name
        for new, old in names.items():
            old_name = old_name.replace(new, old)
        renamed[old_name] = tensor
    return renamed


@pytest.mark.parametrize("names", [dict, first_release, second_release])
def test_dense_networks_load_from_all_their_names(tmp_path, names):
    """Three releases, one network: the same pixels, at four times the size."""
    network = dense()
    save_file(
        {name: tensor.clone() for name, tensor in names(network.state_dict()).items()}, tmp_path / "x4.safetensors"
    )
    model = upscale.load(tmp_path / "x4.safetensors", CPU)
    assert (model.name, model.scale, model.multiple) == ("x4", 4, 1)
    shown = torch.rand(1, 3, 8, 12)
    assert torch.allclose(model.run(shown), network(shown), atol=1e-5)
    assert model.run(shown).shape == (1, 3, 32, 48)


def test_folded_dense_and_compact_networks_tell_their_scale(tmp_path):
    """Real-ESRGAN's two-fold network folds pixels first; the small one makes all colours of a pixel at once."""
    torch.manual_seed(0)
    compact = esrgan.Compact(features=8, layers=2, scale=3, channels=3).requires_grad_(False)
    for name, network, scale, multiple in (("x2", dense(shuffle=2), 2, 2), ("x3", compact, 3, 1)):
        save_file(
            {key: tensor.clone() for key, tensor in network.state_dict().items()}, tmp_path / f"{name}.safetensors"
        )
        model = upscale.load(tmp_path / f"{name}.safetensors", CPU)
        assert (model.scale, model.multiple) == (scale, multiple)
        assert upscale.upscaled(picture(7, 9), 9 * scale, 7 * scale, model).shape == (7 * scale, 9 * scale, 3)


class _Brightest(torch.nn.Module):
    """Doubles pixels: what a network does is then known."""

    def forward(self, x):
        return torch.nn.functional.interpolate(x, scale_factor=2)


def test_tiles_leave_no_seam():
    """Cut or whole, the result is the same; so is one whose sides are no multiples."""
    model = upscale.Model("twice", 2, _Brightest(), multiple=4)
    whole = upscale.upscaled(picture(61, 83), 166, 122, model, upscale.Tiles(0))
    cut = upscale.upscaled(picture(61, 83), 166, 122, model, upscale.Tiles(32, 8))
    assert (whole == cut).all()
    assert (whole == picture(61, 83).repeat(2, axis=0).repeat(2, axis=1)).all()


@pytest.mark.parametrize(
    ("target", "passes"), [((80, 48), 1), ((81, 48), 2), ((320, 192), 3), ((900, 600), 3), ((20, 12), 1)]
)
def test_a_network_is_run_until_the_picture_is_large_enough(target, passes):
    """At most three times; the rest is Lanczos."""
    calls = []
    twice = _Brightest()
    model = upscale.Model("twice", 2, lambda x: calls.append(1) or twice(x))
    assert upscale.upscaled(picture(), *target, model, upscale.Tiles(0)).shape == (target[1], target[0], 3)
    assert len(calls) == passes


def test_arithmetic_needs_no_network():
    """Nearest repeats pixels; Lanczos keeps a flat picture flat."""
    assert (upscale.upscaled(picture(), 80, 48, upscale.NEAREST) == picture().repeat(2, axis=0).repeat(2, axis=1)).all()
    flat = np.full((8, 8, 3), 77, np.uint8)
    assert (upscale.upscaled(flat, 20, 30, upscale.LANCZOS) == 77).all()


@pytest.mark.parametrize("mode", upscale.LATENT_MODES)
def test_latents_grow_by_every_mode(mode):
    """Flat latents stay flat."""
    made = upscale.latents(torch.full((1, 4, 8, 8), 0.5), 12, 16, mode)
    assert made.shape == (1, 4, 12, 16)
    torch.testing.assert_close(made, torch.full_like(made, 0.5))


def test_names_are_found_in_any_case_and_unknown_ones_refused_with_the_nearest():
    """An empty name is no upscaler."""
    assert upscale.found("lanczos", ()) == "Lanczos"
    assert upscale.found("", ()) == "None"
    assert upscale.found("x4PLUS", ["x4plus"]) == "x4plus"
    with pytest.raises(BadRequest, match="Lanczos"):
        upscale.found("Lanzcos", ())


def test_pickles_need_permission_and_may_hold_tensors_only(tmp_path):
    """Without it the file is not even opened; with it code in it is not run."""
    network = dense()
    torch.save({"params_ema": network.state_dict()}, tmp_path / "x4.pth")
    with pytest.raises(ModelLoadFailed, match="pickle"):
        upscale.load(tmp_path / "x4.pth", CPU)
    assert upscale.load(tmp_path / "x4.pth", CPU, allow_pickle=True).scale == 4
    proof = tmp_path / "proof"
    (tmp_path / "evil.pth").write_bytes(f"cos\nsystem\n(S'touch {proof}'\ntR.".encode())
    with pytest.raises(ModelLoadFailed, match="evil"):
        upscale.load(tmp_path / "evil.pth", CPU, allow_pickle=True)
    assert not proof.exists()


def test_damaged_and_foreign_files_are_refused_by_name(tmp_path):
    """Cut short, incomplete, of another kind."""
    network = dense()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    save_file(state, tmp_path / "whole.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "whole.safetensors").read_bytes()[:-100])
    save_file({name: tensor for name, tensor in state.items() if "rdb2" not in name}, tmp_path / "part.safetensors")
    save_file({"a.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    for name, reason in (("cut", "whole"), ("part", "rdb2"), ("other", "upscalers")):
        with pytest.raises(ModelLoadFailed, match=reason):
            upscale.load(tmp_path / f"{name}.safetensors", CPU)


def test_networks_are_where_their_device_says(tmp_path: Path) -> None:
    """A network computes in its device's numbers; where half precision overflows, in float32 from then on."""
    network = esrgan.Compact(features=8, layers=2, scale=2, channels=3)
    save_file({name: tensor.clone() for name, tensor in network.state_dict().items()}, tmp_path / "x2.safetensors")
    half = Device(Options(device="cpu", dtype="bfloat16"))
    seen = torch.rand(1, 3, 8, 8)
    exact, rough = (upscale.load(tmp_path / "x2.safetensors", device).run(seen) for device in (CPU, half))
    assert (exact.dtype, rough.dtype) == (torch.float32, torch.float32)
    assert 0 < (exact - rough).abs().max() < 0.05
    wide = {name: tensor * 300 for name, tensor in network.state_dict().items()}
    save_file(wide, tmp_path / "wide.safetensors")
    narrow = Device(Options(device="cpu", dtype="float16"))
    found = upscale.load(tmp_path / "wide.safetensors", narrow).run(seen * 10000)
    assert torch.isfinite(found).all()
    save_file({name: tensor * float("nan") for name, tensor in wide.items()}, tmp_path / "none.safetensors")
    with pytest.raises(JobFailed, match="no valid numbers"):
        upscale.load(tmp_path / "none.safetensors", CPU).run(seen)


def test_where_latents_cannot_be_enlarged_their_modes_are_not_near() -> None:
    """They are not among the nearest names, and are refused by what they are."""
    with pytest.raises(BadRequest, match="Lanczos") as refused:
        upscale.found("Lantcos", [], latent=False)
    assert "Latent" not in refused.value.message
    with pytest.raises(BadRequest, match="enlarges latents"):
        upscale.found("latent (bicubic)", [], latent=False)
