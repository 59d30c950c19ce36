"""Preparing: what the pictures of a request share, computed once: prompts, given pictures, control pictures, passes."""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from velesio.backends.diffusion import canvas, given, masks, passes, picture, preprocess, prompt, upscale
from velesio.backends.diffusion.calls import Call, Key, Setting, Steered, Words
from velesio.backends.diffusion.conditioning import Context
from velesio.backends.diffusion.controlnet import weights_of
from velesio.backends.diffusion.given import Given
from velesio.backends.diffusion.guidance import Guide, Variant, Wish
from velesio.backends.diffusion.masks import Content, Picture
from velesio.backends.diffusion.networks import Networks
from velesio.backends.diffusion.passes import Span
from velesio.backends.diffusion.picture import Keeping, Pass, Refining, Steering
from velesio.backends.diffusion.request import Request, on_device, size_of
from velesio.backends.diffusion.samplers import Choice
from velesio.backends.diffusion.sizes import Size
from velesio.errors import BadRequest
from velesio.jobs import Control

Reading = Generator[Call, Any, Guide]


class Begun(NamedTuple):
    """What one picture begins with, where something is given."""

    given: Given
    latents: Tensor
    """[1, channels, h, w] of it."""
    keeping: Keeping | None
    shown: Tensor | None
    content: Content = "original"
    """What the masked part holds to begin with."""


class Prepared(NamedTuple):
    """All of it."""

    first: Pass
    second: Pass | None
    begun: tuple[Begun, ...]
    """One for all pictures or one for each; empty: they begin with noise."""


def prepare(request: Request) -> Generator[Call, Any, Prepared]:
    """Asks for everything that the pictures share.

    Raises:
        VelesioError: if something that the job names is not there or does not fit.
    """
    params, networks = request.params, request.models.own
    first = _span(request, request.choice, networks, params.denoising)
    guide = yield from _guide(
        request, (request.prompt, params.negative_prompt), request.setting, params.cfg, first.steps
    )
    steering = _steering(request, request.sizes.drawn, high=False)
    refining = yield from _refining(request, first.steps)
    begun = yield from _begun(request)
    told = Pass(
        choice=request.choice,
        span=first,
        solving=params.solving,
        guide=guide._replace(cfg=guide.cfg * request.choice.guidance_share),
        setting=request.setting,
        levels=networks.levels,
        shape=(networks.blueprint.channels, *size_of(request.sizes.drawn, networks.blueprint.factor)),
        steering=steering,
        refining=refining,
    )
    if not begun and networks.blueprint.inpaints:
        told = told._replace(shown=(yield from _nothing_shown(request)))
    second = yield from _second(request, told)
    request.steps = first.length + (second.span.length if second else 0)
    return Prepared(told, second, tuple(begun))


def again(
    request: Request, prepared: Prepared, drawn: Picture, number: int
) -> Generator[Call, Any, tuple[Prepared, Begun]]:
    """What a loop begins with: the picture that was drawn before it, and as much of the schedule as is its own."""
    params, sizes = request.params, request.sizes
    span = _span(request, request.choice, request.models.own, request.denoising_of(number))
    first = prepared.first
    if span.steps != first.span.steps:
        texts = (request.prompt, params.negative_prompt)
        guide = yield from _guide(request, texts, request.setting, params.cfg, span.steps)
        first = first._replace(guide=guide._replace(cfg=first.guide.cfg))
    if params.inpaint is not None:
        params = msgspec.structs.replace(params, inpaint=msgspec.structs.replace(params.inpaint, content="original"))
    begun = yield from _encoded(request, given.of_picture(drawn, params, sizes.drawn, sizes.result), "original")
    return prepared._replace(first=first._replace(span=span)), begun


def _span(request: Request, choice: Choice, networks: Networks, strength: float) -> Span:
    params = request.params
    if not params.init:
        return passes.from_noise(choice, networks.levels, params.steps, params.solving)
    return passes.from_picture(
        choice,
        networks.levels,
        params.steps,
        params.solving,
        strength=strength,
        exact=params.exact_steps,
    )


