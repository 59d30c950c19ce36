"""Philox: the random numbers of NVIDIA GPUs, made on any machine.

Source: Salmon et al. 2011, Philox4x32-10; normal numbers by Box and Muller's method as cuRAND's documentation has it.
"""

import numpy as np
from numpy.typing import NDArray

_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint32(0x9E3779B9), np.uint32(0xBB67AE85))
_STEP = np.float32(2.3283064e-10)
"""2 to the power of -32, as cuRAND writes it."""
_TURN = np.float32(2.3283064e-10) * np.float32(6.2831855)

Words = NDArray[np.uint32]


class Philox:
    """A generator with a seed; each draw counts on."""

    def __init__(self, seed: int) -> None:
        self._key = (np.uint32(seed & 0xFFFFFFFF), np.uint32((seed >> 32) & 0xFFFFFFFF))
        self._drawn = 0

    def normal(self, count: int) -> NDArray[np.float32]:
        """So many normal numbers: those that `torch.randn` gives on a GPU for the same seed."""
        counter = np.zeros((4, count), np.uint32)
        counter[0] = self._drawn
        counter[2] = np.arange(count, dtype=np.uint32)
        self._drawn += 1
        words = block(counter, self._key)
        distance = words[0].astype(np.float32) * _STEP + _STEP / 2
        angle = words[1].astype(np.float32) * _TURN + _TURN / 2
        numbers: NDArray[np.float32] = np.sqrt(np.float32(-2.0) * np.log(distance)) * np.sin(angle)
        return numbers


def block(counter: Words, key: tuple[np.uint32, np.uint32]) -> Words:
    """Ten rounds over counters [4, n]."""
    keys = np.array(key, np.uint32)
    with np.errstate(over="ignore"):
        for number in range(_ROUNDS):
            if number:
                keys = keys + np.array(_WEYL, np.uint32)
            first = counter[0].astype(np.uint64) * _MULTIPLIERS[0]
            second = counter[2].astype(np.uint64) * _MULTIPLIERS[1]
            counter = np.stack(
                [
                    _high(second) ^ counter[1] ^ keys[0],
                    second.astype(np.uint32),
                    _high(first) ^ counter[3] ^ keys[1],
                    first.astype(np.uint32),
                ]
            )
    return counter


def _high(product: NDArray[np.uint64]) -> Words:
    return (product >> np.uint64(32)).astype(np.uint32)
