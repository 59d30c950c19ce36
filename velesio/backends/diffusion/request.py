"""A request: one job's set of pictures: what was asked, as this model can do it, how far it is, and what came of it."""

import math
import secrets
import time
from collections.abc import Callable, Generator, Mapping

import torch
from torch import Tensor

from velesio.backends.base import Work
from velesio.backends.diffusion import (
    canvas,
    given,
    glimpse,
    masks,
    merging,
    mosaic,
    prompt,
    samplers,
    sizes,
    taesd,
    upscale,
)
from velesio.backends.diffusion.calls import SMALL, Applied, Call, Setting
from velesio.backends.diffusion.conditioning import Style
from velesio.backends.diffusion.masks import Box, Picture
from velesio.backends.diffusion.models import Models
from velesio.backends.diffusion.noise import Recipe
from velesio.backends.diffusion.options import Options
from velesio.backends.diffusion.picture import Watch
from velesio.backends.diffusion.samplers import Choice
from velesio.backends.diffusion.sizes import Size
from velesio.errors import BadRequest, Unsupported
from velesio.jobs import Image, ImageResult, Preview, Progress

_SEEDS = 4294967294
"""Seeds that are drawn lie below this, as A1111's do."""
_LIMITS: tuple[tuple[str, float, float], ...] = (
    ("cfg", 0.0, 1000.0),
    ("denoising", 0.0, 1.0),
    ("clip_skip", 1, 64),
    ("refiner_at", 0.0, 1.0),
    ("noise_multiplier", 0.0, 10.0),
    ("extra_noise", 0.0, 10.0),
    ("comma_backtrack", 0, 75),
    ("quality", 0, 100),
    ("merging", 0.0, merging.MOST),
    ("tile", 0, 65536),
    ("overlap", 0, 65536),
)
"""Fields with the smallest and the largest value that they may have."""


