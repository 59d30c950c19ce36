"""States of sequences that lost their cells, kept in memory: to copy one back is cheaper than to compute it again."""

from array import array
from collections import OrderedDict
from collections.abc import Hashable
from typing import NamedTuple

from velesio.backends.llama.prefix_cache import common_prefix


class Parked(NamedTuple):
    """The cells of `tokens` as the library wrote them."""

    tokens: "array[int]"
    data: bytes


class Parking:
    """Parked states within a budget of bytes, those used longest ago forgotten first."""

    def __init__(self, budget: int) -> None:
        """`budget` in bytes; 0 parks nothing."""
        self._budget = budget
        self._states: OrderedDict[tuple[Hashable, bytes], Parked] = OrderedDict()
        self.bytes = 0
        """Memory in use."""

    def holds(self, size: int) -> bool:
        """Whether a state of `size` bytes may be parked at all."""
        return 0 < size <= self._budget

    def put(self, state: Parked, namespace: Hashable) -> None:
        """Parks a state; others make room."""
        key = (namespace, state.tokens.tobytes())
        self._forget(key)
        self._states[key] = state
        self.bytes += len(state.data)
        while self.bytes > self._budget:
            self._forget(next(iter(self._states)))

    def best(self, tokens: "array[int]", namespace: Hashable, *, whole: bool = False) -> tuple[Parked, int] | None:
        """The state with the longest prefix of `tokens`, and that length; with `whole` only those all of whose tokens
        are wanted."""
        found: tuple[int, tuple[Hashable, bytes]] | None = None
        for key, state in self._states.items():
            if key[0] != namespace:
                continue
            length = common_prefix(state.tokens, tokens)
            if length and (found is None or length > found[0]) and not (whole and length < len(state.tokens)):
                found = (length, key)
        if found is None:
            return None
        length, key = found
        self._states.move_to_end(key)
        return self._states[key], length

    def _forget(self, key: tuple[Hashable, bytes]) -> None:
        state = self._states.pop(key, None)
        if state is not None:
            self.bytes -= len(state.data)
