"""Weights for the image bench: the demo checkpoint, or where that does not ship, random ones of its size."""

from pathlib import Path

import msgspec
import torch

from velesio.backends.diffusion.discovery import demo_file

SIDE = 64
"""Pixels of the demo checkpoint's pictures."""


def checkpoint(folder: Path) -> tuple[Path, str]:
    """A single file, and what it is."""
    demo = demo_file()
    if demo is not None:
        return demo, demo.stem
    return _random(folder / "random"), "random weights of the demo checkpoint's size"


def _random(place: Path) -> Path:
    """A diffusers folder with random weights, as training would begin with."""
    from training.autoencoder import new_autoencoder  # noqa: PLC0415 - slow
    from training.denoiser import new_text_encoder, new_tokenizer, new_unet  # noqa: PLC0415

    torch.manual_seed(0)
    new_tokenizer(place / "tokenizer")
    new_text_encoder().save_pretrained(place / "text_encoder")
    new_unet(SIDE).save_pretrained(place / "unet")
    new_autoencoder(SIDE).save_pretrained(place / "vae")
    scheduler = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    (place / "scheduler").mkdir()
    (place / "scheduler" / "scheduler_config.json").write_bytes(msgspec.json.encode(scheduler))
    return place
