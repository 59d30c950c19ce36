"""Upscalers: by arithmetic, by networks, and of latents.

Pictures are uint8 arrays (height, width, 3). Networks are files of `upscalers/`: those of ESRGAN's kind are built in,
any other that PyPI's spandrel knows works where it is installed. Weights come from safetensors files; pickled ones only
where that was allowed, and then as tensors alone.
"""

import importlib.util
import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from velesio.backends.diffusion import esrgan
from velesio.backends.diffusion.device import Device
from velesio.backends.diffusion.masks import Picture
from velesio.errors import BadRequest, JobFailed, ModelLoadFailed
from velesio.nearest import nearest, quoted

NONE, LANCZOS, NEAREST = "None", "Lanczos", "Nearest"

LATENT_MODES: dict[str, tuple[str, bool]] = {
    "Latent": ("bilinear", False),
    "Latent (antialiased)": ("bilinear", True),
    "Latent (bicubic)": ("bicubic", False),
    "Latent (bicubic antialiased)": ("bicubic", True),
    "Latent (nearest)": ("nearest", False),
    "Latent (nearest-exact)": ("nearest-exact", False),
}
"""torch's interpolation and antialiasing of each mode."""

MAX_PASSES = 3
"""How often a network is run over its own result to reach a size."""


class Model(NamedTuple):
    """A loaded upscaler."""

    name: str
    scale: int
    run: Callable[[Tensor], Tensor]
    """Pictures (n, 3, h, w) from 0 to 1 to pictures `scale` times as large."""
    multiple: int = 1
    """What sides must be multiples of."""
    bytes: int = 0
    """Of its weights."""


class Tiles(NamedTuple):
    """How a large picture is cut for a network; a side of 0 does not cut."""

    side: int = 192
    overlap: int = 8


def found(name: str, names: Iterable[str], *, latent: bool = True) -> str:
    """The upscaler of that name in any case; an empty one is no upscaler. `latent`: whether those of latents count.

    Raises:
        BadRequest: if there is none; the message names the nearest ones.
    """
    if not latent and name.strip().lower() in {mode.lower() for mode in LATENT_MODES}:
        raise BadRequest(f"{name!r} enlarges latents, not pictures; there are None, Lanczos, Nearest", param="upscaler")
    known: list[str] = [NONE, LANCZOS, NEAREST, *(LATENT_MODES if latent else ()), *names]
    by_case = {other.lower(): other for other in known}
    if match := by_case.get(name.strip().lower() or NONE.lower()):
        return match
    near = nearest(name, known, 3, 0.3) or known
    raise BadRequest(f"could not find upscaler named {quoted(name)}; near to it: {', '.join(near)}", param="upscaler")


def upscaled(picture: Picture, width: int, height: int, by: str | Model, tiles: Tiles = Tiles()) -> Picture:  # noqa: B008
    """The picture at this size; `by` is one of the three names, or a network.

    A network is run until the picture is large enough, `MAX_PASSES` times at most; the rest is Lanczos.
    """
    if isinstance(by, Model):
        for _ in range(MAX_PASSES if by.scale > 1 else 1):
            picture = _by_network(picture, by, tiles)
            if picture.shape[1] >= width and picture.shape[0] >= height:
                break
    way = Image.Resampling.NEAREST if by == NEAREST else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(picture).resize((width, height), way))


def latents(latent: Tensor, height: int, width: int, mode: str) -> Tensor:
    """Latents (n, channels, h, w) at another size, by a name of `LATENT_MODES`."""
    way, antialias = LATENT_MODES[mode]
    return functional.interpolate(latent, size=(height, width), mode=way, antialias=antialias)


