"""Guesses: how many different wrong keys each address has tried at this gateway, so that nobody can try them all.

An address that has used up its share is answered nothing about keys that it has not shown before: not even right ones,
or every answer would be a guess. Keys that it has shown before go on, right or wrong: so neither whoever works behind
the same proxy nor a game whose old key is asked for again and again locks anybody out.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address

from velesio.errors import TooManyKeys

_SPAN = 60.0
_ADDRESSES = 10_000
_KEYS = 50_000
"""Both are bounds of memory: what was not heard of for longest is forgotten."""
_SUBNET = 64
"""Bits of an IPv6 address that its holder was given; the others are its own choice."""


class Guesses:
    """Those of one gateway."""

    def __init__(self, a_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        """`a_minute`: different wrong keys that each address may try; 0: as many as it likes."""
        self._share = a_minute
        self._pause = _SPAN / max(1, a_minute)
        self._now = now
        self._spent: OrderedDict[str, float] = OrderedDict()
        """When each address will have its whole share again."""
        self._shown: OrderedDict[int, None] = OrderedDict()
        """Marks of keys that an address has shown."""

    def check(self, address: str, token: str) -> None:
        """Nothing, if the key may be looked at.

        Raises:
            TooManyKeys: with the seconds until the next one may.
        """
        if not self._share:
            return
        # Python's hashes are keyed anew in each process: nobody finds the key by its mark.
        mark = hash((address, token))
        if mark in self._shown:
            self._shown.move_to_end(mark)
            return
        wait = self._spent.get(holder_of(address), 0.0) - self._now() - _SPAN + self._pause
        if wait > 0:
            seconds = max(1, -int(-wait // 1))
            raise TooManyKeys(
                f"too many wrong API keys were tried from this address; try again in {seconds} s", retry_after=wait
            )

    def note(self, address: str, token: str, *, wrong: bool) -> bool:
        """Remember that the key was looked at. True: with it the address has used up its share."""
        if not self._share:
            return False
        mark = hash((address, token))
        known = mark in self._shown
        self._shown[mark] = None
        _bound(self._shown, _KEYS)
        if known or not wrong:
            return False
        holder, now = holder_of(address), self._now()
        spent = max(self._spent.pop(holder, 0.0), now) + self._pause
        self._spent[holder] = spent
        _bound(self._spent, _ADDRESSES)
        return spent - now > _SPAN - self._pause


def _bound(known: OrderedDict[int, None] | OrderedDict[str, float], most: int) -> None:
    while len(known) > most:
        known.popitem(last=False)


def holder_of(address: str) -> str:
    """Who can use an address: itself, or all of its IPv6 subnet."""
    if ":" not in address:
        return address
    return str(IPv6Address(int(IPv6Address(address)) >> (128 - _SUBNET) << (128 - _SUBNET)))
