"""Denoiser: the UNet and the text encoder that steers it, trained together on latents with captions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.autoencoder import SCALING
from training.captions import caption, vocabulary
from training.pictures import as_input, captioned, sheet
from training.progress import Run
from training.tokenizer import LENGTH, write_tokenizer

VOCABULARY = 1024
WIDTH = 96
WORDINGS = 4
"""Captions made for each picture."""

EMPTY_SHARE = 0.1
MIN_SNR = 5.0
NOISE_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}

SHOWN = (
    "a red circle", "a blue star on a green background", "green tree", "a small pink heart", "a gray sword",
    "orange key on a black background", "two purple diamonds", "a large yellow coin", "white moon on a blue background",
    "a brown house", "a purple potion, white background", "black cross on the left", "three red squares",
    "a blue shield", "a pink ring at the top", "green triangle on a yellow background",
)  # fmt: skip


@dataclass(frozen=True)
class Captioned:
    """Latents (n, 4, h, w) at unit deviation and the tokens of their captions (n, wordings, 77)."""

    latents: torch.Tensor
    tokens: torch.Tensor


def new_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer in `folder`, written first when it is not there."""
    if not (folder / "merges.txt").exists():
        write_tokenizer(folder, vocabulary(np.random.default_rng(0)), VOCABULARY)
    return CLIPTokenizer.from_pretrained(folder)


def new_text_encoder() -> CLIPTextModel:
    """A text encoder with random weights."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            intermediate_size=4 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            bos_token_id=VOCABULARY - 2,
            eos_token_id=VOCABULARY - 1,
            pad_token_id=VOCABULARY - 1,
        )
    )


def new_unet(side: int) -> UNet2DConditionModel:
    """A UNet with random weights for pictures of this side."""
    return UNet2DConditionModel(
        sample_size=side // 8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(64, 128),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def tokens_of(tokenizer: CLIPTokenizer, texts: list[str]) -> torch.Tensor:
    """Token ids, shape (n, 77)."""
    return tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt").input_ids


@torch.no_grad()
def encode(
    autoencoder: AutoencoderKL, tokenizer: CLIPTokenizer, *, side: int, count: int, seed: int, style: str = "flat"
) -> Captioned:
    """Draws `count` pictures, and makes latents and tokens of them."""
    random = np.random.default_rng(seed)
    latents, tokens, pictures = [], [], []
    for scene, _, picture in captioned(count, side, seed, style):
        tokens.append(tokens_of(tokenizer, [caption(scene, random) for _ in range(WORDINGS)]).short())
        pictures.append(torch.from_numpy(picture.copy()))
        if len(pictures) == 64 or len(tokens) == count:
            batch = as_input(torch.stack(pictures).permute(0, 3, 1, 2))
            latents.append(autoencoder.encode(batch).latent_dist.mean * SCALING)
            pictures = []
    return Captioned(torch.cat(latents), torch.stack(tokens))


def noised(
    latents: torch.Tensor, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy latents, the noise, the timesteps (n,) and the min-SNR weight of each row."""
    schedule = DDPMScheduler(**NOISE_SCHEDULE)
    times = torch.randint(0, schedule.config.num_train_timesteps, (len(latents),), generator=random)
    noise = torch.randn(latents.shape, generator=random)
    kept = schedule.alphas_cumprod[times]
    ratio = kept / (1 - kept)
    return schedule.add_noise(latents, noise, times), noise, times, ratio.clamp(max=MIN_SNR) / ratio


def choose(
    data: Captioned, batch: int, empty: torch.Tensor, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """A random batch: latents and tokens, some of them those of the empty caption."""
    rows = torch.randint(len(data.latents), (batch,), generator=random)
    wordings = torch.randint(data.tokens.shape[1], (batch,), generator=random)
    tokens = data.tokens[rows, wordings].long()
    blank = torch.rand(batch, generator=random) < EMPTY_SHARE
    return data.latents[rows], torch.where(blank[:, None], empty, tokens)


def train_denoiser(
    folder: Path,
    autoencoder: AutoencoderKL,
    *,
    side: int,
    pictures: int,
    steps: int,
    sampling: int = 20,
    batch: int = 32,
    seed: int = 2,
) -> StableDiffusionPipeline:
    """Trains, or goes on with, the UNet and the text encoder in `folder`."""
    torch.manual_seed(seed)
    tokenizer = new_tokenizer(folder / "tokenizer")
    text, unet = new_text_encoder(), new_unet(side)
    cache = folder / "latents.pt"
    if not cache.exists():
        data = encode(autoencoder, tokenizer, side=side, count=pictures, seed=seed)
        torch.save((data.latents, data.tokens), cache)
    data = Captioned(*torch.load(cache, weights_only=True))
    empty = tokens_of(tokenizer, [""])
    run = Run("denoiser", folder, [*unet.parameters(), *text.parameters()], steps=steps, rate=1.5e-3, seed=seed)
    pipeline = pipeline_of(autoencoder, text, tokenizer, unet)

    def loss_of(random: torch.Generator) -> torch.Tensor:
        latents, tokens = choose(data, batch, empty, random)
        noisy, noise, times, weight = noised(latents, random)
        guessed = unet(noisy, times, text(tokens)[0]).sample
        return (functional.mse_loss(guessed, noise, reduction="none").mean(dim=(1, 2, 3)) * weight).mean()

    def watch() -> None:
        sheet(sample(pipeline, SHOWN, steps=sampling), columns=8, scale=2).save(folder / "denoiser.png")
        unet.save_pretrained(folder / "unet")
        text.save_pretrained(folder / "text_encoder")

    run.train(loss_of, watch)
    unet.requires_grad_(False).eval()
    text.requires_grad_(False).eval()
    return pipeline


def pipeline_of(
    autoencoder: AutoencoderKL, text: CLIPTextModel, tokenizer: CLIPTokenizer, unet: UNet2DConditionModel
) -> StableDiffusionPipeline:
    """diffusers' own pipeline around the parts, with DPM++ 2M Karras."""
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DPMSolverMultistepScheduler(
            **{key: value for key, value in NOISE_SCHEDULE.items() if key != "clip_sample"}, use_karras_sigmas=True
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def sample(
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[str],
    *,
    steps: int = 20,
    guidance: float = 4.0,
    seed: int = 0,
    **more: object,
) -> np.ndarray:
    """Pictures for prompts, the i-th from seed + i: uint8, shape (n, side, side, 3)."""
    made = []
    for first in range(0, len(prompts), 16):
        part = list(prompts[first : first + 16])
        generators = [torch.Generator().manual_seed(seed + first + i) for i in range(len(part))]
        options = {
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "generator": generators,
            "output_type": "np",
            **more,
        }
        made.append(pipeline(part, **options).images)
    return (np.concatenate(made) * 255).round().astype(np.uint8)
