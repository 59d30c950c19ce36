"""Autoencoder: pictures to latents and back, in the form of Stable Diffusion's (factor 8, 4 channels)."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from training.pictures import as_bytes, as_input, mixed, sheet
from training.progress import Run

SCALING = 0.18215
"""Stable Diffusion's factor: latents times this have unit deviation. `normalise` makes it true."""

GROUPS = 2
"""Groups of channels that are normalised together: in groups of two the colour of a flat picture would be lost."""

KL_WEIGHT = 3e-5
BLOCK_WEIGHT = 4.0
"""Of the mean colours of 8 x 8 pixels: a latent's own part of the picture."""

EDGE_WEIGHT, FINAL_EDGE_WEIGHT = 0.15, 0.6
"""Of slopes, for the whole autoencoder and for the decoder alone: edges that count much hide colours for long."""

DISTURBANCE = 0.15
"""Largest deviation of what latents are disturbed by for the decoder, where they have 1."""
FULL_PRECISION_SHARE = 0.05
"""The last steps are taken in float32, the rest in bfloat16, which is half as dear on a CPU."""


def new_autoencoder(side: int) -> AutoencoderKL:
    """A model with random weights."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=GROUPS,
        sample_size=side,
        scaling_factor=SCALING,
    )


def slopes(picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Differences of neighbours, across and down."""
    return picture[..., 1:] - picture[..., :-1], picture[..., 1:, :] - picture[..., :-1, :]


def picture_loss(made: torch.Tensor, wanted: torch.Tensor, edges: float) -> torch.Tensor:
    """Distance of pixels, of the colours of blocks, and by the weight `edges` of slopes at two scales."""
    loss = functional.l1_loss(made, wanted) + 2 * functional.mse_loss(made, wanted)
    loss = loss + BLOCK_WEIGHT * functional.mse_loss(functional.avg_pool2d(made, 8), functional.avg_pool2d(wanted, 8))
    for scale in (1, 2):
        pair = functional.avg_pool2d(made, scale), functional.avg_pool2d(wanted, scale)
        loss = loss + edges * sum(
            functional.l1_loss(a, b) for a, b in zip(slopes(pair[0]), slopes(pair[1]), strict=True)
        )
    return loss


def train_autoencoder(
    folder: Path, *, side: int, pictures: int, steps: int, batch: int = 8, seed: int = 1
) -> AutoencoderKL:
    """Trains, or goes on with, the autoencoder in `folder`; its latents are normalised at the end."""
    torch.manual_seed(seed)
    model = new_autoencoder(side)
    run = Run("autoencoder", folder, model.parameters(), steps=steps, rate=2e-3, seed=seed)
    data = mixed(pictures, side, seed)
    shown = as_input(mixed(32, side, seed + 1))

    def loss_of(random: torch.Generator) -> torch.Tensor:
        wanted = as_input(data[torch.randint(len(data), (batch,), generator=random)])
        with torch.autocast("cpu", torch.bfloat16, enabled=run.step < steps * (1 - FULL_PRECISION_SHARE)):
            posterior = model.encode(wanted).latent_dist
            made = model.decode(posterior.sample(generator=random)).sample
        return (
            picture_loss(made.float(), wanted, EDGE_WEIGHT)
            + KL_WEIGHT * posterior.kl().float().mean() / posterior.mean[0].numel()
        )

    def watch() -> None:
        made = model.decode(model.encode(shown).latent_dist.mode()).sample
        both = torch.stack([shown, made], dim=1).flatten(0, 1)
        sheet(as_bytes(both), columns=16, scale=2).save(folder / "autoencoder.png")

    run.train(loss_of, watch)
    model.requires_grad_(False).eval()
    normalise(model, as_input(data[:512]))
    return model


def train_decoder(
    folder: Path, model: AutoencoderKL, *, pictures: int, steps: int, batch: int = 8, seed: int = 3
) -> None:
    """Goes on with the decoder alone: latents stay what they are, so the denoiser can be trained at the same time.

    Latents are disturbed a little, as the denoiser's will be.
    """
    model.requires_grad_(False)
    for part in (model.decoder, model.post_quant_conv):
        part.requires_grad_(True)
    parameters = [*model.decoder.parameters(), *model.post_quant_conv.parameters()]
    run = Run("decoder", folder, parameters, steps=steps, rate=1e-3, seed=seed)
    data = mixed(pictures, model.config.sample_size, seed)
    shown = as_input(mixed(32, model.config.sample_size, seed + 1))

    def loss_of(random: torch.Generator) -> torch.Tensor:
        wanted = as_input(data[torch.randint(len(data), (batch,), generator=random)])
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                latents = model.encode(wanted).latent_dist.mean
            error = torch.randn(latents.shape, generator=random)
            size = DISTURBANCE * torch.rand((batch, 1, 1, 1), generator=random)
            made = model.decode(latents + size / SCALING * error).sample
        return picture_loss(made.float(), wanted, FINAL_EDGE_WEIGHT)

    def watch() -> None:
        both = torch.stack([shown, model.decode(model.encode(shown).latent_dist.mode()).sample], dim=1).flatten(0, 1)
        sheet(as_bytes(both), columns=16, scale=2).save(folder / "decoder.png")

    run.train(loss_of, watch)
    model.requires_grad_(False).eval()


@torch.no_grad()
def normalise(model: AutoencoderKL, pictures: torch.Tensor) -> None:
    """Folds shift and scale of each latent channel into the two 1x1 convolutions around the latents.

    Afterwards latents of such pictures have mean 0 and deviation 1 / `SCALING`; what is decoded stays the same.
    """
    means = torch.cat([model.encode(part).latent_dist.mean for part in pictures.split(64)])
    shift = means.mean(dim=(0, 2, 3))
    gain = 1 / (SCALING * means.std(dim=(0, 2, 3)))
    into, out = model.quant_conv, model.post_quant_conv
    count = len(shift)
    into.weight[:count] *= gain[:, None, None, None]
    into.bias[:count] = (into.bias[:count] - shift) * gain
    into.bias[count:] += 2 * gain.log()
    out.bias += out.weight[:, :, 0, 0] @ shift
    out.weight /= gain[None, :, None, None]
