"""A glimpse: how a picture looks while it is made: by a matrix, by a small autoencoder, or by the VAE."""

from collections.abc import Generator
from typing import TYPE_CHECKING

from torch import Tensor

from velesio.backends.diffusion import canvas, picture, preview
from velesio.backends.diffusion.calls import SMALL, Call

if TYPE_CHECKING:
    from velesio.backends.diffusion.request import Request


def taken(request: "Request", clean: Tensor) -> Generator[Call, Tensor, bytes]:
    """The file of clean latents [1, channels, h, w] in the way that a request wants it; empty: nobody can tell."""
    params, side = request.params, request.options.preview_size
    way, form = params.preview_by, (params.preview_form or params.form).upper()
    if way == "vae" or (way == "tiny" and request.models.small()):
        setting = request.setting if way == "vae" else request.setting._replace(vae=SMALL)
        pixels = yield picture.decode(setting, clean)
        return preview.small(canvas.of_tensor(pixels[0]), side=side, form=form)
    factors = preview.of_checkpoint(request.plan.family.name, request.plan.metadata)
    if factors is None:
        return b""
    return preview.encoded(clean[0].float().cpu().numpy(), factors, side=side, form=form)
