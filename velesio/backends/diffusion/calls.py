"""Calls: what a picture in the making asks the networks for. Those with equal keys can be answered together."""

from typing import Any, NamedTuple

from torch import Tensor

from velesio.backends.diffusion.conditioning import Style
from velesio.backends.diffusion.networks import Row

SMALL = "<small>"
"""In place of a VAE's name: the TAESD of the checkpoint."""


class Applied(NamedTuple):
    """An adapter at work."""

    name: str
    text: float
    unet: float


class Setting(NamedTuple):
    """The state that the networks are brought into for a call; changing it takes time."""

    checkpoint: str = ""
    """Empty: the engine's own."""
    adapters: tuple[Applied, ...] = ()
    vae: str = ""
    """A name, or `SMALL`."""
    tiling: bool = False
    merging: float = 0.0
    owner: str = ""
    """The job that shares calls with no other; empty: it does."""


class Key(NamedTuple):
    """What calls must agree in to be answered together."""

    kind: str
    setting: Setting
    shape: tuple[Any, ...]
    """Sizes of the tensors, and the ControlNets."""


class Steered(NamedTuple):
    """One ControlNet's part in a row."""

    model: str
    hint: Tensor
    """[3, height, width] between 0 and 1."""
    weights: tuple[float, ...]
    """Of each of the residuals, the middle one last; 0 where it does not work."""
    area: Tensor | None = None
    """[1, h, w] between 0 and 1: where it works; None: everywhere."""


class Predict(NamedTuple):
    """The clean picture in each row is wanted: a tensor [rows, channels, h, w]."""

    key: Key
    rows: tuple[Row, ...]
    steered: tuple[tuple[Steered, ...], ...] = ()
    """For each row its ControlNets; empty: there are none."""


class Decode(NamedTuple):
    """Pictures of latents are wanted: a tensor [n, 3, height, width] between 0 and 1."""

    key: Key
    latents: Tensor


class Encode(NamedTuple):
    """Latents of pictures are wanted: a tensor [n, channels, h, w]."""

    key: Key
    pixels: Tensor


class Words(NamedTuple):
    """Contexts of a prompt's variants are wanted."""

    key: Key
    texts: tuple[str, ...]
    style: Style
    negative: bool


Call = Predict | Decode | Encode | Words


def size(call: Call) -> int:
    """Rows that a call adds to a group."""
    match call:
        case Predict():
            return len(call.rows)
        case Decode():
            return len(call.latents)
        case Encode():
            return len(call.pixels)
        case Words():
            return 1
