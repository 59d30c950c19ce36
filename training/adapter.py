"""Adapter: a style as a LoRA for the demo checkpoint, under the names of kohya's scripts."""

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from training.latents import choose, encode, tokens_of
from training.noise import noise_loss, noised
from training.progress import Run

RANK = 8


class LowRank(nn.Module):
    """A frozen linear layer or convolution, and what is added to it."""

    def __init__(self, inner: nn.Linear | nn.Conv2d, rank: int) -> None:
        super().__init__()
        self.inner = inner.requires_grad_(False)
        width = inner.weight[0].numel()
        self.down = nn.Parameter(torch.randn(rank, width) / width**0.5)
        self.up = nn.Parameter(torch.zeros(inner.weight.shape[0], rank))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer with its weight changed."""
        weight = self.inner.weight + (self.up @ self.down).reshape(self.inner.weight.shape)
        if isinstance(self.inner, nn.Linear):
            return functional.linear(x, weight, self.inner.bias)
        return functional.conv2d(x, weight, self.inner.bias, self.inner.stride, self.inner.padding)


def attach(unet: nn.Module, rank: int = RANK) -> dict[str, LowRank]:
    """Puts a low-rank change onto each layer of the attention and residual blocks; by their names."""
    chosen = {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and ("attentions" in name or ".conv" in name) and "blocks" in name
    }
    added = {}
    for name, module in chosen.items():
        parent, _, last = name.rpartition(".")
        added[name] = LowRank(module, rank)
        setattr(unet.get_submodule(parent), last, added[name])
    return added


def detach(unet: nn.Module, added: dict[str, LowRank]) -> None:
    """The model as it was."""
    for name, layer in added.items():
        parent, _, last = name.rpartition(".")
        setattr(unet.get_submodule(parent), last, layer.inner)


def adapter_state(added: dict[str, LowRank]) -> dict[str, torch.Tensor]:
    """The tensors of the file: two factors and alpha for each layer."""
    state = {}
    for name, layer in added.items():
        stem = f"lora_unet_{name.replace('.', '_')}"
        shape = layer.inner.weight.shape
        down = layer.down.reshape(len(layer.down), *shape[1:])
        state[f"{stem}.lora_down.weight"] = down.detach().half().contiguous()
        state[f"{stem}.lora_up.weight"] = layer.up.reshape(*layer.up.shape, *[1] * (len(shape) - 2)).detach().half()
        state[f"{stem}.alpha"] = torch.tensor(float(len(layer.down)))
    return state


def train_adapter(
    folder: Path,
    pipeline: StableDiffusionPipeline,
    path: Path,
    *,
    style: str,
    pictures: int,
    steps: int,
    batch: int = 16,
    seed: int = 4,
) -> None:
    """Trains the style in which `style` pictures are drawn, and writes it to `path`; the pipeline stays as it is."""
    torch.manual_seed(seed)
    unet, text = pipeline.unet, pipeline.text_encoder
    side = unet.config.sample_size * 8
    data = encode(pipeline.vae, pipeline.tokenizer, side=side, count=pictures, seed=seed, style=style)
    empty = tokens_of(pipeline.tokenizer, [""])
    added = attach(unet)
    run = Run(style, folder, [p for layer in added.values() for p in (layer.down, layer.up)], steps=steps, rate=2e-3)

    def loss_of(random: torch.Generator) -> torch.Tensor:
        latents, tokens = choose(data, batch, empty, random)
        noisy, noise, times, weight = noised(latents, random)
        return noise_loss(unet(noisy, times, text(tokens)[0]).sample, noise, weight)

    run.train(loss_of)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"ss_output_name": path.stem, "ss_network_dim": str(RANK), "ss_network_alpha": str(RANK)}
    save_file(adapter_state(added), path, {"format": "pt", **about})
    detach(unet, added)
