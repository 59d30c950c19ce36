"""The whole training, made very short."""

import json
import sys

import pytest
import torch
from safetensors.torch import load_file

from training import __main__ as training


@pytest.mark.filterwarnings("ignore")
def test_the_quick_form_trains_exports_and_judges(tmp_path, monkeypatch):
    """A few steps of everything leave a checkpoint, a score and sheets; a second call trains nothing more."""
    monkeypatch.setattr(sys, "argv", ["train", "--quick", "--work", str(tmp_path), "--threads", "1"])
    training.main()
    first = load_file(tmp_path / "demo" / "velesio-demo.safetensors")
    assert json.loads((tmp_path / "score.json").read_text())["total"] == training.QUICK.judged
    for name in ("held-out.png", "contact-sheet.png", "autoencoder.png", "denoiser.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    for name in ("loras/outline", "controlnet/velesio-demo-canny", "embeddings/night"):
        assert load_file(tmp_path / "demo" / f"{name}.safetensors")
    again = training.train(tmp_path, training.QUICK).unet.state_dict()["conv_in.weight"]
    assert torch.equal(first["model.diffusion_model.input_blocks.0.0.weight"], again.half())