def _second(request: Request, first: Pass) -> Generator[Call, Any, Pass | None]:
    """The second pass, if one is asked for."""
    params, hires, size = request.params, request.params.hires, request.sizes.second
    if hires is None or size is None or not hires.denoising:
        return None
    setting = request.setting._replace(checkpoint=hires.checkpoint)
    networks = request.models.networks(hires.checkpoint)
    if networks.blueprint.channels != request.plan.channels or networks.vae.scale != request.models.own.vae.scale:
        raise BadRequest(f"{hires.checkpoint!r} understands other latents than this model", param="hires.checkpoint")
    choice = request.second_choice
    span = passes.from_picture(
        choice,
        networks.levels,
        hires.steps or params.steps,
        params.solving,
        strength=hires.denoising,
        exact=True,
    )
    texts = (prompt.tags(hires.prompt)[0] or request.prompt, hires.negative_prompt or params.negative_prompt)
    cfg = hires.cfg or params.cfg
    guide = yield from _guide(request, texts, setting, cfg, span.steps, before=first.span.steps)
    told = first._replace(
        choice=choice,
        span=span,
        guide=guide._replace(cfg=cfg * choice.guidance_share),
        setting=setting,
        levels=networks.levels,
        shape=(first.shape[0], *size_of(size, networks.blueprint.factor)),
        steering=_steering(request, size, high=True),
        shown=None,
    )
    if networks.blueprint.inpaints:
        told = told._replace(shown=(yield from _nothing_shown(request, size)))
    return told


def _refining(request: Request, steps: int) -> Generator[Call, Any, Refining | None]:
    params = request.params
    if not params.refiner or params.refiner_at >= 1:
        return None
    networks = request.models.networks(params.refiner)
    if networks.blueprint.channels != request.plan.channels or networks.vae.scale != request.models.own.vae.scale:
        raise BadRequest(f"{params.refiner!r} understands other latents than this model", param="refiner")
    setting = request.setting._replace(checkpoint=params.refiner, adapters=())
    guide = yield from _guide(request, (request.prompt, params.negative_prompt), setting, params.cfg, steps)
    return Refining(setting, guide, params.refiner_at)


# prompts


def _guide(
    request: Request, texts: tuple[str, str], setting: Setting, cfg: float, steps: int, *, before: int = 0
) -> Reading:
    """What a pass is told by its two prompts; all contexts are filled up to the longest."""
    told = []
    for wish in prompt.wishes(texts[0]):
        spans = prompt.spans(wish.text, steps, before=before)
        told.append((wish.weight, spans, (yield _words(request, setting, spans, negative=False))))
    spans = prompt.spans(texts[1], steps, before=before)
    negative = yield _words(request, setting, spans, negative=True)
    whole = [*(contexts for _, _, contexts in told), negative]
    tokens = max(context.states.shape[0] for contexts in whole for context in contexts)
    conditioner = request.models.networks(setting.checkpoint).conditioner

    def variants(spans: Sequence[prompt.Span], contexts: Sequence[Context]) -> tuple[Variant, ...]:
        filled = [conditioner.padded(context, tokens, request.style) for context in contexts]
        return tuple(Variant(span.until, context) for span, context in zip(spans, filled, strict=True))

    wishes = tuple(Wish(weight, variants(spans, contexts)) for weight, spans, contexts in told)
    return Guide(wishes, variants(spans, negative), cfg)


def _words(request: Request, setting: Setting, spans: Sequence[prompt.Span], *, negative: bool) -> Words:
    texts = tuple(span.text for span in spans)
    return Words(Key("words", setting._replace(tiling=False, vae=""), ()), texts, request.style, negative)


# given pictures


def _begun(request: Request) -> Generator[Call, Any, list[Begun]]:
    params, sizes = request.params, request.sizes
    if not params.init:
        return []
    if len(params.init) not in {1, params.batch}:
        raise BadRequest(f"{len(params.init)} pictures are given for {params.batch}; give one or as many", param="init")
    if request.tiles:
        return (yield from _tiles(request))
    found = []
    masked = params.inpaint or params.outpaint
    content: Content = masked.content if masked else "original"
    for index, file in enumerate(params.init):
        one = given.read(file, params, sizes.drawn, sizes.result, request.seed_of(index))
        if params.inpaint is not None and one.mask is None and "the mask is blank" not in request.notes:
            request.notes.append("the mask is blank")
        found.append((yield from _encoded(request, one, content)))
    return found


def _tiles(request: Request) -> Generator[Call, Any, list[Begun]]:
    """The tiles of the given picture, after it was enlarged."""
    asked, whole = request.params.mosaic, request.whole
    assert asked is not None and whole is not None  # noqa: S101, PT018 - the request has tiles
    by = request.models.upscaler(upscale.found(asked.upscaler, request.models.library.upscalers.files))
    picture_of = upscale.upscaled(canvas.array_of(canvas.read(request.params.init[0], "init")), *whole, by)
    found = []
    for box in request.tiles:
        tile = masks.resized(np.ascontiguousarray(picture_of[box.area]), *request.sizes.drawn, "stretch")
        found.append((yield from _encoded(request, Given(tile, None), "original")))
    return found