class Request:
    """A job that the engine holds."""

    def __init__(self, work: Work, models: Models, options: Options) -> None:
        """Looks at everything that can be checked before anything is computed.

        Raises:
            VelesioError: if the job cannot be served.
        """
        params = work.job.params
        if not isinstance(params, Image):
            raise Unsupported("this model makes pictures only")
        _check(params, options)
        self.work = work
        self.params = params
        self.models = models
        self.options = options
        self.plan = models.own.blueprint
        self.notes: list[str] = []
        self.choice = self._choice(params.sampler, params.schedule)
        self.second_choice = self._second_choice()
        self.whole, self.tiles = self._mosaic()
        self.sizes = self._sizes()
        self.prompt, tags = prompt.tags(params.prompt)
        self.adapters = self._adapters(tags)
        self.setting = Setting(
            adapters=self.adapters,
            vae=params.vae or options.vae,
            tiling=params.tiling,
            merging=params.merging,
            owner=work.job.id if params.alone or not options.batching else "",
        )
        self.decoding = self.setting._replace(vae=SMALL) if params.decode_by == "tiny" else self.setting
        self.encoding = self.setting._replace(vae=SMALL) if params.encode_by == "tiny" else self.setting
        if SMALL in {self.decoding.vae, self.encoding.vae} and not models.small():
            raise taesd.missing(self.plan)
        self.style = Style(params.clip_skip, params.clip_skip_xl, params.emphasis, params.comma_backtrack)
        self.seed = params.seed if params.seed >= 0 else secrets.randbelow(_SEEDS)
        varied = params.variation.seed
        self.subseed = varied if varied >= 0 else secrets.randbelow(_SEEDS)
        self.began = time.monotonic()
        self.pictures: dict[int, bytes] = {}
        self.texts: dict[int, str] = {}
        self.maps: list[bytes] = []
        self.masks: dict[int, tuple[bytes, ...]] = {}
        self.steps = 1
        """Of all passes over one picture."""
        self.retried = False
        """Whether it was tried again after memory ran out."""
        self._done = [0] * (self.count * self.paths // params.batch)
        self._drawn: dict[int, Picture] = {}
        """Tiles that wait for the others of their picture."""
        self._told = 0
        self._note_merging()
        if self.sizes.enlarged:
            self.notes.append(
                f"drawn at {self.sizes.second or self.sizes.drawn}, the size that this model was made for, and "
                f"enlarged to {self.sizes.result}"
            )

    @property
    def loops(self) -> int:
        """Pictures that are made one of the other, by one path."""
        return self.params.loopback.loops if self.params.loopback else 1

    @property
    def count(self) -> int:
        """Pictures of the result."""
        return self.params.pictures

    @property
    def paths(self) -> int:
        """What can be drawn at the same time: the pictures, or all tiles of all pictures."""
        return self.params.batch * max(1, len(self.tiles))

    @property
    def cuts(self) -> upscale.Tiles:
        """How networks that enlarge are shown a picture."""
        return upscale.Tiles(self.params.tile, self.params.overlap)

    def upscaler(self, name: str) -> str | upscale.Model:
        """What enlarges pixels, by its name.

        Raises:
            BadRequest: there is none.
            ModelLoadFailed: its file cannot be loaded.
        """
        return self.models.upscaler(upscale.found(name, self.models.library.upscalers.files, latent=False))

    def seed_of(self, index: int) -> int:
        """Of one picture."""
        return self.seed if self.params.variation.strength else self.seed + index

    def denoising_of(self, number: int) -> float:
        """How much of what is given one picture changes; loops go from the job's own to that of the last one."""
        back = self.params.loopback
        if back is None or back.loops == 1:
            return self.params.denoising
        part = number % back.loops / (back.loops - 1)
        return self.params.denoising + (back.denoising - self.params.denoising) * _CURVES[back.curve](part)

    def recipe(self, number: int) -> Recipe:
        """What the noise of one picture, or of one tile, is made of."""
        index, tile = divmod(number, max(1, len(self.tiles)))
        variation, factor = self.params.variation, self.plan.factor
        resized = (variation.from_height // factor, variation.from_width // factor)
        return Recipe(
            self.seed_of(index) + tile,
            subseed=self.subseed + index + tile,
            strength=variation.strength,
            size_from=resized if min(resized) > 0 else None,
            delta=self.params.solving.seed_delta,
            source=self.params.noise_source or self.options.noise_source,
        )

    def watch(self, index: int, begin: int) -> Watch:
        """What is told the steps of a pass that begins after `begin` steps of other passes."""

        def step(number: int, clean: Tensor) -> Generator[Call, Tensor, None]:
            before, self._done[index] = self._done[index], min(begin + number + 1, self.steps)
            if self.work.job.stream and self._done[index] != before:
                yield from self._tell(index, clean)

        return step

    def finished(self, index: int, file: bytes, text: str) -> None:
        """A picture is done."""
        self.pictures[index], self.texts[index] = file, text

    def with_tile(self, number: int, drawn: Picture) -> Picture | None:
        """One tile is done: the whole picture, if it was its last one."""
        count = len(self.tiles)
        first = number - number % count
        box = self.tiles[number - first]
        self._drawn[number] = masks.resized(drawn, box.width, box.height, "stretch")
        mine = range(first, first + count)
        if self.whole is None or not all(each in self._drawn for each in mine):
            return None
        overlap = self.params.mosaic.overlap if self.params.mosaic else 0
        return mosaic.joined([self._drawn.pop(each) for each in mine], self.tiles, self.whole, overlap)

    @property
    def complete(self) -> bool:
        """Whether all pictures are."""
        return len(self.pictures) == self.count

    def result(self, facts: dict[str, str]) -> ImageResult:
        """All pictures in their order."""
        order, size = range(self.count), self.whole or self.sizes.result
        return ImageResult(
            pictures=tuple(self.pictures[index] for index in order),
            seeds=tuple(self.seed_of(index) for index in order),
            subseeds=tuple(self.subseed + index for index in order),
            infotexts=tuple(self.texts[index] for index in order),
            width=size.width,
            height=size.height,
            maps=tuple(self.maps),
            facts=facts,
            notes=tuple(self.notes),
            prompt_tokens=self.models.own.conditioner.tokens(self.prompt),
            masks=tuple(file for number in sorted(self.masks) for file in self.masks[number]),
        )

    def _tell(self, index: int, clean: Tensor) -> Generator[Call, Tensor, None]:
        done = sum(self._done) // len(self._done)
        every, step = self.params.preview_every, self._done[index]
        if every and step % every == 0 and (file := (yield from glimpse.taken(self, clean))):
            number = index // max(1, len(self.tiles))  # of a tile its part is shown
            self.work.emit(Preview(file, number, step, self.steps))
        if done > self._told:
            self._told = done
            self.work.emit(Progress(done, self.steps, ms=(time.monotonic() - self.began) * 1000))

    def _note_merging(self) -> None:
        share = self.params.merging or (self.params.hires.merging if self.params.hires else 0.0)
        if share and not self.plan.attends_at_first:
            self.notes.append("token merging changes nothing: this model has no attention at its latents' own size")

    def _choice(self, sampler: str, schedule: str) -> Choice:
        if not self.params.lenient:
            return samplers.choose(sampler, schedule)
        choice, note = samplers.choose_anyway(sampler, schedule)
        self.notes += [note] if note else []
        return choice

    def _second_choice(self) -> Choice:
        params, hires = self.params, self.params.hires
        if hires is None or not (hires.sampler or hires.schedule):
            return self.choice
        return self._choice(hires.sampler or params.sampler, hires.schedule or params.schedule)

    def _mosaic(self) -> tuple[Size | None, tuple[Box, ...]]:
        """The size of the enlarged picture, and its tiles."""
        asked = self.params.mosaic
        if asked is None:
            return None, ()
        if not self.params.init:
            raise BadRequest("a mosaic needs a picture to begin with", param="init")
        upscale.found(asked.upscaler, self.models.library.upscalers.files, latent=False)
        shown = canvas.read(self.params.init[0], "init")
        whole = mosaic.whole(Size(shown.width, shown.height), asked, self.options.max_pixels)
        return whole, mosaic.boxes(whole, self._tile(), asked.overlap)

    def _tile(self) -> Size:
        params, own = self.params, self.options.native or self.plan.size
        return sizes.checked(Size(params.width or own, params.height or own), self.options.max_pixels)

    def _sizes(self) -> sizes.Sizes:
        params, options, plan = self.params, self.options, self.plan
        width, height = params.width, params.height
        if self.tiles:
            width, height = self.tiles[0].width, self.tiles[0].height
        if params.outpaint is not None:
            if not params.init:
                raise BadRequest("outpainting needs a picture to begin with", param="init")
            width, height = given.outpainted_size(params.init[0], params.outpaint, plan.factor)
        elif not (width or height):
            width, height = self._own_size()
        if params.inpaint is not None and not params.init:
            raise BadRequest("inpainting needs a picture to begin with", param="init")
        return sizes.planned(
            width,
            height,
            None if params.init else params.hires,
            native=options.native or plan.size,
            factor=plan.factor,
            most=options.max_pixels,
            enlarge=options.enlarge,
        )

    def _own_size(self) -> Size:
        """What is drawn where no size is asked for."""
        native = self.options.native or self.plan.size
        if not self.params.init:
            return Size(native, native)
        shown = canvas.read(self.params.init[0], "init")
        return sizes.shaped(Size(shown.width, shown.height), native, self.plan.factor)

    def _adapters(self, tags: tuple[prompt.Tag, ...]) -> tuple[Applied, ...]:
        """Those that the prompt and the job name; what does not fit is left out with a note."""
        wanted = [Applied(each.name, each.text, each.unet) for each in self.params.adapters]
        if self.params.apply_tags:
            wanted += [Applied(tag.name, tag.text, tag.unet) for tag in tags if tag.kind == "lora"]
            self.notes += [f"hypernetworks are not supported: {tag.name!r}" for tag in tags if tag.kind != "lora"]
        kept = []
        for each in wanted:
            if reason := self.models.adapters().fits(each.name):
                self.notes.append(reason)
            else:
                kept.append(each)
        return tuple(kept)


_CURVES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda part: part,
    "aggressive": lambda part: math.sin(part * math.pi / 2),
    "lazy": lambda part: 1 - math.cos(part * math.pi / 2),
}
"""How far loops are on their way to the last one's strength."""


def on_device(tensor: Tensor, place: torch.device) -> Tensor:
    """A tensor of the processor's on the device, in float32."""
    return tensor.to(place, torch.float32)


def size_of(latents: Size, factor: int) -> tuple[int, int]:
    """Height and width of the latents of a picture."""
    return latents.height // factor, latents.width // factor


def _check(params: Image, options: Options) -> None:
    """
    Raises:
        BadRequest: naming the first field that is out of its limits.
    """
    for name, low, high in _LIMITS:
        value = getattr(params, name)
        if not low <= value <= high:
            raise BadRequest(f"{name} is {value}; it must lie between {low:g} and {high:g}", param=name)
    steps = [("steps", params.steps)]
    if params.hires is not None:
        steps.append(("hires.steps", params.hires.steps or params.steps))
        if not 0 <= params.hires.denoising <= 1 or not 0 < params.hires.scale <= 16:
            raise BadRequest("hires: denoising lies between 0 and 1, scale above 0 and up to 16", param="hires")
        if not 0 <= params.hires.merging <= merging.MOST:
            raise BadRequest(f"hires: merging lies between 0 and {merging.MOST:g}", param="hires.merging")
    for name, count in steps:
        if not 1 <= count <= options.max_steps:
            raise BadRequest(f"{name} is {count}; this model takes 1 to {options.max_steps}", param=name)
    if params.batch < 1 or not 1 <= params.pictures <= options.max_batch:
        raise BadRequest(
            f"{params.pictures} pictures in one job; this model draws 1 to {options.max_batch}",
            param="loopback" if params.loopback else "batch",
        )
    _check_rounds(params)
    if params.seed >= 1 << 63:
        raise BadRequest("seeds are smaller than 2 to the power of 63", param="seed")


def _check_rounds(params: Image) -> None:
    """Loops and tiles: what they need, and what they do not go with.

    Raises:
        BadRequest: naming the field.
    """
    back, tiled = params.loopback, params.mosaic
    if back is not None:
        if not params.init or params.outpaint is not None or tiled is not None:
            raise BadRequest("loopback needs a picture, and goes with neither outpaint nor mosaic", param="loopback")
        if not 0 <= back.denoising <= 1:
            raise BadRequest("loopback: denoising lies between 0 and 1", param="loopback.denoising")
    if tiled is not None:
        if params.inpaint is not None or params.outpaint is not None:
            raise BadRequest("a mosaic goes with neither inpaint nor outpaint", param="mosaic")
        if not 0 < tiled.scale <= 16 or tiled.overlap < 0:
            raise BadRequest("mosaic: scale lies above 0 and up to 16, overlap is not negative", param="mosaic")
