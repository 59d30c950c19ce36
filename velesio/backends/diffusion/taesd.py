"""TAESD: small autoencoders (Ollin Boer Bohan's, with weights of their own) that stand in for a VAE: quick, less exact.

Their files lie in `taesd/`: `taesd` for Stable Diffusion 1 and 2, `taesdxl` for XL, or one called as a checkpoint. Each
is one file with diffusers' names, or two, `…_encoder` and `…_decoder`, with the original ones.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from diffusers.models.autoencoders.vae import DecoderTiny, EncoderTiny
from torch import Tensor, nn

from velesio.backends.diffusion import autoencoder, weights
from velesio.backends.diffusion.blueprint import Blueprint
from velesio.backends.diffusion.device import Device
from velesio.backends.diffusion.layout import Names, Piece
from velesio.backends.diffusion.tiling import Seams
from velesio.errors import BadRequest, JobFailed

ENCODER, DECODER = "encoder", "decoder"
_BLOCKS = (1, 3, 3, 3)
"""Residual blocks at each size, of the encoder; the decoder has them the other way round."""
_BEGINS = {ENCODER: {"encoder.layers.": 0, "": 0}, DECODER: {"decoder.layers.": 0, "": 1}}
"""How names in files begin, and by how much their layers are counted differently: the original decoder's first layer
has no weights and is none of diffusers'."""


class Taesd:
    """One of them, with one side or both."""

    def __init__(self, sides: dict[str, nn.Module], device: Device) -> None:
        self._sides = {name: device.settle(network, device.dtype) for name, network in sides.items()}
        self._seams = {name: Seams(network) for name, network in sides.items()}
        self._device = device
        self.bytes = sum(each.nbytes for network in sides.values() for each in network.state_dict().values())

    @torch.inference_mode()
    def decode(self, latents: Tensor, *, tiling: bool = False) -> Tensor:
        """[n, channels, h, w] → [n, 3, height, width] between 0 and 1, on the processor.

        Raises:
            JobFailed: there is no decoder, or the latents are no numbers.
        """
        autoencoder.check(latents)
        return (self._run(DECODER, latents, tiling=tiling).cpu() / 2 + 0.5).clamp(0, 1)

    @torch.inference_mode()
    def encode(self, pixels: Tensor, *, tiling: bool = False) -> Tensor:
        """[n, 3, height, width] between 0 and 1 → [n, channels, h, w]."""
        return self._run(ENCODER, pixels * 2 - 1, tiling=tiling)

    def _run(self, name: str, given: Tensor, *, tiling: bool) -> Tensor:
        network = self._sides.get(name)
        if network is None:
            raise JobFailed(f"taesd/ has no {name} for this model")
        self._seams[name].close(tiling)
        self._device.enter(network)
        try:
            made: Tensor = network(given.to(self._device.place, self._device.dtype))
            return made.float()
        finally:
            self._device.leave(network)


def load(files: Sequence[Path], device: Device, *, allow_pickle: bool) -> Taesd:
    """From one file, or from one of each side.

    Raises:
        ModelLoadFailed: if they are none.
    """
    sides: dict[str, nn.Module] = {}
    with ExitStack() as stack:
        for path in files:
            tensors = stack.enter_context(weights.opened(path, allow_pickle=allow_pickle))
            for name in (ENCODER, DECODER):
                if name not in sides and (network := _side(name, path, tensors, device)) is not None:
                    sides[name] = network
    if not sides:
        raise weights.unusable(files[0], "TAESD")
    return Taesd(sides, device)


def _side(name: str, path: Path, tensors: weights.Tensors, device: Device) -> nn.Module | None:
    """The encoder or the decoder in a file; None: it has the other one."""
    begin, shift = next(
        (item for item in _BEGINS[name].items() if item[0] and f"{item[0]}0.weight" in tensors),
        ("", _BEGINS[name][""]),
    )
    first = tensors.get(f"{begin}{shift}.weight")
    if first is None or (not begin and not path.stem.endswith(f"_{name}")):
        return None
    outer = [tensor for key, tensor in tensors.items() if key.startswith(begin) and key.endswith(".weight")]
    widths = (len(first),) * len(_BLOCKS)
    inside = first.shape[1] if name == DECODER else min(len(tensor) for tensor in outer)
    with torch.device("meta"):
        network: nn.Module = (
            EncoderTiny(3, inside, _BLOCKS, widths, "relu")
            if name == ENCODER
            else DecoderTiny(inside, 3, _BLOCKS[::-1], widths, 2, "relu", "nearest")
        )
    weights.fill(network, tensors, _names(network, begin, shift), device.dtype, path)
    return network


def _names(network: nn.Module, begin: str, shift: int) -> Names:
    found: Names = {}
    for name in network.state_dict():
        _, number, rest = name.split(".", 2)
        found[name] = Piece(f"{begin}{int(number) + shift}.{rest}")
    return found


def stems(plan: Blueprint) -> tuple[str, ...]:
    """Under which names one may lie for a checkpoint, the best first."""
    return plan.path.stem, "taesdxl" if plan.family.sized else "taesd"


def missing(plan: Blueprint) -> BadRequest:
    """The refusal where there is none."""
    return BadRequest(f"there is no TAESD for this model: put {stems(plan)[-1]}.safetensors into taesd/")
