"""Loading: a checkpoint's networks from its blueprint and files."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

from velesio.backends.diffusion import autoencoder, blueprint, schedules, tokenizer, weights
from velesio.backends.diffusion.blueprint import Blueprint, Part
from velesio.backends.diffusion.conditioning import Conditioner, Reader
from velesio.backends.diffusion.device import Device
from velesio.backends.diffusion.inversions import Inversions
from velesio.backends.diffusion.networks import Networks
from velesio.backends.diffusion.options import Options
from velesio.backends.diffusion.schedules import Levels
from velesio.backends.diffusion.text_encoder import TextEncoder, TextShape
from velesio.errors import ModelLoadFailed

Report = Callable[[float], None]


class Source(NamedTuple):
    """A checkpoint and how it is to be loaded."""

    path: Path
    options: Options
    inversions: Mapping[str, Path] = {}
    """Files of textual inversions by name."""


def load(source: Source, device: Device, report: Report) -> Networks:
    """All networks of a checkpoint, without asking anybody but the disk.

    Raises:
        ModelLoadFailed: naming the file and what is wrong with it.
    """
    options = source.options
    with ExitStack() as stack:
        plan, whole = _plan(source, stack)
        report(0.1)
        readers = _readers(plan, whole, device)
        report(0.3)
        inversions = Inversions(source.inversions, allow_pickle=options.allow_pickle)
        conditioner = Conditioner(readers, plan.family, device, inversions)
        with _tensors(plan.vae, whole, options) as tensors:
            vae = autoencoder.build(plan.vae, tensors, device, plan.scale)
        report(0.4)
        unet = _unet(plan, whole, device, options)
        report(0.9)
        networks = Networks(plan, device, unet=unet, vae=vae, conditioner=conditioner, levels=_levels(plan, options))
    networks.prediction = _prediction(networks, options)
    report(1.0)
    return networks


def _plan(source: Source, stack: ExitStack) -> tuple[Blueprint, weights.Tensors | None]:
    """The blueprint and, of a single file, its tensors."""
    path, options = source.path, source.options
    if path.is_dir():
        return blueprint.read(path), None
    whole = stack.enter_context(weights.opened(path, allow_pickle=options.allow_pickle))
    if path.suffix.lower() not in weights.PICKLES:
        return blueprint.read(path), whole
    shapes = {name: tuple(tensor.shape) for name, tensor in whole.items()}
    size = sum(tensor.nbytes for tensor in whole.values())
    try:
        return blueprint.of_shapes(path, shapes, {}, size), whole
    except (KeyError, IndexError) as error:
        raise ModelLoadFailed(f"{path} is no complete checkpoint: {error}") from error


@contextmanager
def _tensors(part: Part, whole: weights.Tensors | None, options: Options) -> Iterator[weights.Tensors]:
    """The tensors of one network: those of the single file, or of its own files together."""
    if whole is not None:
        yield whole
        return
    with ExitStack() as stack:
        files = [stack.enter_context(weights.opened(path, allow_pickle=options.allow_pickle)) for path in part.files]
        yield files[0] if len(files) == 1 else weights.Together(files)


def _readers(plan: Blueprint, whole: weights.Tensors | None, device: Device) -> list[Reader]:
    readers = []
    shared: tokenizer.Tokenizer | None = None
    for part, use, folder in zip(plan.encoders, plan.family.encoders, plan.tokenizers, strict=True):
        with torch.device("meta"):
            encoder = TextEncoder(TextShape.of_config(part.config))
        with _tensors(part, whole, Options()) as tensors:
            weights.fill(encoder, tensors, part.names, device.dtype, part.files[0])
        shared = shared or tokenizer.shipped() if folder is None else None
        words = shared or _tokenizer(folder)
        if words.size > encoder.shape.vocabulary:
            raise ModelLoadFailed(
                f"{part.files[0]} knows {encoder.shape.vocabulary} tokens and its tokenizer {words.size}; put the "
                f"tokenizer of this model into {plan.path.with_suffix('') / 'tokenizer'}"
            )
        readers.append(Reader(device.settle(encoder, device.dtype), words, use))
    return readers


def _tokenizer(folder: Path | None) -> tokenizer.Tokenizer:
    assert folder is not None  # noqa: S101 - the caller has the one that ships for None
    try:
        return tokenizer.of_folder(folder)
    except (OSError, ValueError, KeyError) as error:
        raise ModelLoadFailed(f"{folder} holds no tokenizer that can be read: {error}") from error


def _unet(plan: Blueprint, whole: weights.Tensors | None, device: Device, options: Options) -> UNet2DConditionModel:
    try:
        with torch.device("meta"):
            unet: Any = UNet2DConditionModel.from_config(plan.unet.config)
    except ValueError as error:
        raise ModelLoadFailed(f"{plan.path}: its UNet cannot be built: {error}") from error
    with _tensors(plan.unet, whole, options) as tensors:
        weights.fill(unet, tensors, plan.unet.names, device.dtype, plan.unet.files[0])
    found: UNet2DConditionModel = unet
    return found


def _levels(plan: Blueprint, options: Options) -> Levels:
    said = plan.noise
    return schedules.levels_of(
        steps=said.get("num_train_timesteps", 1000),
        beta_start=said.get("beta_start", 0.00085),
        beta_end=said.get("beta_end", 0.012),
        shape=said.get("beta_schedule", "scaled_linear"),
        zero_terminal=options.zero_terminal_snr or bool(said.get("rescale_betas_zero_snr")),
        sdxl=plan.family.sized,
    )


def _prediction(networks: Networks, options: Options) -> str:
    """What the UNet predicts: as asked, as the file says, or as a look at its answer to plain noise tells."""
    if options.prediction != "auto":
        return options.prediction
    plan = networks.blueprint
    if plan.prediction or not plan.family.guesses_v:
        return plan.prediction or "epsilon"
    return "v_prediction" if _moves_away(networks) else "epsilon"


@torch.inference_mode()
def _moves_away(networks: Networks) -> bool:
    """At the noisiest step a velocity is the negative picture, not the noise that was put in."""
    unet, device = networks.unet, networks.device
    side = max(networks.blueprint.multiple // networks.blueprint.factor, 8)
    channels, width = (
        networks.blueprint.unet.config["in_channels"],
        networks.blueprint.unet.config["cross_attention_dim"],
    )
    x = torch.full((1, channels, side, side), 0.5, device=device.place, dtype=device.dtype)
    context = torch.full((1, 77, width), 0.5, device=device.place, dtype=device.dtype)
    device.enter(unet)
    out: Any = unet(x, torch.tensor([999.0], device=device.place), context, return_dict=False)[0]
    device.leave(unet)
    return bool((out[:, :4].float() - x[:, :4].float()).mean() < -1)
