"""Which computed prefixes lie in the KV cache, under which sequence ids, and what a new sequence takes over.

Pure bookkeeping: the engine carries out what a `Claim` or a `Move` says. A sequence id is free, running (a job
computes with it) or kept (its job ended; its cells may be reused or given up).
"""

from array import array
from typing import NamedTuple

LEFT = 2
"""Tokens of a prompt that are always computed again: the last, since its logits are wanted, and one with it, since
llama.cpp computes single tokens by other code than several and the result would differ in its last bits."""


class Claim(NamedTuple):
    """What a new sequence gets. First forget what `sequence` holds from position `keep` on; then, if `source` is
    another id, let it have the cells of that one at positions 0 to `length`. Compute from `length` on."""

    sequence: int
    length: int
    """Tokens that need not be computed."""
    source: int
    """The id whose cells are reused; the sequence itself where nothing is copied."""

    @property
    def keep(self) -> int:
        """Positions of the id's earlier cells that stay."""
        return self.length if self.source == self.sequence else 0


class Move(NamedTuple):
    """All cells of the id `source` go to the id `target`; what that holds is forgotten before."""

    source: int
    target: int


class _Entry:
    __slots__ = ("namespace", "running", "tokens", "used")

    def __init__(self, namespace: str, tokens: "array[int]") -> None:
        self.namespace = namespace
        self.tokens = tokens
        self.running = True
        self.used = 0


class PrefixCache:
    """Computed tokens by sequence id."""

    def __init__(self, sequences: int, *, least: int = 1, whole: bool = False) -> None:
        """`least`: tokens from which on a copy is cheaper than to compute them. `whole`: states cannot be cut
        (recurrent models), so that only a kept id whose every token is wanted is reused, and nothing is copied."""
        self._sequences = sequences
        self._entries: dict[int, _Entry] = {}
        self._least = least
        self._whole = whole
        self._clock = 0

    @property
    def shares(self) -> bool:
        """Whether a sequence can have the cells of one that still runs."""
        return not self._whole

    @property
    def kept(self) -> int:
        """Sequences that ended and can be reused."""
        return sum(not entry.running for entry in self._entries.values())

    def claim(self, tokens: "array[int]", *, namespace: str = "", reuse: bool = True) -> Claim:
        """An id for a new running sequence of `tokens`, with the longest prefix that is already computed."""
        wanted = tokens[:-LEFT] if reuse else array("i")
        source, length = self._longest(wanted, namespace)
        if length and self._goes_on(source, length):
            sequence = source
        else:
            sequence = self._vacant(spare=source)
            if self._whole or (sequence != source and length < self._least):
                length = 0
        self._entries[sequence] = _Entry(namespace, wanted[:length])
        return Claim(sequence, length, source if length else sequence)

    def reusable(self, tokens: "array[int]", *, namespace: str = "") -> int:
        """How many of these tokens need not be computed by a sequence that claims now."""
        return self._longest(tokens[:-LEFT], namespace)[1]

    def extend(self, sequence: int, tokens: "array[int]") -> None:
        """More tokens of a running sequence are computed."""
        self._entries[sequence].tokens.extend(tokens)

    def release(self, sequence: int, *, keep: bool = True) -> bool:
        """A sequence runs no longer. False: nothing of it is kept, so its cells are to be removed."""
        entry = self._entries[sequence]
        if not keep or not entry.tokens or self._is_known(sequence, entry):
            del self._entries[sequence]
            return False
        entry.running = False
        self._clock += 1
        entry.used = self._clock
        return True

    def evict(self) -> int | None:
        """Gives up the kept sequence that was used longest ago; its cells are to be removed. None: there is none."""
        sequence = self._oldest(spare=-1)
        if sequence is not None:
            del self._entries[sequence]
        return sequence

    def gather(self) -> list[Move]:
        """Moves that give the running sequences neighbouring ids: llama.cpp computes separate streams together only
        where their ids follow each other. Kept sequences make way, or are given up where there is no place."""
        running = {sequence for sequence, entry in self._entries.items() if entry.running}
        begin = max(
            range(self._sequences - len(running) + 1),
            key=lambda start: len(running & set(range(start, start + len(running)))),
        )
        window = range(begin, begin + len(running))
        strangers = sorted(running - set(window))
        places = sorted(set(window) - running, key=lambda sequence: (sequence in self._entries, sequence))
        moves: list[Move] = []
        for source, target in zip(strangers, places, strict=True):
            if target in self._entries:
                moves += self._make_way(target, window)
            moves.append(self._move(source, target))
        return moves

    def _make_way(self, kept: int, window: range) -> list[Move]:
        """Moves a kept sequence out of the window, over one that was used longer ago if nothing is free."""
        place = next((other for other in range(self._sequences) if other not in self._entries), None)
        if place is None:
            place = self._oldest(spare=-1)
            assert place is not None  # noqa: S101 - `kept` itself is one
            del self._entries[place]
        if place == kept or place in window:
            self._entries.pop(kept, None)
            return []
        return [self._move(kept, place)]

    def _move(self, source: int, target: int) -> Move:
        self._entries[target] = self._entries.pop(source)
        return Move(source, target)

    def _longest(self, wanted: "array[int]", namespace: str) -> tuple[int, int]:
        """The id with the longest usable prefix of `wanted`, and that length; kept ids before running ones."""
        best = (0, False, 0, -1)
        for sequence, entry in self._entries.items():
            if entry.namespace != namespace or (self._whole and entry.running):
                continue
            length = common_prefix(entry.tokens, wanted)
            if length and not (self._whole and length < len(entry.tokens)):
                best = max(best, (length, not entry.running, entry.used, sequence))
        return best[3], best[0]

    def _goes_on(self, source: int, length: int) -> bool:
        """Whether the new sequence continues in the id `source` itself: only if nothing of that gets lost."""
        entry = self._entries[source]
        return not entry.running and length == len(entry.tokens)

    def _vacant(self, spare: int) -> int:
        """An id that nobody runs in: the lowest free one, else the kept one used longest ago."""
        for sequence in range(self._sequences):
            if sequence not in self._entries:
                return sequence
        oldest = self._oldest(spare)
        if oldest is None:
            raise LookupError("every sequence id is running")
        return oldest

    def _oldest(self, spare: int) -> int | None:
        """The kept id used longest ago; `spare` only if it is the only one."""
        kept = (
            (sequence == spare, entry.used, sequence) for sequence, entry in self._entries.items() if not entry.running
        )
        return min(kept, default=(False, 0, None))[2]

    def _is_known(self, sequence: int, entry: _Entry) -> bool:
        """Whether another id holds all of these tokens too."""
        return not self._whole and any(
            other != sequence
            and item.namespace == entry.namespace
            and common_prefix(item.tokens, entry.tokens) == len(entry.tokens)
            for other, item in self._entries.items()
        )


def common_prefix(left: "array[int]", right: "array[int]") -> int:
    """How many tokens two sequences begin with in common; compares memory, not elements."""
    one, two = memoryview(left).cast("B"), memoryview(right).cast("B")
    size = left.itemsize
    low, high = 0, min(len(left), len(right))
    if one[: high * size] == two[: high * size]:
        return high
    while high - low > 1:
        middle = (low + high) // 2
        if one[low * size : middle * size] == two[low * size : middle * size]:
            low = middle
        else:
            high = middle
    return low
