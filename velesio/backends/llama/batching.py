"""What one step computes: how many tokens of which sequence, under a budget."""

from collections.abc import Iterable
from typing import NamedTuple

from velesio.backends.llama.sequence import Sequence


class Share(NamedTuple):
    """`tokens` tokens of `sequence`, from the first that is not computed on."""

    sequence: Sequence
    tokens: int


def divide(sequences: Iterable[Sequence], budget: int) -> list[Share]:
    """The next step's shares: first everybody whose next token needs one computation, since people see that; then
    prompts, the oldest first, in the order of `sequences`. Never more than `budget` tokens."""
    ready: list[Share] = []
    prompts: list[Sequence] = []
    for sequence in sequences:
        if sequence.left > 1:
            prompts.append(sequence)
        elif len(ready) < budget:
            ready.append(Share(sequence, 1))
    budget -= len(ready)
    for sequence in prompts:
        if budget <= 0:
            break
        share = Share(sequence, min(sequence.left, budget))
        ready.append(share)
        budget -= share.tokens
    return ready


def halve(shares: list[Share]) -> list[Share]:
    """The same with half of the tokens of each; empty if nothing can be halved."""
    if all(share.tokens == 1 for share in shares):
        return []
    return [Share(share.sequence, (share.tokens + 1) // 2) for share in shares]
