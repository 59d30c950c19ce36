"""Merging: tokens of a UNet that are alike are put together while it attends to itself: quicker, with less detail.

Source: Bolya and Hoffman 2023 (Token Merging for Fast Stable Diffusion). Of each square of 2 x 2 tokens the first
stays; of the others those that are most like one of these are merged into it, and get its result after the attention.
Each row is merged by itself, so that a picture does not depend on others in its call. Only layers at the latents' own
size merge, where most of the time is spent.
"""

from typing import Any, NamedTuple

import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

MOST = 0.9
"""The largest part of the tokens; a quarter stays in any case."""


class Plan(NamedTuple):
    """What becomes of the tokens of each row."""

    staying: Tensor
    """[s] places of tokens that others may be merged into."""
    others: Tensor
    """[o] places of all others."""
    merged: Tensor
    """[rows, r] which of the others are merged."""
    kept: Tensor
    """[rows, o - r] which are not."""
    into: Tensor
    """[rows, r] which of those that stay."""

    def merge(self, x: Tensor) -> Tensor:
        """[rows, tokens, width] → [rows, tokens - r, width]."""
        others, staying = x[:, self.others], x[:, self.staying]
        lost, left = _taken(others, self.merged), _taken(others, self.kept)
        target = self.into.unsqueeze(-1).expand(lost.shape)
        return torch.cat([left, staying.scatter_reduce(1, target, lost, "mean")], dim=1)

    def part(self, y: Tensor) -> Tensor:
        """What `merge` put together, each token in its place again."""
        count = self.kept.shape[1]
        left, staying = y[:, :count], y[:, count:]
        others = y.new_empty((len(y), len(self.others), y.shape[2]))
        for which, values in ((self.kept, left), (self.merged, _taken(staying, self.into))):
            others.scatter_(1, which.unsqueeze(-1).expand(values.shape), values)
        whole = y.new_empty((len(y), len(self.staying) + len(self.others), y.shape[2]))
        whole[:, self.staying], whole[:, self.others] = staying, others
        return whole


def plan(x: Tensor, share: float, height: int, width: int) -> Plan:
    """How tokens [rows, height * width, channels] are merged, `share` of them as far as there are others."""
    places = torch.arange(height * width, device=x.device).view(height, width)
    stays = torch.zeros_like(places, dtype=torch.bool)
    stays[::2, ::2] = True
    staying, others = places[stays], places[~stays]
    unit = nn.functional.normalize(x.float(), dim=-1)
    likeness, nearest = (unit[:, others] @ unit[:, staying].transpose(1, 2)).max(dim=-1)
    order = likeness.argsort(dim=-1, descending=True, stable=True)
    count = min(int(share * height * width), len(others))
    merged = order[:, :count]
    return Plan(staying, others, merged, order[:, count:], nearest.gather(1, merged))


def _taken(values: Tensor, which: Tensor) -> Tensor:
    return values.gather(1, which.unsqueeze(-1).expand(*which.shape, values.shape[-1]))


class Merging:
    """All transformer blocks of a UNet."""

    def __init__(self, network: nn.Module) -> None:
        self._blocks: list[Any] = [each for each in network.modules() if isinstance(each, BasicTransformerBlock)]
        self._hooks: list[Any] = []
        self._share, self._height, self._width = 0.0, 0, 0
        self._plan: Plan | None = None

    def share(self, share: float, height: int, width: int) -> None:
        """From now on `share` of the tokens of latents of this size are merged; 0: none."""
        if bool(share) != bool(self._hooks):
            self._hook() if share else self._unhook()
        self._share, self._height, self._width = share, height, width

    def _hook(self) -> None:
        for block in self._blocks:
            self._hooks += [
                block.register_forward_pre_hook(self._look),
                block.attn1.register_forward_pre_hook(self._merge),
                block.attn1.register_forward_hook(self._part),
            ]

    def _unhook(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def _look(self, _block: nn.Module, args: tuple[Any, ...]) -> None:
        fits = args[0].shape[1] == self._height * self._width
        self._plan = plan(args[0], self._share, self._height, self._width) if fits else None

    def _merge(self, _attention: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return args if self._plan is None else (self._plan.merge(args[0]), *args[1:])

    def _part(self, _attention: nn.Module, _args: tuple[Any, ...], made: Tensor) -> Tensor:
        return made if self._plan is None else self._plan.part(made)
