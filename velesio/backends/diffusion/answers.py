"""Answers: calls of one key computed together, by the networks in the setting that the key names."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from velesio.backends.diffusion import controlnet
from velesio.backends.diffusion.calls import Call, Decode, Encode, Predict, Words
from velesio.backends.diffusion.models import Models
from velesio.backends.diffusion.networks import Networks, Residuals


def answers(models: Models, calls: Sequence[Call]) -> list[Any]:
    """What each call asked for, in their order.

    Raises:
        Exception: whatever the networks raise; then none of them is answered.
    """
    key = calls[0].key
    setting = key.setting
    if key.kind == "predict":
        return _predictions(models, [call for call in calls if isinstance(call, Predict)])
    if key.kind == "words":
        models.adapters(setting.checkpoint).apply(setting.adapters)
        conditioner = models.networks(setting.checkpoint).conditioner
        words = [call for call in calls if isinstance(call, Words)]
        return [conditioner.contexts(call.texts, call.style, negative=call.negative) for call in words]
    vae = models.vae(setting.vae, setting.checkpoint)
    if key.kind == "decode":
        latents = [call.latents for call in calls if isinstance(call, Decode)]
        return _parted(vae.decode(torch.cat(latents), tiling=setting.tiling), latents)
    pixels = [call.pixels for call in calls if isinstance(call, Encode)]
    return _parted(vae.encode(torch.cat(pixels), tiling=setting.tiling), pixels)


def _predictions(models: Models, calls: Sequence[Predict]) -> list[Tensor]:
    setting = calls[0].key.setting
    models.adapters(setting.checkpoint).apply(setting.adapters)
    networks = models.networks(setting.checkpoint)
    rows = [row for call in calls for row in call.rows]
    residuals = _residuals(models, networks, calls) if calls[0].steered else None
    found = networks.predict(rows, tiling=setting.tiling, merging=setting.merging, residuals=residuals)
    return list(torch.split(found, [len(call.rows) for call in calls]))


def _residuals(models: Models, networks: Networks, calls: Sequence[Predict]) -> Residuals | None:
    """What all ControlNets add; calls of one key have the same ones in the same order."""
    rows = [row for call in calls for row in call.rows]
    steered = [each for call in calls for each in call.steered]
    checkpoint = calls[0].key.setting.checkpoint
    total: Residuals | None = None
    for number in range(len(steered[0])):
        control = models.control(steered[0][number].model, checkpoint)
        found = control.residuals(networks, rows, [each[number] for each in steered])
        total = controlnet.added(total, found)
    return total


def _parted(whole: Tensor, like: Sequence[Tensor]) -> list[Tensor]:
    return list(torch.split(whole, [len(each) for each in like]))
