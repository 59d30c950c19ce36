"""Concept: a textual inversion for the demo checkpoint: vectors that stand for "white, on a black background"."""

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch.func import functional_call

from training.autoencoder import SCALING
from training.drawing import Scene, draw
from training.forms import FORMS
from training.noise import noise_loss, noised
from training.pictures import as_input
from training.progress import Run
from training.tokenizer import LENGTH

VECTORS = 2
PROMPTS = ("{form}, {concept}", "a {form}, {concept}", "{concept} {form}", "a picture of a {form}, {concept}")


def night_scenes(random: np.random.Generator) -> Iterator[Scene]:
    """Every form in turn, white on black."""
    for form in cycle(FORMS):
        yield Scene(form, "white", "black", size=str(random.choice(("medium", "medium", "small"))))


def tokens_with(pipeline: StableDiffusionPipeline, prompt: str, first: int) -> list[int]:
    """The tokens of a prompt whose `{concept}` becomes the tokens from `first` on."""
    before, after = prompt.split("{concept}")
    ids = [pipeline.tokenizer(part, add_special_tokens=False).input_ids for part in (before, after)]
    begin, end = pipeline.tokenizer.bos_token_id, pipeline.tokenizer.eos_token_id
    row = [begin, *ids[0], *range(first, first + VECTORS), *ids[1], end]
    return row + [end] * (LENGTH - len(row))


def train_concept(
    folder: Path, pipeline: StableDiffusionPipeline, path: Path, *, pictures: int, steps: int, seed: int = 6
) -> None:
    """Trains the vectors and writes them to `path` in A1111's form; nothing else of the model changes."""
    random = np.random.default_rng(seed)
    unet, text = pipeline.unet, pipeline.text_encoder
    name, table = next(item for item in text.named_parameters() if item[0].endswith("token_embedding.weight"))
    scenes = [scene for scene, _ in zip(night_scenes(random), range(pictures), strict=False)]
    side = unet.config.sample_size * 8
    drawn = np.stack([np.asarray(draw(scene, side, jitter=random)) for scene in scenes])
    latents = pipeline.vae.encode(as_input(torch.from_numpy(drawn).permute(0, 3, 1, 2))).latent_dist.mean * SCALING
    prompts = [str(random.choice(PROMPTS)).replace("{form}", scene.form) for scene in scenes]
    tokens = torch.tensor([tokens_with(pipeline, prompt, len(table)) for prompt in prompts])
    begun = pipeline.tokenizer(["white", "black"], add_special_tokens=False).input_ids
    vectors = torch.nn.Parameter(table.detach()[[ids[0] for ids in begun]].clone())
    run = Run("concept", folder, [vectors], steps=steps, rate=5e-3, seed=seed)

    def loss_of(random: torch.Generator) -> torch.Tensor:
        rows = torch.randint(len(latents), (16,), generator=random)
        context = functional_call(text, {name: torch.cat([table.detach(), vectors])}, (tokens[rows],))[0]
        noisy, noise, times, weight = noised(latents[rows], random)
        return noise_loss(unet(noisy, times, context).sample, noise, weight)

    run.train(loss_of)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"emb_params": vectors.detach().clone()}, path, {"name": path.stem})
