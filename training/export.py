"""Export: the parts of the checkpoint as one file in Stable Diffusion's original layout, float16."""

import json
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel

from training import original
from training.noise import NOISE_SCHEDULE
from training.pictures import as_input, mixed
from velesio.backends.diffusion import preview

METADATA = "velesio.config"
"""The key of the file's metadata that holds the parts' configurations as JSON."""

State = dict[str, torch.Tensor]


def unet_state(unet: UNet2DConditionModel) -> State:
    """A UNet's tensors by their original names."""
    attending = original.attentive(unet.config.up_block_types)
    return {
        f"model.diffusion_model.{original.unet_name(name, unet.config.layers_per_block, attending)}": tensor
        for name, tensor in unet.state_dict().items()
    }


def autoencoder_state(autoencoder: AutoencoderKL) -> State:
    """An autoencoder's tensors by their original names; its attention is made of 1x1 convolutions there."""
    levels = len(autoencoder.config.block_out_channels)
    state = {}
    for name, tensor in autoencoder.state_dict().items():
        called = original.autoencoder_name(name, levels)
        convolution = ".mid.attn_1." in called and tensor.ndim == 2
        state[f"first_stage_model.{called}"] = tensor[:, :, None, None] if convolution else tensor
    return state


def text_state(text: CLIPTextModel) -> State:
    """A text encoder's tensors by their original names."""
    return {
        f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}": tensor
        for name, tensor in text.state_dict().items()
        if not name.endswith("position_ids")
    }


def configurations(pipeline: StableDiffusionPipeline) -> dict[str, dict[str, object]]:
    """What shapes do not say of each part."""
    return {
        "unet": {key: pipeline.unet.config[key] for key in ("sample_size", "attention_head_dim", "norm_num_groups")},
        "vae": {key: pipeline.vae.config[key] for key in ("sample_size", "scaling_factor", "norm_num_groups")},
        "text_encoder": {
            key: getattr(pipeline.text_encoder.config, key) for key in ("num_attention_heads", "eos_token_id")
        },
        "scheduler": dict(NOISE_SCHEDULE),
    }


@torch.no_grad()
def preview_factors(autoencoder: AutoencoderKL, count: int = 256) -> preview.Factors:
    """The matrix that shows this autoencoder's latents as colours, fitted on drawn pictures."""
    pictures = mixed(count, autoencoder.config.sample_size, seed=0)
    latents = torch.cat([autoencoder.encode(as_input(part)).latent_dist.mean for part in pictures.split(64)])
    scaled = latents * autoencoder.config.scaling_factor
    return preview.fitted(scaled.numpy(), pictures.permute(0, 2, 3, 1).numpy())


def export(pipeline: StableDiffusionPipeline, path: Path, about: dict[str, str]) -> None:
    """Writes the checkpoint at `path`, and beside it a folder of its name with the configuration of each part.

    The folder has the form of a diffusers model without weights, so that `from_single_file(path, config=folder)` works.
    """
    state = unet_state(pipeline.unet) | autoencoder_state(pipeline.vae) | text_state(pipeline.text_encoder)
    path.parent.mkdir(parents=True, exist_ok=True)
    factors = preview_factors(pipeline.vae).to_json()
    metadata = {"format": "pt", METADATA: json.dumps(configurations(pipeline)), preview.METADATA: factors, **about}
    save_file({name: tensor.half().contiguous() for name, tensor in sorted(state.items())}, path, metadata)
    folder = path.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    pipeline.save_config(folder)
    for name in ("unet", "vae", "scheduler"):
        getattr(pipeline, name).save_config(folder / name)
    pipeline.text_encoder.config.save_pretrained(folder / "text_encoder")
    write_tokenizer_files(pipeline, folder / "tokenizer")


def write_tokenizer_files(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Copies the four files of the tokenizer from where it was loaded."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(Path(pipeline.tokenizer.name_or_path) / name, folder / name)
