"""The other contestant: diffusers' `StableDiffusionPipeline`, one job after the other, as it is meant to be used."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from velesio.backends.diffusion import loading
from velesio.backends.diffusion.device import Device
from velesio.backends.diffusion.options import Options
from velesio.backends.diffusion.text_encoder import TextEncoder
from velesio.backends.diffusion.tokenizer import Tokenizer
from velesio.jobs import Image

_NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


class Pipeline:
    """The pipeline on the weights of a checkpoint, in float32."""

    def __init__(self, path: Path) -> None:
        networks = loading.load(loading.Source(path, Options()), Device(Options()), lambda _part: None)
        unet = UNet2DConditionModel.from_config(networks.unet.config)
        unet.load_state_dict(networks.unet.state_dict())
        vae = AutoencoderKL.from_config(networks.vae.network.config)
        vae.load_state_dict(networks.vae.network.state_dict())
        reader = networks.conditioner.readers[0]
        self._pipe: Any = StableDiffusionPipeline(
            vae=vae.eval(),
            text_encoder=_text_encoder(reader.encoder, reader.tokenizer),
            tokenizer=_tokenizer(reader.tokenizer),
            unet=unet.eval(),
            scheduler=EulerDiscreteScheduler(**_NOISE),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        self._pipe.set_progress_bar_config(disable=True)
        self._schedulers = {
            "Euler": EulerDiscreteScheduler(**_NOISE),
            "DPM++ 2M": DPMSolverMultistepScheduler(**_NOISE, use_karras_sigmas=True),
        }

    def draw(self, jobs: Sequence[Image]) -> float:
        """Seconds for jobs one after the other, PNG files left out."""
        began = time.perf_counter()
        for job in jobs:
            self._pipe.scheduler = self._schedulers[job.sampler]
            self._pipe(
                job.prompt,
                negative_prompt=job.negative_prompt,
                width=job.width,
                height=job.height,
                num_inference_steps=job.steps,
                guidance_scale=job.cfg,
                generator=torch.Generator().manual_seed(job.seed),
            )
        return time.perf_counter() - began


def _text_encoder(encoder: TextEncoder, words: Tokenizer) -> CLIPTextModel:
    shape = encoder.shape
    config = CLIPTextConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=shape.positions,
        hidden_act=shape.activation,
        bos_token_id=words.begin,
        eos_token_id=words.end,
    )
    model = CLIPTextModel(config)
    own = model.state_dict()
    given = {name.removeprefix("text_model."): tensor for name, tensor in encoder.state_dict().items()}
    model.load_state_dict({name: given[name.removeprefix("text_model.")] for name in own})
    return model.eval()


def _tokenizer(words: Tokenizer) -> CLIPTokenizer:
    return CLIPTokenizer(vocab=words.vocabulary, merges=words.merges, model_max_length=77)
