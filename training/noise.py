"""Noise: how latents are spoiled, and how much each guess of the noise counts."""

import torch
from diffusers import DDPMScheduler
from torch.nn import functional

NOISE_SCHEDULE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "steps_offset": 1,
    "prediction_type": "epsilon",
}

MIN_SNR = 5.0
"""Signal to noise ratio from which clean rows count no more (Hang et al. 2023)."""

_SCHEDULE = DDPMScheduler(**NOISE_SCHEDULE)


def noised(
    latents: torch.Tensor, random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noisy latents, the noise, the timesteps (n,) and the min-SNR weight of each row."""
    times = torch.randint(0, NOISE_SCHEDULE["num_train_timesteps"], (len(latents),), generator=random)
    noise = torch.randn(latents.shape, generator=random)
    kept = _SCHEDULE.alphas_cumprod[times]
    ratio = kept / (1 - kept)
    return _SCHEDULE.add_noise(latents, noise, times), noise, times, ratio.clamp(max=MIN_SNR) / ratio


def noise_loss(guessed: torch.Tensor, noise: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The weighted squared error of guesses."""
    return (functional.mse_loss(guessed, noise, reduction="none").mean(dim=(1, 2, 3)) * weight).mean()
