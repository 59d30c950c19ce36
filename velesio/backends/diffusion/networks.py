"""The networks of one checkpoint on a device: text encoders, UNet, autoencoder, and how noisy their pictures are."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor

from velesio.backends.diffusion.autoencoder import Autoencoder
from velesio.backends.diffusion.blueprint import Blueprint
from velesio.backends.diffusion.conditioning import Conditioner, Context
from velesio.backends.diffusion.device import Device
from velesio.backends.diffusion.merging import Merging
from velesio.backends.diffusion.schedules import Levels
from velesio.backends.diffusion.tiling import Seams
from velesio.jobs import Framing


class Row(NamedTuple):
    """One row of a UNet's call: a noisy latent and what it is to become."""

    x: Tensor
    """[channels, h, w]: the picture plus sigma times noise."""
    sigma: float
    time: float
    """The timestep that the UNet is told."""
    context: Context
    negative: bool = False
    shown: Tensor | None = None
    """[channels, h, w] that the UNet of a model for inpainting sees besides: mask and masked picture."""
    framing: Framing = Framing()


class Residuals(NamedTuple):
    """What ControlNets add inside the UNet."""

    down: tuple[Tensor, ...]
    middle: Tensor


class Networks:
    """A loaded checkpoint."""

    def __init__(
        self,
        blueprint: Blueprint,
        device: Device,
        *,
        unet: UNet2DConditionModel,
        vae: Autoencoder,
        conditioner: Conditioner,
        levels: Levels,
        prediction: str = "epsilon",
    ) -> None:
        self.blueprint = blueprint
        self.device = device
        self.unet = device.settle(unet, device.dtype)
        self.vae = vae
        self.conditioner = conditioner
        self.levels = levels
        self.prediction = prediction
        self.bytes = sum(tensor.nbytes for tensor in unet.state_dict().values()) + vae.bytes
        """Of the networks that are kept loaded."""
        self.bytes += sum(
            tensor.nbytes for each in conditioner.readers for tensor in each.encoder.state_dict().values()
        )
        self._seams = Seams(unet)
        self._merging = Merging(unet)

    @torch.inference_mode()
    def predict(
        self,
        rows: Sequence[Row],
        *,
        tiling: bool = False,
        merging: float = 0.0,
        residuals: Residuals | None = None,
    ) -> Tensor:
        """The clean picture that the UNet sees in each row, [rows, channels, h, w] in float32."""
        self._seams.close(tiling)
        self._merging.share(merging, *rows[0].x.shape[-2:])
        given, times, context, added = self.inputs(rows)
        x = torch.stack([row.x for row in rows])
        sigmas = torch.tensor([row.sigma for row in rows], device=x.device).view(-1, 1, 1, 1)
        if rows[0].shown is not None:
            given = torch.cat([given, torch.stack([_shown(row) for row in rows]).to(given)], dim=1)
        self.device.enter(self.unet)
        try:
            out: Any = self.unet(
                given,
                times,
                context,
                added_cond_kwargs=added,
                down_block_additional_residuals=residuals.down if residuals else None,
                mid_block_additional_residual=residuals.middle if residuals else None,
                return_dict=False,
            )[0]
        finally:
            self.device.leave(self.unet)
        return self._clean(x, sigmas, out.float())

    def inputs(self, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor] | None]:
        """What UNet and ControlNets are given: latents at unit size, timesteps, prompts, and sizes where they count."""
        place, dtype = self.device.place, self.device.dtype
        x = torch.stack([row.x for row in rows])
        scales = torch.tensor([(row.sigma**2 + 1) ** -0.5 for row in rows], device=place).view(-1, 1, 1, 1)
        times = torch.tensor([row.time for row in rows], device=place)
        context = torch.stack([row.context.states for row in rows]).to(place, dtype)
        return (x * scales).to(dtype), times, context, self._sizes(rows)

    def _sizes(self, rows: Sequence[Row]) -> dict[str, Tensor] | None:
        family = self.blueprint.family
        if not family.sized:
            return None
        height, width = (side * self.blueprint.factor for side in rows[0].x.shape[-2:])
        told = []
        for row in rows:
            framing = row.framing
            rest = (framing.bad if row.negative else framing.good,) if family.rated else (height, width)
            told.append((height, width, framing.top, framing.left, *rest))
        pooled = torch.stack([row.context.pooled for row in rows if row.context.pooled is not None])
        return {
            "text_embeds": pooled.to(self.device.place, self.device.dtype),
            "time_ids": torch.tensor(told, device=self.device.place, dtype=self.device.dtype),
        }

    def _clean(self, x: Tensor, sigmas: Tensor, out: Tensor) -> Tensor:
        if self.prediction == "v_prediction":
            return x / (sigmas**2 + 1) - out * sigmas / (sigmas**2 + 1).sqrt()
        if self.prediction == "sample":
            return out
        return x - out * sigmas


def _shown(row: Row) -> Tensor:
    assert row.shown is not None  # noqa: S101 - all rows of a group are alike
    return row.shown
