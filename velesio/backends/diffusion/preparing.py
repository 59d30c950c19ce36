"""Preparing: what the pictures of a request share, computed once: prompts, given pictures, control pictures, passes."""

from collections.abc import Generator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from torch import Tensor

from velesio.backends.diffusion import canvas, given, masks, passes, picture, preprocess, prompt, schedules, upscale
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
from velesio.backends.diffusion.schedules import Levels
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
    levels = _levels(request, networks)
    first = _span(request, levels, params.denoising)
    told = _Told((request.prompt, params.negative_prompt), request.setting, params.cfg, first.steps)
    guide = yield from _guide(request, told)
    steering = _steering(request, request.sizes.drawn, high=False)
    refining = (yield from _refining(request, told)) if _refines(request, "first") else None
    begun = yield from _begun(request)
    whole = Pass(
        choice=request.choice,
        span=first,
        solving=params.solving,
        guide=guide._replace(cfg=guide.cfg * request.choice.guidance_share),
        setting=request.setting,
        levels=levels,
        shape=(networks.blueprint.channels, *size_of(request.sizes.drawn, networks.blueprint.factor)),
        steering=steering,
        refining=refining,
        framing=params.framing,
    )
    if not begun and networks.blueprint.inpaints:
        whole = whole._replace(shown=(yield from _nothing_shown(request)))
    second = yield from _second(request, whole)
    request.steps = first.length + (second.span.length if second else 0)
    return Prepared(whole, second, tuple(begun))


def again(
    request: Request, prepared: Prepared, drawn: Picture, number: int
) -> Generator[Call, Any, tuple[Prepared, Begun]]:
    """What a loop begins with: the picture that was drawn before it, and as much of the schedule as is its own."""
    params, sizes = request.params, request.sizes
    first = prepared.first
    span = _span(request, first.levels, request.denoising_of(number))
    if span.steps != first.span.steps:
        told = _Told((request.prompt, params.negative_prompt), request.setting, params.cfg, span.steps)
        guide = yield from _guide(request, told)
        first = first._replace(guide=guide._replace(cfg=first.guide.cfg))
    if params.inpaint is not None:
        params = msgspec.structs.replace(params, inpaint=msgspec.structs.replace(params.inpaint, content="original"))
    begun = yield from _encoded(request, given.of_picture(drawn, params, sizes.drawn, sizes.result), "original")
    return prepared._replace(first=first._replace(span=span)), begun


def _levels(request: Request, networks: Networks) -> Levels:
    """A checkpoint's noise levels as the request has them."""
    solving = request.params.solving
    if not (solving.half_alphas or solving.zero_terminal_snr):
        return networks.levels
    return schedules.changed(networks.levels, half_alphas=solving.half_alphas, zero_terminal=solving.zero_terminal_snr)