def _by_network(picture: Picture, model: Model, tiles: Tiles) -> Picture:
    values = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        made = tiled(model, values, tiles)
    return (made[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()


def tiled(model: Model, picture: Tensor, tiles: Tiles) -> Tensor:
    """A network over a picture (1, 3, h, w), cut into overlapping tiles whose seams are blended."""
    height, width = picture.shape[2:]
    if not tiles.side or max(height, width) <= tiles.side:
        return _padded(model, picture)
    size = (1, picture.shape[1], height * model.scale, width * model.scale)
    total, weight = picture.new_zeros(size), picture.new_zeros(size[2:])
    for top, bottom in _cuts(height, tiles):
        for left, right in _cuts(width, tiles):
            made = _padded(model, picture[:, :, top:bottom, left:right])
            share = torch.outer(*(_ramp(side, tiles.overlap * model.scale, made) for side in made.shape[2:]))
            area = (slice(top * model.scale, bottom * model.scale), slice(left * model.scale, right * model.scale))
            total[:, :, *area] += made * share
            weight[area] += share
    return total / weight


def _padded(model: Model, picture: Tensor) -> Tensor:
    """A network over a picture whose sides need not be its multiples."""
    height, width = picture.shape[2:]
    more = (-width % model.multiple, -height % model.multiple)
    made = model.run(functional.pad(picture, (0, more[0], 0, more[1]), mode="replicate"))
    return made[:, :, : height * model.scale, : width * model.scale]


def _cuts(length: int, tiles: Tiles) -> list[tuple[int, int]]:
    """Begin and end of each tile along a side; they overlap by `overlap` or more."""
    side = min(tiles.side, length)
    stride = max(1, side - min(tiles.overlap, side // 2))
    begins = [*range(0, length - side, stride), length - side]
    return [(begin, begin + side) for begin in begins]


def _ramp(length: int, overlap: int, like: Tensor) -> Tensor:
    """Weights along a tile's side: rising over the overlap, 1 inside, falling."""
    place = torch.arange(1, length + 1, dtype=like.dtype)
    return torch.minimum(place, place.flip(0)).clamp(max=max(1, overlap)) / max(1, overlap)


class _OnDevice:
    """A network where its device has it, for pictures of the processor's."""

    def __init__(self, network: nn.Module, run: Callable[[Tensor], Tensor], device: Device) -> None:
        self._network = device.settle(network, device.dtype)
        self._run = run
        self._dtype = device.dtype
        self._device = device

    def __call__(self, pictures: Tensor) -> Tensor:
        """Raises JobFailed if it gives no numbers, even in float32."""
        made = self._made(pictures)
        if not torch.isfinite(made).all() and self._dtype != torch.float32:
            self._dtype = torch.float32
            nn.Module.to(self._network, dtype=torch.float32)
            made = self._made(pictures)
        if not torch.isfinite(made).all():
            raise JobFailed("the upscaler gave no valid numbers (NaN); try another one")
        return made

    def _made(self, pictures: Tensor) -> Tensor:
        self._device.enter(self._network)
        try:
            return self._run(pictures.to(self._device.place, self._dtype)).float().cpu()
        finally:
            self._device.leave(self._network)


def load(path: Path, device: Device, *, allow_pickle: bool = False) -> Model:
    """The upscaler in a file, on a device.

    Raises:
        ModelLoadFailed: if it is damaged, of a kind that nobody here knows, or pickled without permission.
    """
    state = _unwrapped(_weights(path, allow_pickle))
    size = sum(tensor.numel() * 4 for tensor in state.values())
    try:
        network = esrgan.network(state)
    except (RuntimeError, IndexError, KeyError, ValueError) as error:
        raise ModelLoadFailed(f"{path} is no complete upscaler: {error}") from error
    if network is not None:
        return Model(path.stem, network.scale, _OnDevice(network, network, device), network.shuffle, size)
    return _by_spandrel(path, state, size, device)


def _weights(path: Path, allow_pickle: bool) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise ModelLoadFailed(f"{path} is no whole safetensors file: {error}") from error
    if not allow_pickle:
        raise ModelLoadFailed(
            f"{path} is a pickle, which may hold code: convert it to safetensors, or allow pickles for this model"
        )
    try:
        return cast("Mapping[str, Any]", torch.load(path, map_location="cpu", weights_only=True))
    except (pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise ModelLoadFailed(f"{path} holds something else than tensors, or is damaged: {error}") from error


def _unwrapped(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors themselves: training frameworks put them one level deeper."""
    for name in ("params_ema", "params", "state_dict", "model_state_dict"):
        if isinstance(state, Mapping) and isinstance(state.get(name), Mapping):
            state = state[name]
    tensors = state if isinstance(state, Mapping) else {}
    return {name: tensor for name, tensor in tensors.items() if hasattr(tensor, "shape")}


def _by_spandrel(path: Path, state: dict[str, Tensor], size: int, device: Device) -> Model:
    if importlib.util.find_spec("spandrel") is None:
        raise ModelLoadFailed(f"{path} is no ESRGAN network: for other kinds, pip install 'velesio[upscalers]'")
    spandrel = importlib.import_module("spandrel")
    try:
        made = spandrel.ModelLoader().load_from_state_dict(state)
    except Exception as error:  # its own errors share no base class
        raise ModelLoadFailed(f"{path} is no upscaler that spandrel knows: {error}") from error
    if not isinstance(made, spandrel.ImageModelDescriptor):
        raise ModelLoadFailed(f"{path} is a network for {type(made).__name__}, not one that enlarges pictures")
    run = _OnDevice(made.model, made, device)
    return Model(path.stem, made.scale, run, made.size_requirements.multiple_of, size)
