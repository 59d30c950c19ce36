"""A picture in the making: its way from noise to pixels, as a generator that asks the networks and is sent answers.

A picture knows nothing of others. Whatever it draws at random comes from its own seed, and whatever it asks can be
answered alone or together with others' calls: it becomes the same picture.
"""

from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from velesio.backends.diffusion import guidance, passes
from velesio.backends.diffusion.calls import Call, Decode, Encode, Key, Predict, Setting, Steered
from velesio.backends.diffusion.guidance import Guide
from velesio.backends.diffusion.networks import Row
from velesio.backends.diffusion.noise import Noise, Recipe
from velesio.backends.diffusion.passes import Span
from velesio.backends.diffusion.samplers import Choice
from velesio.backends.diffusion.schedules import Levels
from velesio.backends.diffusion.solvers import Ask
from velesio.jobs import Framing, Solving

Making = Generator[Call, Tensor, Any]
"""What asks the networks; its result is what was made."""
Watch = Callable[[int, Tensor], Generator[Call, Tensor, None]]
"""Told each step and the clean latents [1, channels, h, w] that were seen in it; it may ask the networks, too."""


class Steering(NamedTuple):
    """A ControlNet over a pass: its picture and when it works."""

    steered: Steered
    first: float
    last: float
    """Parts of the steps between which it works."""
    prompt_only: bool = False
    """Whether the negative prompt's rows go without it."""


class Refining(NamedTuple):
    """Another checkpoint that takes over."""

    setting: Setting
    guide: Guide
    levels: Levels
    after: float
    """The part of the noise's times that is left to the first one."""
    by_steps: bool = False
    """Whether it is a part of the steps."""


class Keeping(NamedTuple):
    """What of a picture stays as it is."""

    latents: Tensor
    """[1, channels, h, w] of the picture that is given."""
    mask: Tensor
    """[1, 1, h, w]: 1 where the picture is made anew."""

    def kept(self, made: Tensor) -> Tensor:
        """What was made inside the mask, the given picture outside."""
        return self.latents * (1 - self.mask) + made * self.mask


class Pass(NamedTuple):
    """Everything that a pass over a picture is told."""

    choice: Choice
    span: Span
    solving: Solving
    guide: Guide
    setting: Setting
    levels: Levels
    shape: tuple[int, int, int]
    """Channels, height and width of the latents."""
    keeping: Keeping | None = None
    shown: Tensor | None = None
    """[1, channels, h, w] that a UNet made for inpainting sees besides."""
    steering: tuple[Steering, ...] = ()
    refining: Refining | None = None
    framing: Framing = Framing()

    @property
    def early(self) -> int:
        """Steps at the begin that leave the negative prompt out."""
        return int(self.solving.skip_early_cond * self.span.steps)


def from_noise(told: Pass, recipe: Recipe, device: torch.device, watch: Watch) -> Making:
    """Latents [1, channels, h, w] made of nothing but noise."""
    noise = _noise(told, recipe, device)
    begin = told.span.sigmas[0]
    x = noise.first.to(device) * passes.first_scale(told.choice, begin, told.solving)
    return (yield from _solved(told, x, noise, watch))


def from_latents(
    told: Pass,
    latents: Tensor,
    recipe: Recipe,
    device: torch.device,
    watch: Watch,
    *,
    multiplier: float = 1.0,
    extra: float = 0.0,
) -> Making:
    """Latents [1, channels, h, w] made of given ones, with noise on them."""
    noise = _noise(told, recipe, device)
    first = noise.first.to(device) * multiplier
    x = latents + first * told.span.sigmas[0]
    if extra:
        x = x + first * extra
    made = yield from _solved(told, x, noise, watch)
    return told.keeping.kept(made) if told.keeping else made


def _noise(told: Pass, recipe: Recipe, device: torch.device) -> Noise:
    noise = recipe.noise(told.shape)
    noise.device = device
    return noise


def _solved(told: Pass, x: Tensor, noise: Noise, watch: Watch) -> Making:
    """Runs the solver, answering what it asks."""
    path = told.choice.sampler.solver(x, told.span.sigmas, noise, passes.tuning(told.choice, told.solving))
    try:
        ask = next(path)
        while True:
            clean, without = yield from _predicted(told, ask)
            yield from watch(ask.step, clean)
            ask = path.send((clean, without) if ask.both else clean)
    except StopIteration as end:
        made: Tensor = end.value
        return made * passes.last_scale(told.choice, told.span.sigmas[-1])


def _predicted(told: Pass, ask: Ask) -> Generator[Call, Tensor, tuple[Tensor, Tensor]]:
    """The prediction with guidance, and the one without the prompt."""
    step = told.span.first + ask.step
    guide, setting, levels = _guide(told, ask)
    plain = guide.cfg == 1 and len(guide.wishes) == 1 and guide.wishes[0].weight == 1
    solving = told.solving
    early = guidance.skips_negative(
        ask.step, ask.sigma, below=solving.s_min_uncond, early=told.early, every=solving.s_min_uncond_all
    )
    with_negative = ask.both or not (plain or early)
    contexts = guide.contexts(step, with_negative=with_negative)
    shown = None if told.shown is None else told.shown[0]
    time = levels.timestep(ask.sigma)
    row = Row(
        ask.x[0],
        ask.sigma,
        round(time) if solving.whole_timesteps else time,
        contexts[0],
        shown=shown,
        framing=told.framing,
    )
    last = len(contexts) - 1 if with_negative else -1
    rows = [row._replace(context=context, negative=number == last) for number, context in enumerate(contexts)]
    predictions = yield _call(told, setting, rows, (step + 0.5) / told.span.steps)
    clean = guide.combined(predictions, with_negative=with_negative)
    if told.keeping:
        clean = told.keeping.kept(clean)
    return clean, predictions[-1:]


def _guide(told: Pass, ask: Ask) -> tuple[Guide, Setting, Levels]:
    """The prompts and the checkpoint in force at a step, with its noise levels."""
    refining, levels = told.refining, told.levels
    if refining is None:
        return told.guide, told.setting, levels
    gone = (len(levels) - 1 - levels.timestep(ask.sigma)) / len(levels)
    if (ask.step / told.span.length if refining.by_steps else gone) < refining.after:
        return told.guide, told.setting, levels
    return refining.guide, refining.setting, refining.levels


def _call(told: Pass, setting: Setting, rows: Sequence[Row], part: float) -> Predict:
    working = [each for each in told.steering if each.first <= part <= each.last]
    steered = tuple(tuple(_steered(each, row) for each in working) for row in rows) if working else ()
    shape = (*told.shape, rows[0].context.states.shape[0], *(each.steered.model for each in working))
    if told.shown is not None:
        shape = (*shape, "shown")
    return Predict(Key("predict", setting, shape), tuple(rows), steered)


def _steered(each: Steering, row: Row) -> Steered:
    silent = row.negative and each.prompt_only
    return each.steered._replace(weights=(0.0,) * len(each.steered.weights)) if silent else each.steered


def decode(setting: Setting, latents: Tensor) -> Decode:
    """The call that makes pixels of latents."""
    return Decode(Key("decode", _of_vae(setting), tuple(latents.shape[1:])), latents)


def encode(setting: Setting, pixels: Tensor) -> Encode:
    """The call that makes latents of pixels."""
    return Encode(Key("encode", _of_vae(setting), tuple(pixels.shape[1:])), pixels)


def _of_vae(setting: Setting) -> Setting:
    """What of a setting an autoencoder depends on."""
    return setting._replace(adapters=(), merging=0.0)
