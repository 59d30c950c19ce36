"""Export: the parts of the checkpoint as one file in Stable Diffusion's original layout, float16."""

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel

from training.noise import NOISE_SCHEDULE
from training.pictures import as_input, mixed
from velesio.backends.diffusion import preview

METADATA = "velesio.config"
"""The key of the file's metadata that holds the parts' configurations as JSON."""

State = dict[str, torch.Tensor]

_OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_SIDE = re.compile(r"^(down|up)_blocks\.(\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$")
_MIDDLE = re.compile(r"^mid_block\.(resnets|attentions)\.(\d+)\.(.+)$")
_AUTOENCODER = (
    (r"\.down_blocks\.(\d+)\.resnets\.", r".down.\1.block."),
    (r"\.down_blocks\.(\d+)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.group_norm\.", ".mid.attn_1.norm."),
    (r"\.mid_block\.attentions\.0\.to_([qkv])\.", r".mid.attn_1.\1."),
    (r"\.mid_block\.attentions\.0\.to_out\.0\.", ".mid.attn_1.proj_out."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
)
_DECODER_LEVEL = re.compile(r"\.up_blocks\.(\d+)\.(resnets|upsamplers\.0)\.")


def unet_name(name: str, resnets: int, attentive: Iterable[int]) -> str:
    """The original name of a UNet's tensor; `resnets` a level on the way down, `attentive` up levels with attention."""
    stem, _, kind = name.rpartition(".")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.{kind}"
    if middle := _MIDDLE.match(name):
        place = f"middle_block.{2 * int(middle[2])}" if middle[1] == "resnets" else "middle_block.1"
        return f"{place}.{_inner(middle[1], middle[3])}"
    side = _SIDE.match(name)
    if side is None:
        raise KeyError(f"no original name for {name}")
    way, level, part, number, rest = side[1], int(side[2]), side[3], int(side[4]), side[5]
    first = level * (resnets + 1)
    if part == "downsamplers":
        return f"input_blocks.{first + resnets + 1}.0.{rest.replace('conv.', 'op.')}"
    if part == "upsamplers":
        return f"output_blocks.{first + resnets}.{2 if level in attentive else 1}.{rest}"
    place = f"input_blocks.{first + number + 1}" if way == "down" else f"output_blocks.{first + number}"
    return f"{place}.{0 if part == 'resnets' else 1}.{_inner(part, rest)}"


def _inner(part: str, rest: str) -> str:
    """The rest of a name inside a residual block; attention keeps its own."""
    stem, _, kind = rest.rpartition(".")
    return f"{_RESNET[stem]}.{kind}" if part == "resnets" else rest


def autoencoder_name(name: str, levels: int) -> str:
    """The original name of an autoencoder's tensor; the decoder's levels are counted from the other end."""
    if level := _DECODER_LEVEL.search(name):
        part = "block" if level[2] == "resnets" else "upsample"
        return _sub_all(f"{name[: level.start()]}.up.{levels - 1 - int(level[1])}.{part}.{name[level.end() :]}")
    return _sub_all(name)


def _sub_all(name: str) -> str:
    for pattern, replacement in _AUTOENCODER:
        name = re.sub(pattern, replacement, name)
    return name


def unet_state(unet: UNet2DConditionModel) -> State:
    """A UNet's tensors by their original names."""
    ups = unet.config.up_block_types
    attentive = [level for level, kind in enumerate(ups) if kind.startswith("CrossAttn")]
    names = {name: unet_name(name, unet.config.layers_per_block, attentive) for name in unet.state_dict()}
    return {f"model.diffusion_model.{names[name]}": tensor for name, tensor in unet.state_dict().items()}


def autoencoder_state(autoencoder: AutoencoderKL) -> State:
    """An autoencoder's tensors by their original names; its attention is made of 1x1 convolutions there."""
    levels = len(autoencoder.config.block_out_channels)
    state = {}
    for name, tensor in autoencoder.state_dict().items():
        original = autoencoder_name(name, levels)
        convolution = ".mid.attn_1." in original and tensor.ndim == 2
        state[f"first_stage_model.{original}"] = tensor[:, :, None, None] if convolution else tensor
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
