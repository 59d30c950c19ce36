"""The slots as clients see them: what each computes now, and what its last job left in the cache."""

from array import array
from collections.abc import Hashable
from typing import Any

from velesio.backends.llama.cells import Cells
from velesio.backends.llama.sequence import Sequence
from velesio.backends.llama.slots import Held, describe


class Shelf:
    """Slots and what lies in them; a slot outlives its jobs."""

    def __init__(self, cells: Cells, slots: list[Sequence | None], *, context: int, isolated: bool) -> None:
        """`slots` is the engine's own list; `isolated`: what a tenant left is kept from others."""
        self._cells = cells
        self._slots = slots
        self._context = context
        self._isolated = isolated
        self._left: dict[int, tuple[array[int], Hashable]] = {}
        """Tokens of the last job that ended in a slot, and in whose name."""

    @property
    def count(self) -> int:
        """How many slots there are."""
        return len(self._slots)

    def leave(self, sequence: Sequence) -> None:
        """A job ends in its slot; called while it still has its cells."""
        self._left[sequence.slot] = (sequence.tokens[: sequence.computed], sequence.namespace)

    def slots(self) -> list[dict[str, Any]]:
        """llama-server's description of each."""
        return [
            describe(id=number, n_ctx=self._context, sequence=sequence) for number, sequence in enumerate(self._slots)
        ]

    def is_busy(self, slot: int) -> bool:
        """Whether a job is in it."""
        return self._slots[slot] is not None

    def held(self, slot: int, tenant: str) -> Held | None:
        """What the last job left, if it is still cached and the tenant may use it."""
        tokens, namespace = self._left.get(slot, (array("i"), ""))
        if not tokens or (self._isolated and namespace != self._namespace(tenant)):
            return None
        found = self._cells.find(tokens, namespace)
        return Held(*found) if found is not None else None

    def vacate(self, slot: int) -> int:
        """An empty sequence id for a state that is to be restored into the slot.

        Raises:
            Unavailable: every id is running.
        """
        self._left.pop(slot, None)
        return self._cells.vacate()

    def adopt(self, slot: int, cell: int, tokens: "array[int]", tenant: str) -> None:
        """The id `cell` holds `tokens` now, as if a job had left them in the slot."""
        namespace = self._namespace(tenant)
        self._cells.adopt(cell, tokens, namespace)
        self._left[slot] = (tokens, namespace)

    def give_up(self, slot: int, cell: int) -> None:
        """The id `cell` could not be filled."""
        self._left.pop(slot, None)
        self._cells.discard(cell)

    def erase(self, slot: int) -> int:
        """Forgets what the last job left; returns how many tokens that were."""
        tokens, namespace = self._left.pop(slot, (array("i"), ""))
        found = self._cells.find(tokens, namespace) if tokens else None
        if found is None:
            return 0
        self._cells.discard(found[0])
        return len(tokens)

    def _namespace(self, tenant: str) -> Hashable:
        return (tenant if self._isolated else "", ())
