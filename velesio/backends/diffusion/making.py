"""Making: one picture of a request, from its first noise to its file."""

from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from velesio.backends.diffusion import canvas, facts, masks, picture, preparing, upscale
from velesio.backends.diffusion.calls import Call
from velesio.backends.diffusion.masks import Picture
from velesio.backends.diffusion.picture import Pass
from velesio.backends.diffusion.preparing import Begun, Prepared
from velesio.backends.diffusion.request import Request, on_device, size_of
from velesio.backends.diffusion.sizes import Size


def made(request: Request, prepared: Prepared, path: int) -> Generator[Call, Any, None]:
    """Draws a picture, a tile of one, or pictures of which each begins with the one before, and hands them to their
    request."""
    begun = _begun_of(prepared, path)
    numbers = range(path * request.loops, (path + 1) * request.loops)
    for number in numbers:
        drawn = yield from _drawn(request, prepared, begun, number)
        if begun is not None and request.params.inpaint is not None:
            request.masks[number] = begun.given.shown(drawn, request.params.inpaint)
        _hand_over(request, drawn, number)
        if number + 1 in numbers:
            prepared, begun = yield from preparing.again(request, prepared, drawn, number + 1)


def _hand_over(request: Request, drawn: Picture, number: int) -> None:
    index, params = number, request.params
    if request.tiles:
        whole = request.with_tile(number, drawn)
        if whole is None:
            return
        index, drawn = number // len(request.tiles), whole
    text = facts.text(request, index)
    inside = "" if facts.ALL in params.untold else text
    image = canvas.of_array(drawn)
    file = canvas.encoded(image, inside, params.form, params.quality, lossless=params.lossless)
    request.finished(index, file, text)


def _drawn(request: Request, prepared: Prepared, begun: Begun | None, index: int) -> Generator[Call, Tensor, Picture]:
    if begun is None:
        latents = yield from picture.from_noise(
            prepared.first, request.recipe(index), _place(request), request.watch(index, 0)
        )
    else:
        latents = yield from _changed(request, prepared.first, begun, index)
    if request.sizes.second is not None:
        latents = yield from _again(request, prepared, latents, index)
    pixels = yield picture.decode(request.decoding, latents)
    return _finished(request, canvas.of_tensor(pixels[0]), begun)


def _begun_of(prepared: Prepared, index: int) -> Begun | None:
    return prepared.begun[index % len(prepared.begun)] if prepared.begun else None


def _place(request: Request) -> torch.device:
    return request.models.own.device.place


def _changed(request: Request, told: Pass, begun: Begun, index: int) -> Generator[Call, Tensor, Tensor]:
    """Latents made of given ones."""
    params, recipe = request.params, request.recipe(index)
    told = told._replace(keeping=begun.keeping, shown=begun.shown)
    latents = begun.latents
    if begun.keeping is not None:
        noise = recipe.noise(told.shape).first.to(latents) if begun.content == "noise" else None
        latents = masks.begun(latents, begun.keeping.mask, noise, begun.content)
    found: Tensor = yield from picture.from_latents(
        told,
        latents,
        recipe,
        _place(request),
        request.watch(index, 0),
        multiplier=params.noise_multiplier,
        extra=params.extra_noise,
    )
    return found


def _again(request: Request, prepared: Prepared, latents: Tensor, index: int) -> Generator[Call, Tensor, Tensor]:
    """The second pass: enlarged, and drawn again."""
    latents = yield from _larger(request, latents)
    told = prepared.second
    if told is None:
        return latents
    begin = prepared.first.span.length
    watch = request.watch(index, begin)
    found: Tensor = yield from picture.from_latents(told, latents, request.recipe(index), _place(request), watch)
    return found


def _larger(request: Request, latents: Tensor) -> Generator[Call, Tensor, Tensor]:
    hires, size = request.params.hires, request.sizes.second
    assert hires is not None and size is not None  # noqa: S101, PT018 - the caller looked
    cover = request.sizes.covered or size
    upscaler = upscale.found(hires.upscaler or "Latent", request.models.library.upscalers.files)
    factor = request.plan.factor
    if upscaler in upscale.LATENT_MODES:
        return _middle(upscale.latents(latents, *size_of(cover, factor), upscaler), *size_of(size, factor))
    pixels = yield picture.decode(request.decoding, latents)
    enlarged = upscale.upscaled(canvas.of_tensor(pixels[0]), *cover, request.models.upscaler(upscaler), request.cuts)
    cut = _middle_of(enlarged, size)
    return on_device((yield picture.encode(request.encoding, canvas.tensor_of(cut))), _place(request))


def _middle(latents: Tensor, height: int, width: int) -> Tensor:
    top, left = (latents.shape[-2] - height) // 2, (latents.shape[-1] - width) // 2
    return latents[..., top : top + height, left : left + width].contiguous()


def _middle_of(pixels: Picture, size: Size) -> Picture:
    top, left = (pixels.shape[0] - size.height) // 2, (pixels.shape[1] - size.width) // 2
    return np.ascontiguousarray(pixels[top : top + size.height, left : left + size.width])


def _finished(request: Request, drawn: Picture, begun: Begun | None) -> Picture:
    """With its colours corrected, put back where it came from, at the size that was asked for."""
    result = request.sizes.result
    if begun is None:
        return _enlarged(drawn, result)
    if request.params.color_correction:
        like = canvas.of_array(begun.given.picture)
        drawn = canvas.array_of(canvas.recoloured(canvas.of_array(drawn), like))
    if begun.given.under is None:
        return _enlarged(drawn, result)
    return begun.given.finished(drawn)


def _enlarged(drawn: Picture, size: Size) -> Picture:
    if (drawn.shape[1], drawn.shape[0]) == tuple(size):
        return drawn
    return upscale.upscaled(drawn, *size, upscale.LANCZOS)
