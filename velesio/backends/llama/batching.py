"""What one step computes: how many tokens of which sequences, so that nobody waits long for the next token."""

from collections.abc import Iterable
from typing import NamedTuple

from velesio.backends.llama.sequence import Sequence

_LEAST = 16
"""Prompt tokens of a step; fewer would not use the hardware."""
_ALONE = 4
"""How much longer a step may take while nobody waits for a next token: others still want to be let in."""


class Share(NamedTuple):
    """`tokens` tokens of `sequence`, from the first that is not computed on, and tokens that may follow them."""

    sequence: Sequence
    tokens: int
    draft: tuple[int, ...] = ()


class Pace:
    """How many prompt tokens fit into a step, learned from the steps before."""

    def __init__(self, most: int, pause: float) -> None:
        """`most` tokens in any step; `pause` seconds are how long a prompt may hold up others."""
        self._most = most
        self._pause = pause
        self._rate = 4 * _LEAST / pause
        """Tokens a second; the first guess is for a slow machine."""

    def prompt_tokens(self, *, generating: bool) -> int:
        """Prompt tokens for the next step."""
        seconds = self._pause if generating else self._pause * _ALONE
        return max(_LEAST, min(self._most, int(self._rate * seconds)))

    def observe(self, tokens: int, seconds: float) -> None:
        """A step computed `tokens` tokens in `seconds`."""
        if tokens >= _LEAST and seconds > 0:
            self._rate += (tokens / seconds - self._rate) / 2


def next_tokens(sequences: Iterable[Sequence], most: int) -> list[Share]:
    """One token of everybody who waits for the next token, or steps through those that it had, at most `most`.
    Neighbouring ids follow each other, since llama.cpp computes separate streams together only then."""
    ready = (Share(sequence, 1) for sequence in sequences if sequence.together == 1)
    return sorted(ready, key=lambda share: share.sequence.cell)[:most]


def prompts(sequences: Iterable[Sequence], room: int, most: int) -> list[Share]:
    """`room` tokens of the prompts, the first of `sequences` first, at most `most` of each. Never a single token:
    llama.cpp computes those by other code than several, so where a prompt is cut would show in the last bits of its
    result."""
    shares: list[Share] = []
    for sequence in sequences:
        if room < 2:
            break
        if (left := sequence.together) > 1:
            tokens = min(left, room, most)
            if left - tokens == 1:
                if tokens <= 2 and left > room:
                    break  # three tokens and room for two: next time
                tokens = tokens - 1 if tokens > 2 else left
            shares.append(Share(sequence, tokens))
            room -= tokens
    return shares


def halve(shares: list[Share]) -> list[Share]:
    """The same with half of the tokens of each; empty if nothing can be halved."""
    if all(share.tokens == 1 for share in shares):
        return []
    return [Share(share.sequence, (share.tokens + 1) // 2) for share in shares]
