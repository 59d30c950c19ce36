"""The autoencoder: pictures to latents and back."""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from velesio.backends.diffusion import geometry, header, layout, weights
from velesio.backends.diffusion.blueprint import Part
from velesio.backends.diffusion.device import Device
from velesio.backends.diffusion.tiling import Seams
from velesio.errors import JobFailed


class Autoencoder:
    """A VAE on a device."""

    def __init__(self, network: AutoencoderKL, device: Device, scale: float) -> None:
        self.network = device.settle(network, device.vae_dtype)
        self.scale = scale
        self.bytes = sum(tensor.nbytes for tensor in network.state_dict().values())
        self._dtype = device.vae_dtype
        self._device = device
        self._shift = float(network.config.get("shift_factor") or 0.0)
        self._seams = Seams(network)

    @torch.inference_mode()
    def decode(self, latents: Tensor, *, tiling: bool = False) -> Tensor:
        """[n, channels, h, w] → [n, 3, height, width] between 0 and 1, on the processor.

        Raises:
            JobFailed: if the latents, or what becomes of them even in float32, are no numbers.
        """
        check(latents)
        pixels = self._decoded(latents, tiling=tiling)
        if not torch.isfinite(pixels).all() and self._dtype != torch.float32:
            self._widen()
            pixels = self._decoded(latents, tiling=tiling)
        if not torch.isfinite(pixels).all():
            raise JobFailed("the VAE gave no valid numbers (NaN); try another one")
        return (pixels / 2 + 0.5).clamp(0, 1)

    @torch.inference_mode()
    def encode(self, pixels: Tensor, *, tiling: bool = False) -> Tensor:
        """[n, 3, height, width] between 0 and 1 → [n, channels, h, w]: the middle of what they may be."""
        latents = self._encoded(pixels, tiling=tiling)
        if not torch.isfinite(latents).all() and self._dtype != torch.float32:
            self._widen()
            latents = self._encoded(pixels, tiling=tiling)
        return (latents - self._shift) * self.scale

    def _decoded(self, latents: Tensor, *, tiling: bool) -> Tensor:
        factor = 2 ** (len(self.network.config["block_out_channels"]) - 1)
        self._prepare(latents.shape[-1] * latents.shape[-2] * factor**2, tiling=tiling)
        try:
            given = (latents / self.scale + self._shift).to(self._device.place, self._dtype)
            network: Any = self.network
            found = network.decode(given, return_dict=False)[0]
            pixels: Tensor = found.float().cpu()
        finally:
            self._device.leave(self.network)
        return pixels

    def _encoded(self, pixels: Tensor, *, tiling: bool) -> Tensor:
        self._prepare(pixels.shape[-1] * pixels.shape[-2], tiling=tiling)
        try:
            given = (pixels * 2 - 1).to(self._device.place, self._dtype)
            network: Any = self.network
            found = network.encode(given, return_dict=False)[0]
            latents: Tensor = found.mode().float().to(self._device.place)
        finally:
            self._device.leave(self.network)
        return latents

    def _prepare(self, pixels: int, *, tiling: bool) -> None:
        self._seams.close(tiling)
        self.network.use_tiling = self._device.tiles(pixels) and not tiling
        self._device.enter(self.network)

    def _widen(self) -> None:
        """From now on in float32: half precision overflows in some autoencoders."""
        self._dtype = torch.float32
        nn.Module.to(self.network, dtype=torch.float32)


def build(part: Part, tensors: weights.Tensors, device: Device, scale: float) -> Autoencoder:
    """The autoencoder of a checkpoint.

    Raises:
        ModelLoadFailed: if tensors are missing or have other shapes.
    """
    with torch.device("meta"):
        network: Any = AutoencoderKL.from_config(part.config)
    renamed = weights.Renamed(tensors, _OLD_NAMES) if part.names is None else tensors
    weights.fill(network, renamed, part.names, device.vae_dtype, part.files[0])
    return Autoencoder(network, device, scale)


def load(path: Path, device: Device, scale: float, *, allow_pickle: bool) -> Autoencoder:
    """An autoencoder from a file of its own, whose names may have the prefix that they have in checkpoints.

    Raises:
        ModelLoadFailed: if it is none.
    """
    with weights.opened(path, allow_pickle=allow_pickle) as tensors:
        names = list(tensors)
        prefix = layout.VAE if any(name.startswith(layout.VAE) for name in names) else ""
        shapes = _shapes(path, tensors)
        if "decoder.conv_in.weight" not in {name.removeprefix(prefix) for name in names}:
            raise weights.unusable(path, "VAE")
        if any(".up_blocks." in name for name in names):
            raise weights.unusable(path, "VAE in the original layout")
        part = Part(geometry.vae(shapes, prefix), (path,), layout.vae(names, prefix))
        return build(part, tensors, device, scale)


def _shapes(path: Path, tensors: weights.Tensors) -> dict[str, tuple[int, ...]]:
    if path.suffix.lower() in weights.PICKLES:
        return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    return header.read(path).shapes


def check(latents: Tensor) -> None:
    """Nothing, if latents are numbers.

    Raises:
        JobFailed: what the UNet gave is none.
    """
    if not torch.isfinite(latents).all():
        raise JobFailed("the model gave no valid numbers (NaN); try another sampler, fewer words or dtype float32")


_OLD_NAMES = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}
"""What attention in autoencoders was called in the first diffusers models."""
