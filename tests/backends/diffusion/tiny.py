"""Tiny checkpoints with random weights in the original layout, and what tests do with pictures."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image as Pil
from safetensors.torch import save_file

from velesio.backends.diffusion.text_encoder import TextEncoder, TextShape

State = dict[str, torch.Tensor]

UNET = {
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 32,
    "attention_head_dim": 8,
    "norm_num_groups": 32,
}
VAE = {
    "block_out_channels": [32, 32, 32, 32],
    "layers_per_block": 1,
    "latent_channels": 4,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
}
TEXT = TextShape(vocabulary=49408, width=32, layers=2, heads=1, inner=64)

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_OUTER = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "controlnet_mid_block": "middle_block_out.0",
    "controlnet_cond_embedding.conv_in": "input_hint_block.0",
}
_VAE = [
    (r"\.down_blocks\.(\d+)\.resnets\.(\d+)\.", r".down.\1.block.\2."),
    (r"\.down_blocks\.(\d+)\.downsamplers\.0\.", r".down.\1.downsample."),
    (r"\.mid_block\.resnets\.0\.", ".mid.block_1."),
    (r"\.mid_block\.resnets\.1\.", ".mid.block_2."),
    (r"\.mid_block\.attentions\.0\.group_norm\.", ".mid.attn_1.norm."),
    (r"\.mid_block\.attentions\.0\.to_([qkv])\.", r".mid.attn_1.\1."),
    (r"\.mid_block\.attentions\.0\.to_out\.0\.", ".mid.attn_1.proj_out."),
    (r"\.conv_shortcut\.", ".nin_shortcut."),
    (r"\.conv_norm_out\.", ".norm_out."),
]


def unet_name(name: str, resnets: int, attends: list[bool]) -> str:
    """The original name; `attends`: which levels of the way up have attention."""
    stem, _, kind = name.rpartition(".")
    if stem in _OUTER:
        return f"{_OUTER[stem]}.{kind}"
    if stem == "controlnet_cond_embedding.conv_out":
        return f"input_hint_block.14.{kind}"
    if hint := re.match(r"controlnet_cond_embedding\.blocks\.(\d+)$", stem):
        return f"input_hint_block.{2 * int(hint[1]) + 2}.{kind}"
    if zero := re.match(r"controlnet_down_blocks\.(\d+)$", stem):
        return f"zero_convs.{zero[1]}.0.{kind}"
    side, part, number, rest = re.match(
        r"(mid_block|(?:down|up)_blocks\.\d+)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)$", name
    ).groups()
    if part == "resnets":
        inner, _, end = rest.rpartition(".")
        rest = f"{_RESNET[inner]}.{end}"
    if side == "mid_block":
        return f"middle_block.{2 * int(number) if part == 'resnets' else 1}.{rest}"
    level = int(side.split(".")[1])
    if side.startswith("down"):
        place = 1 + level * (resnets + 1) + (resnets if part == "downsamplers" else int(number))
        rest = rest.replace("conv.", "op.", 1) if part == "downsamplers" else rest
        return f"input_blocks.{place}.{int(part == 'attentions')}.{rest}"
    place = level * (resnets + 1) + (resnets if part == "upsamplers" else int(number))
    column = 1 + attends[level] if part == "upsamplers" else int(part == "attentions")
    return f"output_blocks.{place}.{column}.{rest}"


def unet_state(network: Any, prefix: str = "model.diffusion_model.") -> State:
    config = network.config
    attends = [kind.startswith("Cross") for kind in config.get("up_block_types", [])]
    return {
        prefix + unet_name(name, config["layers_per_block"], attends): tensor
        for name, tensor in network.state_dict().items()
    }


def vae_state(network: Any, prefix: str = "first_stage_model.") -> State:
    last = len(network.config["block_out_channels"]) - 1
    state = {}
    for name, tensor in network.state_dict().items():
        called = re.sub(
            r"\.up_blocks\.(\d+)\.resnets\.(\d+)\.", lambda m: f".up.{last - int(m[1])}.block.{m[2]}.", name
        )
        called = re.sub(r"\.up_blocks\.(\d+)\.upsamplers\.0\.", lambda m: f".up.{last - int(m[1])}.upsample.", called)
        for pattern, replacement in _VAE:
            called = re.sub(pattern, replacement, called)
        attention = ".attn_1." in called and tensor.dim() == 2
        state[prefix + called] = tensor[:, :, None, None] if attention else tensor
    return state


def text_state(network: TextEncoder, prefix: str = "cond_stage_model.transformer.") -> State:
    return {prefix + name: tensor for name, tensor in network.state_dict().items()}


def networks(seed: int = 0, unet: dict[str, Any] = UNET, vae: dict[str, Any] = VAE) -> tuple[Any, Any, TextEncoder]:
    """Random ones, whose pictures differ visibly by prompt and seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = UNet2DConditionModel.from_config(unet)
        coder = AutoencoderKL.from_config(vae)
        text = TextEncoder(TEXT)
        text.text_model.final_layer_norm.bias.data.fill_(0.1)  # a mean, as trained encoders have one
    return made.eval(), coder.eval(), text.eval()


