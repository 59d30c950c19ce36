"""Weights for the image bench: the demo checkpoint, or where that does not ship, random ones of its size."""

from pathlib import Path

import msgspec
import torch

from velesio.backends.diffusion.discovery import demo_file

UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "sample_size": 8,
    "block_out_channels": (64, 128),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": 96,
    "attention_head_dim": 4,
    "norm_num_groups": 32,
}
VAE = {
    "block_out_channels": (16, 32, 64, 64),
    "layers_per_block": 1,
    "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "norm_num_groups": 16,
}
TEXT = {
    "vocab_size": 49408,
    "hidden_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 384,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "eos_token_id": 49407,
}


def checkpoint(folder: Path) -> tuple[Path, str]:
    """A single file, and what it is."""
    demo = demo_file()
    if demo is not None:
        return demo, demo.stem
    return _random(folder / "random"), "random weights of the demo checkpoint's size"


def _random(place: Path) -> Path:
    """A diffusers folder with random weights."""
    from diffusers import AutoencoderKL, UNet2DConditionModel  # noqa: PLC0415 - slow
    from transformers import CLIPTextConfig, CLIPTextModel  # noqa: PLC0415

    torch.manual_seed(0)
    UNet2DConditionModel(**UNET).save_pretrained(place / "unet")
    AutoencoderKL(**VAE).save_pretrained(place / "vae")
    CLIPTextModel(CLIPTextConfig(**TEXT)).save_pretrained(place / "text_encoder")
    scheduler = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    (place / "scheduler").mkdir()
    (place / "scheduler" / "scheduler_config.json").write_bytes(msgspec.json.encode(scheduler))
    return place
