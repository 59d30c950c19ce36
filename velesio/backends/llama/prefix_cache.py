"""Which computed prefixes lie in the KV cache, under which sequence ids, and what a new sequence takes over.

Pure bookkeeping: the engine carries out what a `Claim` says. A sequence id is free, running (a job computes with
it) or kept (its job ended; its cells may be reused or given up).
"""

from array import array
from typing import NamedTuple


class Claim(NamedTuple):
    """What a new sequence gets. First forget what `sequence` holds from position `keep` on; then, if `source` is
    another id, copy its cells at positions 0 to `length` over. Compute from `length` on."""

    sequence: int
    length: int
    """Tokens that need not be computed."""
    source: int
    """The id whose cells are reused; the sequence itself where nothing is copied."""

    @property
    def keep(self) -> int:
        """Positions of the id's earlier cells that stay."""
        return self.length if self.source == self.sequence else 0


class _Entry:
    __slots__ = ("namespace", "running", "tokens", "used")

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.tokens = array("i")
        self.running = True
        self.used = 0


class PrefixCache:
    """Computed tokens by sequence id."""

    def __init__(self, sequences: int, *, share: bool, whole: bool = False) -> None:
        """`share`: cells may belong to several ids, so that prefixes are copied at no cost; else only a kept
        id's own are reused. `whole`: states cannot be cut (recurrent models): only a kept id whose every token
        is wanted is reused."""
        self._free = list(range(sequences - 1, -1, -1))
        self._entries: dict[int, _Entry] = {}
        self.shares = share and not whole
        """Whether a sequence can use the cells of one that still runs."""
        self._whole = whole
        self._clock = 0

    def claim(self, tokens: "array[int]", *, namespace: str = "", reuse: bool = True) -> Claim:
        """An id for a new running sequence of `tokens`, with the longest prefix that is already computed; at
        least one token is always left to compute, since its logits are wanted."""
        wanted = tokens[:-1] if reuse else array("i")
        source, length = self._longest(wanted, namespace)
        if length and self._takes_over(source, length, len(wanted)):
            sequence = source
        elif self._free:
            sequence = self._free.pop()
        else:
            sequence = self._oldest(spare=source)
        length = length if sequence == source or self.shares else 0
        if sequence != source and not self.shares and sequence in self._entries:
            length = self._own_prefix(sequence, wanted, namespace)
            source = sequence
        entry = self._entries[sequence] = _Entry(namespace)
        entry.tokens = wanted[:length]
        return Claim(sequence, length, source if length else sequence)

    def extend(self, sequence: int, tokens: "array[int]") -> None:
        """More tokens of a running sequence are computed."""
        self._entries[sequence].tokens.extend(tokens)

    def reusable(self, tokens: "array[int]", *, namespace: str = "") -> int:
        """How many of these tokens need not be computed by a sequence that claims now."""
        return self._longest(tokens[:-1], namespace)[1]

    def release(self, sequence: int, *, keep: bool = True) -> bool:
        """A sequence runs no longer. False: nothing of it is kept, so its cells are to be removed."""
        entry = self._entries[sequence]
        if not keep or not entry.tokens or self._is_known(sequence, entry):
            self._drop(sequence)
            return False
        entry.running = False
        entry.used = self._tick()
        return True

    def evict(self) -> int | None:
        """Gives up the kept sequence that was used longest ago; its cells are to be removed. None: there is none."""
        kept = [(entry.used, sequence) for sequence, entry in self._entries.items() if not entry.running]
        if not kept:
            return None
        sequence = min(kept)[1]
        self._drop(sequence)
        return sequence

    @property
    def kept(self) -> int:
        """Sequences that ended and can be reused."""
        return sum(not entry.running for entry in self._entries.values())

    def _longest(self, wanted: "array[int]", namespace: str) -> tuple[int, int]:
        """The id with the longest usable prefix of `wanted`, and that length; kept ids before running ones."""
        best = (0, False, 0, -1)
        for sequence, entry in self._entries.items():
            if entry.namespace != namespace or (entry.running and not self.shares):
                continue
            length = common_prefix(entry.tokens, wanted)
            if self._whole and length < len(entry.tokens):
                continue
            best = max(best, (length, not entry.running, entry.used, sequence))
        return best[3], best[0]

    def _takes_over(self, source: int, length: int, wanted: int) -> bool:
        """Whether the new sequence goes on in the id `source` itself. Where cells can be shared, only if nothing of
        it gets lost; else if a good part is of use, since another conversation's cells go."""
        entry = self._entries[source]
        if entry.running:
            return False
        if self.shares or self._whole:
            return length == len(entry.tokens)
        return length * 10 >= wanted or not self._free

    def _own_prefix(self, sequence: int, wanted: "array[int]", namespace: str) -> int:
        entry = self._entries[sequence]
        if entry.namespace != namespace or self._whole:
            return 0
        return common_prefix(entry.tokens, wanted)

    def _oldest(self, spare: int) -> int:
        kept = [
            (sequence == spare, entry.used, sequence) for sequence, entry in self._entries.items() if not entry.running
        ]
        return min(kept)[2]

    def _is_known(self, sequence: int, entry: _Entry) -> bool:
        """Whether another id holds all of these tokens too."""
        return self.shares and any(
            other != sequence
            and item.namespace == entry.namespace
            and len(item.tokens) >= len(entry.tokens)
            and common_prefix(item.tokens, entry.tokens) == len(entry.tokens)
            for other, item in self._entries.items()
        )

    def _drop(self, sequence: int) -> None:
        del self._entries[sequence]
        self._free.append(sequence)

    def _tick(self) -> int:
        self._clock += 1
        return self._clock


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
