"""What one step computes: how many tokens of which sequences, so that nobody waits long for the next token."""

from collections.abc import Iterable
from operator import attrgetter
from typing import NamedTuple

from velesio.backends.llama.sequence import Sequence

_LEAST = 16
"""Prompt tokens of a step; fewer would not use the hardware."""
TILE = 64
"""Tokens of a sequence at once from which on llama.cpp computes attention another way on CPUs: in tiles, adding up in
32 bits instead of 16, which shows in more than the last bits."""
_ALONE = 4
"""How much longer a step may take while nobody waits for a next token: others still want to be let in."""
_CELL = attrgetter("cell")


class Share(NamedTuple):
    """`tokens` tokens of `sequence`, from the first that is not computed on, and tokens that may follow them."""

    sequence: Sequence
    tokens: int
    draft: tuple[int, ...] = ()


class Pace:
    """How many prompt tokens fit into a step, learned from the steps before."""

    def __init__(self, most: int, pause: float, least: int = 0) -> None:
        """`least` to `most` tokens in any step; `pause` seconds are how long a prompt may hold up others."""
        self._least = max(least, _LEAST)
        self._most = most
        self._pause = pause
        self._rate = 4 * _LEAST / pause
        """Tokens a second; the first guess is for a slow machine."""

    def prompt_tokens(self, *, generating: bool) -> int:
        """Prompt tokens for the next step."""
        seconds = self._pause if generating else self._pause * _ALONE
        return max(self._least, min(self._most, int(self._rate * seconds)))

    def observe(self, tokens: int, seconds: float) -> None:
        """A step computed `tokens` tokens in `seconds`."""
        if tokens >= _LEAST and seconds > 0:
            self._rate += (tokens / seconds - self._rate) / 2


def next_tokens(sequences: Iterable[Sequence], most: int) -> list[Share]:
    """One token of everybody who waits for the next token, or steps through those that it had, at most `most`.
    Neighbouring ids follow each other, since llama.cpp computes separate streams together only then."""
    ready = [sequence for sequence in sequences if sequence.together == 1]
    ready.sort(key=_CELL)
    return [Share(sequence, 1) for sequence in ready[:most]]


def prompts(sequences: Iterable[Sequence], room: int, most: int, tile: int = 0, spare: int = 0) -> list[Share]:
    """`room` tokens of the prompts, the first of `sequences` first, at most `most` of each; see `piece`.

    Pieces of a prompt take longer than all of it at once. So up to `spare` tokens more are computed of one that is done
    then, and one that is cut all the same begins where there is room for as many.
    """
    shares: list[Share] = []
    for sequence in sequences:
        if (left := sequence.together) > 1:
            fitting = left if left <= room + spare else room if room >= spare else 0
            if fitting < 2 or not (tokens := piece(left, fitting, most, tile)):
                break  # there is room for too few: next time
            shares.append(Share(sequence, tokens))
            room -= tokens
    return shares


def piece(left: int, room: int, most: int, tile: int = 0) -> int:
    """How many of the `left` tokens of a prompt are computed at once: at most `most`, where `room` tokens have place;
    0: that is too little.

    Where a prompt is cut, which time decides, must not show in its result. So which tokens are computed in tiles, those
    of `tile` tokens or more, depends on the prompt's length alone: whole tiles, as long as one is left, then the rest
    in smaller pieces. And no single token is cut off, since llama.cpp computes that by other code than several.
    """
    tokens = min(left, room, most)
    if tile and left >= tile:
        tokens -= tokens % tile
        if left - tokens == 1 and tokens:
            tokens = left if left <= most else tokens - tile or tokens
        return tokens
    if left - tokens == 1:
        return tokens - 1 if tokens > 2 else left if tokens == most else 0
    return tokens if room > 1 else 0


def halve(shares: list[Share]) -> list[Share]:
    """The same with half of the tokens of each; empty if nothing can be halved."""
    if all(share.tokens == 1 for share in shares):
        return []
    return [Share(share.sequence, (share.tokens + 1) // 2) for share in shares]
