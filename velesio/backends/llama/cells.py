"""The cells of the KV cache: gives sequences theirs with the longest prefix that is known, and takes them back."""

import logging
from array import array
from collections.abc import Hashable, Iterable

from velesio.backends.llama.batching import Share
from velesio.backends.llama.binding import Context
from velesio.backends.llama.parking import Parked, Parking
from velesio.backends.llama.prefix_cache import LEFT, PrefixCache
from velesio.backends.llama.sequence import Sequence
from velesio.errors import Unavailable

WORTH = 32
"""Tokens from which on it is better to copy or to wait for a prefix than to compute it."""
_PATIENCE = 4
"""Steps in which sequences that are computed together may lie apart."""

_log = logging.getLogger(__name__)


class Cells:
    """Who holds which cells of a context."""

    def __init__(self, context: Context, sequences: int, parking: Parking, *, can_cut: bool) -> None:
        """`sequences` ids are told apart. `can_cut`: whether a part of what a sequence holds can be removed; states
        of recurrent models cannot."""
        self._context = context
        self._can_cut = can_cut
        self._cache = PrefixCache(sequences, least=1 if context.unified else WORTH, whole=not can_cut)
        self._parking = parking
        self._scattered = 0
        """Steps since the running sequences' ids follow each other no more."""

    @property
    def used(self) -> int:
        """Cells in use; where they are unified, a prefix that several sequences share counts for each."""
        return self._cache.tokens

    @property
    def running(self) -> int:
        """Those of them that running sequences hold."""
        return self._cache.running_tokens

    @property
    def kept(self) -> int:
        """Ended sequences whose cells are kept."""
        return self._cache.kept

    @property
    def shares(self) -> bool:
        """Whether a sequence can have the cells of one that still runs."""
        return self._cache.shares

    def known(self, sequence: Sequence) -> int:
        """Tokens of a waiting sequence that would not be computed if it were seated now."""
        return self._cache.reusable(sequence.tokens, namespace=sequence.namespace)

    def has_room(self, sequence: Sequence, running: Iterable[Sequence]) -> bool:
        """Whether all tokens of a waiting sequence have place beside those of the running ones; with less, it would
        have to give up its cells again."""
        if not self._context.unified:
            return True
        promised = sum(other.left for other in running)
        new = len(sequence.tokens) - self.known(sequence)
        return self._cache.occupied + promised + new <= self._context.n_cells

    def find(self, tokens: "array[int]", namespace: Hashable) -> "tuple[int, array[int]] | None":
        """A kept sequence id that begins with `tokens`, and all that it holds."""
        return self._cache.find(tokens, namespace)

    def vacate(self) -> int:
        """An id with no cells, for `adopt` or `discard`.

        Raises:
            Unavailable: every id is running.
        """
        try:
            claim = self._cache.claim(array("i"), reuse=False)
        except LookupError:
            raise Unavailable("every sequence is in use; try again when one has ended") from None
        if claim.lost:
            self._park(claim.sequence, claim.lost.tokens, claim.lost.namespace)
        self._context.remove(claim.sequence)
        return claim.sequence

    def adopt(self, cell: int, tokens: "array[int]", namespace: Hashable) -> None:
        """A vacated id holds `tokens` now, which are kept for reuse."""
        self._cache.release(cell, keep=False)
        self._cache.adopt(cell, tokens, namespace)

    def discard(self, cell: int) -> None:
        """Frees an id in which no job runs."""
        self._cache.release(cell, keep=False)
        self._context.remove(cell)

    def seat(self, sequence: Sequence) -> None:
        """Gives a sequence an id, with the longest prefix that is computed already."""
        space = sequence.namespace
        claim = self._cache.claim(sequence.tokens, namespace=space, reuse=sequence.reuse)
        if claim.lost:
            self._park(claim.sequence, claim.lost.tokens, claim.lost.namespace)
        if not self._context.remove(claim.sequence, claim.keep):
            raise RuntimeError(f"cells of sequence {claim.sequence} cannot be removed from {claim.keep} on")
        if claim.source != claim.sequence:
            self._context.share(claim.source, claim.sequence, claim.length)
        sequence.cell, sequence.computed = claim.sequence, claim.length
        if sequence.reuse:
            self._fetch(sequence)
        if sequence.cached is None:
            sequence.cached = sequence.computed

    def unseat(self, sequence: Sequence, *, keep: bool) -> None:
        """Takes the cells back; with `keep` what is computed can be used by others."""
        if not self._cache.release(sequence.cell, keep=keep):
            self._context.remove(sequence.cell)
        sequence.cell, sequence.computed = -1, 0

    def interrupt(self, sequence: Sequence) -> None:
        """Takes the cells of a sequence that has to wait; what is computed is parked, if there is room."""
        if sequence.reuse:
            self._park(sequence.cell, sequence.tokens[: sequence.computed], sequence.namespace)
        self.unseat(sequence, keep=False)

    def extend(self, sequence: Sequence, tokens: int) -> None:
        """The next `tokens` tokens of a sequence are computed."""
        begin, end = sequence.computed, sequence.computed + tokens
        self._cache.extend(sequence.cell, sequence.tokens[begin:end])
        sequence.computed = end

    def cut(self, sequence: Sequence) -> None:
        """Removes what was computed beyond the sequence's tokens."""
        self._context.remove(sequence.cell, sequence.computed)

    def shift(self, sequence: Sequence) -> None:
        """Makes place in a full context: the oldest tokens go, the others move up."""
        sequence.computed = min(sequence.computed, len(sequence.tokens) - 1)
        shared = self._cache.shared(sequence.cell) if self._context.unified else 0
        keep, gone = sequence.shift()
        if self._context.can_shift and shared <= keep + gone:
            self._context.shift(sequence.cell, keep, gone)
        else:  # others hold the same cells, which would move for them too
            self._context.remove(sequence.cell, keep if self._can_cut else 0)
            sequence.computed = keep if self._can_cut else 0
        self._cache.hide(sequence.cell)
        self._cache.extend(sequence.cell, sequence.tokens[: sequence.computed])

    def evict(self, wanted: int) -> bool:
        """Gives up kept prefixes, those used longest ago first, until about `wanted` cells are free; False: nothing
        is kept."""
        freed = 0
        while freed < wanted and (evicted := self._cache.evict()) is not None:
            self._park(evicted.sequence, evicted.tokens, evicted.namespace)
            self._context.remove(evicted.sequence)
            freed += max(1, evicted.freed)
        return freed > 0

    def gather(self, ready: list[Share], running: Iterable[Sequence]) -> None:
        """Brings sequences that are computed together to neighbouring ids, if they stayed apart for some steps: each
        gap costs a pass over the weights in every step, a move costs a copy once."""
        gaps = any(share.sequence.cell != ready[0].sequence.cell + place for place, share in enumerate(ready))
        self._scattered = self._scattered + 1 if gaps and self._can_cut else 0
        if self._scattered < _PATIENCE:
            return
        self._scattered = 0
        cells = {sequence.cell: sequence for sequence in running}
        for move in self._cache.gather():
            self._context.move(move.source, move.target)
            if move.source in cells:
                cells[move.source].cell = move.target
        ready.sort(key=lambda share: share.sequence.cell)

    def _park(self, cell: int, tokens: "array[int]", namespace: Hashable) -> None:
        if len(tokens) < WORTH or not self._parking.holds(self._context.state_size(cell)):
            return
        self._parking.put(Parked(tokens, self._context.state(cell)), namespace)

    def _fetch(self, sequence: Sequence) -> None:
        """Copies a parked state back, if that is worth it."""
        wanted = sequence.tokens[:-LEFT]
        found = self._parking.best(wanted, sequence.namespace, whole=not self._can_cut)
        if found is None or found[1] < sequence.computed + WORTH:
            return
        state, length = found
        self._context.remove(sequence.cell)
        if not self._context.restore(sequence.cell, state.data):
            _log.warning("a parked state of %d tokens could not be restored", len(state.tokens))
            self._context.remove(sequence.cell)
            self._cache.hide(sequence.cell)
            sequence.computed = 0
            return
        if length < len(state.tokens):
            self._context.remove(sequence.cell, length)
        self._cache.extend(sequence.cell, wanted[sequence.computed : length])
        sequence.computed = length
