"""Guidance: which prompts hold at a step, and how the predictions for them become one."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from velesio.backends.diffusion.conditioning import Context


class Variant(NamedTuple):
    """A prompt up to a step."""

    until: int
    """The first step, from 0, for which it no longer holds."""
    context: Context


class Wish(NamedTuple):
    """One of the prompts that are added up."""

    weight: float
    variants: tuple[Variant, ...]


class Guide(NamedTuple):
    """All prompts of a pass."""

    wishes: tuple[Wish, ...]
    negative: tuple[Variant, ...]
    cfg: float

    def contexts(self, step: int, *, with_negative: bool) -> list[Context]:
        """Those of a step, the negative one last."""
        found = [at(wish.variants, step) for wish in self.wishes]
        return [*found, at(self.negative, step)] if with_negative else found

    @property
    def tokens(self) -> int:
        """Of each context; all have the same."""
        return int(self.negative[0].context.states.shape[0])

    def combined(self, predictions: Tensor, *, with_negative: bool) -> Tensor:
        """[contexts, …] → [1, …]: away from the negative prediction, toward all wishes.

        Without the negative one: the wishes' mean by weight.
        """
        weights = [wish.weight for wish in self.wishes]
        if not with_negative:
            total = sum(weights) or 1.0
            return _sum(predictions, [weight / total for weight in weights])
        negative = predictions[-1:]
        return negative + _sum(predictions[:-1] - negative, [weight * self.cfg for weight in weights])


def at(variants: Sequence[Variant], step: int) -> Context:
    """The context that holds at a step; after the last one's end still that."""
    return next((variant.context for variant in variants if step < variant.until), variants[-1].context)


def _sum(predictions: Tensor, weights: Sequence[float]) -> Tensor:
    result = predictions[:1] * weights[0]
    for number, weight in enumerate(weights[1:], 1):
        result = result + predictions[number : number + 1] * weight
    return result


def skips_negative(step: int, sigma: float, *, below: float, early: int, every: bool = False) -> bool:
    """Whether a step leaves the negative prompt out: the first `early` ones, and below a level every second one, or
    every one."""
    return step < early or (below > 0 and sigma < below and (every or step % 2 == 1))
