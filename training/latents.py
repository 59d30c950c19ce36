"""Latents: drawn pictures with captions as the denoiser sees them."""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTokenizer

from training.autoencoder import SCALING
from training.captions import caption
from training.pictures import as_input, captioned
from training.tokenizer import LENGTH

WORDINGS = 4
"""Captions made for each picture."""

EMPTY_SHARE = 0.1
"""How often a caption is left out, for guidance."""


@dataclass(frozen=True)
class Captioned:
    """Latents (n, 4, h, w) at unit deviation and the tokens of their captions (n, wordings, 77)."""

    latents: torch.Tensor
    tokens: torch.Tensor


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


def choose(
    data: Captioned, batch: int, empty: torch.Tensor, random: torch.Generator, *, rows: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch, of random rows unless they are given: latents and tokens, some of them those of the empty caption."""
    if rows is None:
        rows = torch.randint(len(data.latents), (batch,), generator=random)
    wordings = torch.randint(data.tokens.shape[1], (batch,), generator=random)
    tokens = data.tokens[rows, wordings].long()
    blank = torch.rand(batch, generator=random) < EMPTY_SHARE
    return data.latents[rows], torch.where(blank[:, None], empty, tokens)
