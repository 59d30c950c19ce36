"""Painting: pictures from prompts by diffusers' own pipeline."""

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from training.noise import NOISE_SCHEDULE


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
