"""Denoiser: the UNet and the text encoder that steers it, trained together on latents with captions."""

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from training.captions import vocabulary
from training.latents import Captioned, choose, encode, tokens_of
from training.noise import noise_loss, noised
from training.painting import pipeline_of, sample
from training.pictures import sheet
from training.progress import Run
from training.tokenizer import LENGTH, write_tokenizer

VOCABULARY = 1024
WIDTH = 96

SHOWN = (
    "a red circle", "a blue star on a green background", "green tree", "a small pink heart", "a gray sword",
    "orange key on a black background", "two purple diamonds", "a large yellow coin", "white moon on a blue background",
    "a brown house", "a purple potion, white background", "black cross on the left", "three red squares",
    "a blue shield", "a pink ring at the top", "green triangle on a yellow background",
)  # fmt: skip


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
        norm_num_groups=8,
    )


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
        return noise_loss(guessed, noise, weight)

    def watch() -> None:
        sheet(sample(pipeline, SHOWN, steps=sampling), columns=8, scale=2).save(folder / "denoiser.png")
        unet.save_pretrained(folder / "unet")
        text.save_pretrained(folder / "text_encoder")

    run.train(loss_of, watch)
    unet.requires_grad_(False).eval()
    text.requires_grad_(False).eval()
    return pipeline