def write(path: Path, seed: int = 0, *, half: bool = False, unet: dict[str, Any] = UNET, **metadata: Any) -> Path:
    """A checkpoint as Stable Diffusion 1's are."""
    made, coder, text = networks(seed, unet)
    state = unet_state(made) | vae_state(coder) | text_state(text)
    dtype = torch.float16 if half else torch.float32
    path.parent.mkdir(parents=True, exist_ok=True)
    said = {"velesio.config": json.dumps({"unet": {"sample_size": 64}} | metadata)}
    save_file({name: tensor.to(dtype).contiguous() for name, tensor in state.items()}, path, said)
    return path


def furnish(place: Path) -> None:
    """A second checkpoint, and a file of each kind that jobs may name."""
    generator = torch.Generator().manual_seed(1)
    unet, _, _ = networks()
    write(place / "checkpoints" / "other.safetensors", 5)
    style = {}
    for name, module in unet.named_modules():
        if name.endswith(("to_q", "conv1")):
            style |= low_rank(f"lora_unet_{name.replace('.', '_')}", module.weight, generator)
    save(place / "loras" / "style.safetensors", style)
    save(place / "embeddings" / "sparkle.safetensors", {"emb_params": torch.randn(3, 32, generator=generator)})
    save(place / "vae" / "soft.safetensors", vae_state(networks(9)[1], ""))
    control = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16, 16))
    for parameter in control.parameters():
        torch.nn.init.normal_(parameter, std=0.05, generator=generator)
    save(place / "controlnet" / "edges.safetensors", unet_state(control, "control_model."))
    save(place / "controlnet" / "edges-diffusers.safetensors", control.state_dict())


def low_rank(name: str, weight: torch.Tensor, generator: torch.Generator, rank: int = 4) -> State:
    """A LoRA's tensors for one weight, in kohya's form."""
    sides = [1, 1] if weight.dim() == 4 else []
    return {
        f"{name}.lora_down.weight": torch.randn(rank, *weight.shape[1:], generator=generator) * 0.3,
        f"{name}.lora_up.weight": torch.randn(weight.shape[0], rank, *sides, generator=generator) * 0.3,
        f"{name}.alpha": torch.tensor(float(rank)),
    }


def save(path: Path, state: State) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().contiguous() for name, tensor in state.items()}, path)
    return path


def pixels(file: bytes) -> Any:
    """A picture file as numbers from 0 to 255."""
    return np.asarray(Pil.open(io.BytesIO(file)).convert("RGB")).astype(np.int16)


def png(array: Any) -> bytes:
    out = io.BytesIO()
    Pil.fromarray(np.asarray(array, dtype=np.uint8)).save(out, "PNG")
    return out.getvalue()


def difference(one: bytes, other: bytes) -> int:
    """The largest difference of two pictures' pixels."""
    return int(np.abs(pixels(one) - pixels(other)).max())