def _encoded(request: Request, one: Given, content: Content) -> Generator[Call, Any, Begun]:
    networks, params = request.models.own, request.params
    place, plan = networks.device.place, networks.blueprint
    pixels = canvas.tensor_of(one.picture)
    latents = on_device((yield picture.encode(request.setting, pixels)), place)
    height, width = size_of(request.sizes.drawn, plan.factor)
    if params.resize == "latent":
        latents = torch.nn.functional.interpolate(latents, (height, width), mode="bilinear")
    keeping = None
    if one.mask is not None:
        small = masks.latent_mask(one.mask, height, width)
        if params.inpaint is None or params.inpaint.hard:
            small = masks.rounded(small)
        keeping = Keeping(latents, on_device(torch.from_numpy(small)[None, None], place))
    shown = (yield from _shown(request, one, keeping)) if plan.inpaints else None
    return Begun(one, latents, keeping, shown, content)


def _shown(request: Request, one: Given, keeping: Keeping | None) -> Generator[Call, Any, Tensor]:
    """What a UNet made for inpainting sees: the mask, and the picture with gray where that is."""
    if keeping is None or one.mask is None:
        return (yield from _nothing_shown(request))
    weight = request.params.inpaint.mask_weight if request.params.inpaint else 1.0
    mask = torch.from_numpy(masks.rounded(one.mask))[None, None] * weight
    pixels = canvas.tensor_of(one.picture) * (1 - mask) + 0.5 * mask
    latents = on_device((yield picture.encode(request.setting, pixels)), keeping.mask.device)
    return torch.cat([(keeping.mask > 0.5).to(latents), latents], dim=1)


def _nothing_shown(request: Request, size: Size | None = None) -> Generator[Call, Any, Tensor]:
    """The same where all is made anew: a mask of ones over gray."""
    width, height = size or request.sizes.drawn
    place = request.models.own.device.place
    latents = on_device((yield picture.encode(request.setting, torch.full((1, 3, height, width), 0.5))), place)
    return torch.cat([torch.ones_like(latents[:, :1]), latents], dim=1)


# control pictures


def _steering(request: Request, size: Size, *, high: bool) -> tuple[Steering, ...]:
    """The ControlNets of a pass over pictures of a size."""
    passes_in = {"both", "high" if high else "low"}
    return tuple(
        _steered(request, each, size, show=each.show and not high)
        for each in request.params.controls
        if each.passes in passes_in and each.weight
    )


def _steered(request: Request, control: Control, size: Size, *, show: bool) -> Steering:
    network = request.models.control(control.model)
    file = control.image or next(iter(request.params.init), b"")
    if not file:
        raise BadRequest("a control needs a picture", param="controls")
    source = masks.resized(canvas.array_of(canvas.read(file, "controls")), *size, control.resize)
    resolution = min(size) if control.pixel_perfect else control.resolution
    shown = preprocess.prepared(
        source, control.module, resolution=resolution, a=control.threshold_a, b=control.threshold_b
    )
    if show:
        request.maps.append(canvas.png(canvas.of_array(shown)))
    shown = masks.resized(shown, *size, "stretch")
    hidden = _hidden(request, control, size)
    hint = torch.from_numpy(preprocess.hint(shown, control.module, hidden)).permute(2, 0, 1).contiguous()
    steered = Steered(
        control.model,
        hint,
        weights_of(network.count, control.weight, soft=control.mode != "balanced"),
        _area(request, control, size),
    )
    return Steering(steered, control.start, control.end, prompt_only=control.mode == "control")


def _hidden(request: Request, control: Control, size: Size) -> masks.Mask | None:
    """The part of the picture that a ControlNet made for inpainting must not see."""
    if not preprocess.named(control.module).masked:
        return None
    file = control.mask or (request.params.inpaint.mask if request.params.inpaint else b"")
    if not file:
        return None
    picture_of = canvas.read(file, "controls").resize((size.width, size.height))
    return masks.rounded(masks.of_picture(picture_of))


def _area(request: Request, control: Control, size: Size) -> Tensor | None:
    """Where it works, at the size of the latents."""
    if not control.mask or preprocess.named(control.module).masked:
        return None
    mask = masks.of_picture(canvas.read(control.mask, "controls").resize((size.width, size.height)))
    small = masks.latent_mask(mask, *size_of(size, request.plan.factor))
    return torch.from_numpy(small.copy())[None]
