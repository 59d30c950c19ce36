"""Tiny checkpoints with random weights in the original layout, and what tests do with pictures."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image as Pil
from safetensors.torch import save_file

from training import original
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


def unet_state(network: Any, prefix: str = "model.diffusion_model.") -> State:
    config = network.config
    attending = original.attentive(config.get("up_block_types", []))
    return {
        prefix + original.unet_name(name, config["layers_per_block"], attending): tensor
        for name, tensor in network.state_dict().items()
    }


def vae_state(network: Any, prefix: str = "first_stage_model.") -> State:
    levels, state = len(network.config["block_out_channels"]), {}
    for name, tensor in network.state_dict().items():
        called = original.autoencoder_name(name, levels)
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
