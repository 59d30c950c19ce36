"""Families of checkpoints: what the names of its tensors say a model is, and what only its family says."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from velesio.backends.diffusion import layout


class Encoder(NamedTuple):
    """How a family uses one of its text encoders."""

    config: dict[str, Any]
    """What shapes do not say."""
    layer: int
    """The state that is used, from the end: -1 the last, -2 the one before."""
    normalized: bool
    """Whether that state goes through the last normalization."""
    skips: Literal["always", "asked", "never"]
    """Whether clip skip moves it."""
    pads_with_end: bool
    """Whether rows are filled up with end marks (and not with zeros)."""
    prefixes: tuple[str, ...]
    """Of its names in a single file."""
    folder: str
    """Of a diffusers model."""


class Family(NamedTuple):
    """Checkpoints that are built and used alike."""

    name: str
    size: int
    """Pixels of a side that it was made for."""
    scale: float
    """What latents are multiplied by."""
    encoders: tuple[Encoder, ...]
    sized: bool = False
    """Whether the UNet is told the picture's size."""
    rated: bool = False
    """Whether it is told an aesthetic score as well."""
    zeroes_empty: bool = False
    """Whether an empty negative prompt is nothing at all."""
    guesses_v: bool = False
    """Whether files of this family may predict velocity without saying so."""


_QUICK = {"hidden_act": "quick_gelu"}
_GELU = {"hidden_act": "gelu"}
_CLIP_SD1 = Encoder(_QUICK, -1, True, "always", True, layout.CLIP_L[:1], "text_encoder")
_CLIP_SD2 = Encoder(_GELU, -2, True, "always", False, layout.OPEN_CLIP[:1], "text_encoder")
_CLIP_L = Encoder(_QUICK, -2, False, "asked", True, layout.CLIP_L[1:], "text_encoder")
_CLIP_G = Encoder(_GELU, -2, False, "never", False, layout.OPEN_CLIP[1:], "text_encoder_2")

SD1 = Family("sd1", 512, 0.18215, (_CLIP_SD1,))
SD2 = Family("sd2", 768, 0.18215, (_CLIP_SD2,), guesses_v=True)
SDXL = Family("sdxl", 1024, 0.13025, (_CLIP_L, _CLIP_G), sized=True, zeroes_empty=True)
REFINER = Family("sdxl-refiner", 1024, 0.13025, (_CLIP_G,), sized=True, rated=True, zeroes_empty=True)

FAMILIES = {family.name: family for family in (SD1, SD2, SDXL, REFINER)}


def of_names(names: Iterable[str]) -> Family | None:
    """The family of a single file; None: it is no checkpoint of Stable Diffusion."""
    names = list(names)
    if not any(name.startswith(layout.UNET) for name in names):
        return None
    if any(name.startswith("conditioner.embedders.1.") for name in names):
        return SDXL
    if any(name.startswith("conditioner.embedders.0.model.") for name in names):
        return REFINER
    if any(name.startswith("cond_stage_model.model.") for name in names):
        return SD2
    return SD1 if any(name.startswith("cond_stage_model.transformer.") for name in names) else None


def of_config(unet: dict[str, Any]) -> Family:
    """The family of a diffusers model, by its UNet's configuration."""
    if unet.get("addition_embed_type") == "text_time":
        return REFINER if unet.get("projection_class_embeddings_input_dim") == 2560 else SDXL
    return SD2 if unet.get("cross_attention_dim") == 1024 else SD1
