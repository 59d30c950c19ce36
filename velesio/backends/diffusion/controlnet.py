"""ControlNets: networks beside the UNet that look at a picture and say inside it where things are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from torch import Tensor
from torch.nn import functional

from velesio.backends.diffusion import layout, weights
from velesio.backends.diffusion.calls import Steered
from velesio.backends.diffusion.device import Device
from velesio.backends.diffusion.networks import Networks, Residuals, Row
from velesio.errors import ModelLoadFailed

_SHARED = (
    "in_channels",
    "down_block_types",
    "block_out_channels",
    "layers_per_block",
    "cross_attention_dim",
    "attention_head_dim",
    "norm_num_groups",
    "use_linear_projection",
    "transformer_layers_per_block",
    "addition_embed_type",
    "addition_time_embed_dim",
    "projection_class_embeddings_input_dim",
)
"""What a ControlNet has from the UNet that it was made for."""
_SOFT = 0.825
_LAST = 12
"""The number of the middle's residual in the first models: soft weights are counted back from there."""


def weights_of(count: int, weight: float, *, soft: bool) -> tuple[float, ...]:
    """Of `count` residuals, the middle's last. Soft ones let the prompt decide more, the outer the more."""
    return tuple(weight * (_SOFT ** (_LAST - number) if soft else 1.0) for number in range(count))


class Control:
    """A loaded ControlNet."""

    def __init__(self, network: ControlNetModel, device: Device) -> None:
        self.network = device.settle(network, device.dtype)
        self.bytes = sum(tensor.nbytes for tensor in network.state_dict().values())
        self.count = len(network.controlnet_down_blocks) + 1
        """Residuals, the middle's included."""
        self._device = device

    @classmethod
    def load(cls, path: Path, networks: Networks, device: Device, *, allow_pickle: bool) -> "Control":
        """From a file in the original layout or with diffusers' names, for the checkpoint that it is to steer.

        Raises:
            ModelLoadFailed: if it is no ControlNet or one for another kind of model.
        """
        with weights.opened(path, allow_pickle=allow_pickle) as tensors:
            names, widths, channels = _hints(path, tensors)
            config = {key: networks.unet.config[key] for key in _SHARED} | {
                "conditioning_embedding_out_channels": widths,
                "conditioning_channels": channels,
            }
            config["in_channels"] = networks.blueprint.channels
            with torch.device("meta"):
                network: Any = ControlNetModel.from_config(config)
            try:
                weights.fill(network, tensors, names, device.dtype, path)
            except ModelLoadFailed as error:
                raise ModelLoadFailed(
                    f"{error.message}; is it for another kind of model than {networks.blueprint.family.name}?"
                ) from None
        return cls(network, device)

    @torch.inference_mode()
    def residuals(self, networks: Networks, rows: Sequence[Row], steered: Sequence[Steered]) -> Residuals:
        """What it adds to each row, weighed; `steered` has one for each row."""
        given, times, context, added = networks.inputs(rows)
        hints = torch.stack([each.hint for each in steered]).to(given)
        self._device.enter(self.network)
        try:
            network: Any = self.network
            down, middle = network(
                given, times, context, controlnet_cond=hints, added_cond_kwargs=added, return_dict=False
            )
        finally:
            self._device.leave(self.network)
        shares = torch.tensor([each.weights for each in steered]).to(given)
        areas = _areas(steered, given)
        weighed = [_weighed(each, shares[:, number], areas) for number, each in enumerate([*down, middle])]
        return Residuals(tuple(weighed[:-1]), weighed[-1])


def added(one: Residuals | None, other: Residuals) -> Residuals:
    """Both at once."""
    if one is None:
        return other
    pairs = zip(one.down, other.down, strict=True)
    return Residuals(tuple(first + second for first, second in pairs), one.middle + other.middle)


def _weighed(residual: Tensor, shares: Tensor, areas: Tensor | None) -> Tensor:
    weighed = residual * shares.view(-1, 1, 1, 1)
    if areas is None:
        return weighed
    return weighed * functional.interpolate(areas, residual.shape[-2:], mode="area")


def _areas(steered: Sequence[Steered], like: Tensor) -> Tensor | None:
    if all(each.area is None for each in steered):
        return None
    whole = torch.ones((1, *like.shape[-2:]))
    return torch.stack([whole if each.area is None else each.area for each in steered]).to(like)


def _hints(path: Path, tensors: weights.Tensors) -> tuple[layout.Names | None, list[int], int]:
    """The names in the file (None: the network's), the widths of what reads the picture, and the picture's channels."""
    names = list(tensors)
    if "controlnet_cond_embedding.conv_in.weight" in names:
        first = tensors["controlnet_cond_embedding.conv_in.weight"]
        inner = (f"controlnet_cond_embedding.blocks.{number}.weight" for number in range(1, 99, 2))
        widths = [len(first), *(len(tensors[name]) for name in inner if name in tensors)]
        return None, widths, first.shape[1]
    prefix = layout.CONTROL if any(name.startswith(layout.CONTROL) for name in names) else ""
    if f"{prefix}input_hint_block.0.weight" not in names:
        raise weights.unusable(path, "ControlNet")
    stems = sorted(
        (int(name.split(".")[-2]), name)
        for name in names
        if name.startswith(f"{prefix}input_hint_block.") and name.endswith(".weight")
    )
    widths = [len(tensors[name]) for _, name in stems[:-1]][::2]
    return layout.unet(names, prefix), widths, tensors[f"{prefix}input_hint_block.0.weight"].shape[1]
