"""Control: a ControlNet for the demo checkpoint that follows Canny's edges."""

from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionPipeline
from safetensors.torch import save_file

from training.latents import choose, encode, tokens_of
from training.noise import noise_loss, noised
from training.pictures import captioned
from training.progress import Run
from velesio.backends.diffusion.preprocess import hint, prepared

WIDTHS = (8, 16, 32, 48)
"""Channels of the layers that read the edges; each but the first halves the sides."""

BLANK_SHARE = 0.4
"""How often the caption is left out, so that edges are followed for their own sake."""


GAIN = 2.0
"""How much stronger it speaks in the file than it was trained: guidance multiplies the caption's voice as well."""


def gain_of(name: str) -> float:
    """What a tensor of the network is multiplied by; its outputs are linear layers."""
    return GAIN if name.startswith(("controlnet_down_blocks.", "controlnet_mid_block.")) else 1.0


def new_control(pipeline: StableDiffusionPipeline) -> ControlNetModel:
    """A ControlNet that begins as the UNet's own way down and adds nothing yet."""
    control = ControlNetModel.from_unet(pipeline.unet, conditioning_embedding_out_channels=WIDTHS)
    # What it adds begins at nothing anyway; what reads the edges need not, and learns much sooner if it does not.
    torch.nn.init.kaiming_normal_(control.controlnet_cond_embedding.conv_out.weight)
    return control


def edges_of(picture: np.ndarray) -> torch.Tensor:
    """What the network is shown of a picture: float, shape (3, side, side), 0 to 1."""
    shown = prepared(picture, "canny", resolution=picture.shape[0])
    return torch.from_numpy(hint(shown, "canny")).permute(2, 0, 1)


def train_control(
    folder: Path,
    pipeline: StableDiffusionPipeline,
    path: Path,
    *,
    pictures: int,
    steps: int,
    batch: int = 16,
    seed: int = 5,
) -> ControlNetModel:
    """Trains the network and writes it to `path` in half precision, with diffusers' names."""
    torch.manual_seed(seed)
    unet, text, tokenizer = pipeline.unet, pipeline.text_encoder, pipeline.tokenizer
    side = unet.config.sample_size * 8
    data = encode(pipeline.vae, tokenizer, side=side, count=pictures, seed=seed)
    hints = torch.stack([edges_of(picture) for _, _, picture in captioned(pictures, side, seed)]).half()
    empty = tokens_of(tokenizer, [""])
    control = new_control(pipeline).requires_grad_(True)
    run = Run("control", folder, control.parameters(), steps=steps, rate=2e-3, seed=seed)

    def loss_of(random: torch.Generator) -> torch.Tensor:
        rows = torch.randint(len(hints), (batch,), generator=random)
        latents, tokens = choose(data, batch, empty, random, rows=rows)
        blank = torch.rand(batch, generator=random) < BLANK_SHARE
        context = text(torch.where(blank[:, None], empty, tokens))[0]
        noisy, noise, times, weight = noised(latents, random)
        down, middle = control(noisy, times, context, controlnet_cond=hints[rows].float(), return_dict=False)
        steered = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        return noise_loss(unet(noisy, times, context, **steered).sample, noise, weight)

    run.train(loss_of)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: (gain_of(name) * tensor).half().contiguous() for name, tensor in control.state_dict().items()}, path
    )
    return control.requires_grad_(False).eval()