def _span(request: Request, levels: Levels, strength: float) -> Span:
    params, choice = request.params, request.choice
    if not params.init:
        return passes.from_noise(choice, levels, params.steps, params.solving)
    return passes.from_picture(
        choice,
        levels,
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
    setting = request.setting._replace(checkpoint=hires.checkpoint, merging=hires.merging)
    networks = request.models.networks(hires.checkpoint)
    levels = _levels(request, networks)
    if networks.blueprint.channels != request.plan.channels or networks.vae.scale != request.models.own.vae.scale:
        raise BadRequest(f"{hires.checkpoint!r} understands other latents than this model", param="hires.checkpoint")
    choice = request.second_choice
    span = passes.from_picture(
        choice,
        levels,
        hires.steps or params.steps,
        params.solving,
        strength=hires.denoising,
        exact=True,
    )
    texts = (prompt.tags(hires.prompt)[0] or request.prompt, hires.negative_prompt or params.negative_prompt)
    cfg = hires.cfg or params.cfg
    words = _Told(texts, setting, cfg, span.steps, before=first.span.steps)
    guide = yield from _guide(request, words)
    told = first._replace(
        choice=choice,
        span=span,
        guide=guide._replace(cfg=cfg * choice.guidance_share),
        setting=setting,
        levels=levels,
        shape=(first.shape[0], *size_of(size, networks.blueprint.factor)),
        steering=_steering(request, size, high=True),
        refining=(yield from _refining(request, words)) if _refines(request, "second") else None,
        shown=None,
    )
    if networks.blueprint.inpaints:
        told = told._replace(shown=(yield from _nothing_shown(request, size)))
    return told


def _refines(request: Request, which: str) -> bool:
    """Whether another checkpoint takes over in a pass."""
    params = request.params
    if not params.refiner or params.refiner_at >= 1:
        return False
    return params.hires is None or params.refiner_passes in {which, "both"}


def _refining(request: Request, told: "_Told") -> Generator[Call, Any, Refining]:
    params = request.params
    networks = request.models.networks(params.refiner)
    if networks.blueprint.channels != request.plan.channels or networks.vae.scale != request.models.own.vae.scale:
        raise BadRequest(f"{params.refiner!r} understands other latents than this model", param="refiner")
    setting = told.setting._replace(checkpoint=params.refiner, adapters=())
    guide = yield from _guide(request, told._replace(setting=setting))
    return Refining(setting, guide, _levels(request, networks), params.refiner_at, params.refiner_by_steps)


# prompts


class _Told(NamedTuple):
    """What a pass is told by its two prompts, and who reads them."""

    texts: tuple[str, str]
    setting: Setting
    cfg: float
    steps: int
    before: int = 0
    """Steps of an earlier pass."""

    def spans(self, text: str, *, old: bool) -> tuple[prompt.Span, ...]:
        """What a prompt is at each step."""
        return prompt.spans(text, self.steps, before=self.before, old=old)


def _guide(request: Request, words: _Told) -> Reading:
    """All contexts of a pass, filled up to the longest."""
    told, setting, old = [], words.setting, request.params.old_edits
    for wish in prompt.wishes(words.texts[0]):
        spans = words.spans(wish.text, old=old)
        told.append((wish.weight, spans, (yield _words(request, setting, spans, negative=False))))
    spans = words.spans(words.texts[1], old=old)
    negative = yield _words(request, setting, spans, negative=True)
    whole = [*(contexts for _, _, contexts in told), negative]
    tokens = max(context.states.shape[0] for contexts in whole for context in contexts)
    conditioner = request.models.networks(setting.checkpoint).conditioner

    def variants(spans: Sequence[prompt.Span], contexts: Sequence[Context]) -> tuple[Variant, ...]:
        filled = [conditioner.padded(context, tokens, request.style) for context in contexts]
        return tuple(Variant(span.until, context) for span, context in zip(spans, filled, strict=True))

    wishes = tuple(Wish(weight, variants(spans, contexts)) for weight, spans, contexts in told)
    return Guide(wishes, variants(spans, negative), words.cfg)


def _words(request: Request, setting: Setting, spans: Sequence[prompt.Span], *, negative: bool) -> Words:
    texts = tuple(span.text for span in spans)
    return Words(Key("words", setting._replace(tiling=False, vae="", merging=0.0), ()), texts, request.style, negative)


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
        shown = _enlarged(request, canvas.array_of(canvas.read(file, "init"), params.background))
        one = given.of_file(shown, params, sizes.drawn, sizes.result, request.seed_of(index))
        if params.inpaint is not None and one.mask is None and "the mask is blank" not in request.notes:
            request.notes.append("the mask is blank")
        found.append((yield from _encoded(request, one, content)))
    return found


def _tiles(request: Request) -> Generator[Call, Any, list[Begun]]:
    """The tiles of the given picture, after it was enlarged."""
    asked, whole = request.params.mosaic, request.whole
    assert asked is not None and whole is not None  # noqa: S101, PT018 - the request has tiles
    shown = canvas.array_of(canvas.read(request.params.init[0], "init"), request.params.background)
    picture_of = upscale.upscaled(shown, *whole, request.upscaler(asked.upscaler), request.cuts)
    found = []
    for box in request.tiles:
        tile = masks.resized(np.ascontiguousarray(picture_of[box.area]), *request.sizes.drawn, "stretch")
        found.append((yield from _encoded(request, Given(tile, None), "original")))
    return found


def _enlarged(request: Request, shown: Picture) -> Picture:
    """A given picture that is smaller than what is drawn, by the upscaler that is to be used then, in its shape."""
    params, drawn = request.params, request.sizes.drawn
    scale = max(drawn.width / shown.shape[1], drawn.height / shown.shape[0])
    if scale <= 1 or params.outpaint is not None or params.upscaler.lower() in {"", "none"}:
        return shown
    width, height = round(shown.shape[1] * scale), round(shown.shape[0] * scale)
    return upscale.upscaled(shown, width, height, request.upscaler(params.upscaler), request.cuts)


def _encoded(request: Request, one: Given, content: Content) -> Generator[Call, Any, Begun]:
    networks, params = request.models.own, request.params
    place, plan = networks.device.place, networks.blueprint
    pixels = canvas.tensor_of(one.picture)
    latents = on_device((yield picture.encode(request.encoding, pixels)), place)
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
    latents = on_device((yield picture.encode(request.encoding, pixels)), keeping.mask.device)
    return torch.cat([(keeping.mask > 0.5).to(latents), latents], dim=1)


def _nothing_shown(request: Request, size: Size | None = None) -> Generator[Call, Any, Tensor]:
    """The same where all is made anew: a mask of ones over gray."""
    width, height = size or request.sizes.drawn
    place = request.models.own.device.place
    latents = on_device((yield picture.encode(request.encoding, torch.full((1, 3, height, width), 0.5))), place)
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
