"""Which computed prefixes lie in the KV cache, under which sequence ids, and what a new sequence takes over.

A radix tree over token ids: a node is a run of tokens that always came together, and knows the sequence ids that hold
cells for it. Pure bookkeeping: the engine carries out what a `Claim` or a `Move` says. A sequence id is free,
running (a job computes with it) or kept (its job ended; its cells may be reused or given up).
"""

from array import array
from collections.abc import Hashable, Iterator
from typing import NamedTuple

LEFT = 2
"""Tokens of a prompt that are always computed again: the last, since its logits are wanted, and one with it, since
llama.cpp computes single tokens by other code than several and the result would differ in its last bits."""


class Evicted(NamedTuple):
    """What a kept sequence id held and had to give up."""

    sequence: int
    tokens: "array[int]"
    namespace: Hashable
    freed: int
    """Tokens that nobody else holds."""


class Claim(NamedTuple):
    """What a new sequence gets. First forget what `sequence` holds from position `keep` on; then, if `source` is
    another id, let it have the cells of that one at positions 0 to `length`. Compute from `length` on."""

    sequence: int
    length: int
    """Tokens that need not be computed."""
    source: int
    """The id whose cells are reused; the sequence itself where nothing is copied."""
    lost: Evicted | None = None
    """What the id `sequence` held for an ended job and nobody holds from now on."""

    @property
    def keep(self) -> int:
        """Positions of the id's earlier cells that stay."""
        return self.length if self.source == self.sequence else 0


class Move(NamedTuple):
    """All cells of the id `source` go to the id `target`; what that holds is forgotten before."""

    source: int
    target: int


class _Node:
    """A run of tokens after those of its parent. Whoever holds it holds its parent as well."""

    __slots__ = ("children", "holders", "parent", "tokens")

    def __init__(self, tokens: "array[int]", parent: "_Node | None", holders: set[int]) -> None:
        self.tokens = tokens
        self.parent = parent
        self.holders = holders
        self.children: dict[int, _Node] = {}


class _Holder:
    """A sequence id in use: `tail` is the node where what it holds ends."""

    __slots__ = ("length", "namespace", "private", "root", "running", "tail", "used")

    def __init__(self, root: _Node, namespace: Hashable, *, private: bool) -> None:
        self.root = self.tail = root
        self.namespace = namespace
        self.private = private
        self.length = 0
        self.running = True
        self.used = 0


class PrefixCache:
    """Computed tokens by sequence id."""

    def __init__(self, sequences: int, *, least: int = 1, whole: bool = False) -> None:
        """`least`: tokens from which on a copy is cheaper than to compute them. `whole`: states cannot be cut
        (recurrent models), so that only a kept id whose every token is wanted is reused, and nothing is copied."""
        self._sequences = sequences
        self._holders: dict[int, _Holder] = {}
        self._roots: dict[Hashable, _Node] = {}
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
        return sum(not holder.running for holder in self._holders.values())

    @property
    def tokens(self) -> int:
        """Tokens under all ids; a prefix that two of them hold counts twice."""
        return sum(holder.length for holder in self._holders.values())

    @property
    def running_tokens(self) -> int:
        """The same under the ids that run."""
        return sum(holder.length for holder in self._holders.values() if holder.running)

    @property
    def occupied(self) -> int:
        """The same, a prefix that several of them hold counted once."""
        tails = (holder.tail for holder in self._holders.values() if holder.running)
        nodes = {id(node): node for tail in tails for node in _upwards(tail)}
        return sum(len(node.tokens) for node in nodes.values())

    def claim(self, tokens: "array[int]", *, namespace: Hashable = "", reuse: bool = True) -> Claim:
        """An id for a new running sequence of `tokens`, with the longest prefix that is already computed. Without
        `reuse` it shares nothing with others, now and later."""
        wanted = tokens[:-LEFT] if reuse else array("i")
        sequence, source, length = self._placed(wanted, namespace)
        lost = None
        if sequence in self._holders:
            held = self._give_up(sequence)
            lost = held if held.freed and (held.sequence != source or len(held.tokens) > length) else None
        root = self._roots.setdefault(namespace, _root()) if reuse else _root()
        self._holders[sequence] = _Holder(root, namespace, private=not reuse)
        self.extend(sequence, wanted[:length])
        return Claim(sequence, length, source if length else sequence, lost)

    def reusable(self, tokens: "array[int]", *, namespace: Hashable = "") -> int:
        """How many of these tokens need not be computed by a sequence that claims now; 0 where no id is free."""
        try:
            return self._placed(tokens[:-LEFT], namespace)[2]
        except LookupError:
            return 0

    def extend(self, sequence: int, tokens: "array[int]") -> None:
        """More tokens of a running sequence are computed."""
        holder = self._holders[sequence]
        holder.length += len(tokens)
        node = holder.tail
        while tokens:
            child = node.children.get(tokens[0])
            if child is None:
                holder.tail = self._grow(node, sequence, tokens)
                return
            shared = common_prefix(child.tokens, tokens)
            if shared < len(child.tokens):
                child = self._split(child, shared)
            child.holders.add(sequence)
            self._join(node)  # else a sequence that follows another token by token leaves a node for each of them
            node, tokens = child, tokens[shared:]
        holder.tail = node

    def find(self, tokens: "array[int]", namespace: Hashable) -> "tuple[int, array[int]] | None":
        """A kept id that begins with `tokens`, and all that it holds."""
        sequence, length = self._longest(tokens, namespace)
        if length < len(tokens) or sequence < 0 or self._holders[sequence].running:
            return None
        return sequence, _path(self._holders[sequence].tail)

    def adopt(self, sequence: int, tokens: "array[int]", namespace: Hashable) -> None:
        """A free id holds `tokens`, as if a job with them had ended."""
        self._holders[sequence] = _Holder(self._roots.setdefault(namespace, _root()), namespace, private=False)
        self.extend(sequence, tokens)
        self._holders[sequence].running = False
        self._clock += 1
        self._holders[sequence].used = self._clock

    def hide(self, sequence: int) -> None:
        """What a running sequence holds is no prefix any more: nobody shares it from now on, and nothing of it is
        kept."""
        namespace = self._holders[sequence].namespace
        self._drop(sequence)
        self._holders[sequence] = _Holder(_root(), namespace, private=True)

    def shared(self, sequence: int) -> int:
        """How many of a sequence's first tokens others hold as well."""
        return sum(len(node.tokens) for node in _upwards(self._holders[sequence].tail) if len(node.holders) > 1)

    def release(self, sequence: int, *, keep: bool = True) -> bool:
        """A sequence runs no longer. False: nothing of it is kept, so its cells are to be removed."""
        holder = self._holders[sequence]
        is_known = not self._whole and len(holder.tail.holders) > 1
        if not keep or not holder.length or is_known or holder.private:
            self._drop(sequence)
            return False
        holder.running = False
        self._clock += 1
        holder.used = self._clock
        return True

    def evict(self) -> Evicted | None:
        """Gives up the kept sequence that was used longest ago. None: nothing is kept."""
        sequence = self._oldest(spare=-1)
        return None if sequence is None else self._give_up(sequence)

    def gather(self) -> list[Move]:
        """Moves that give the running sequences neighbouring ids: llama.cpp computes separate streams together only
        where their ids follow each other. Kept sequences make way, or are given up where there is no place."""
        running = {sequence for sequence, holder in self._holders.items() if holder.running}
        begin = max(
            range(self._sequences - len(running) + 1),
            key=lambda start: len(running & set(range(start, start + len(running)))),
        )
        window = range(begin, begin + len(running))
        strangers = sorted(running - set(window))
        places = sorted(set(window) - running, key=lambda sequence: (sequence in self._holders, sequence))
        moves: list[Move] = []
        for source, target in zip(strangers, places, strict=True):
            if target in self._holders:
                moves += self._make_way(target, window)
            moves.append(self._move(source, target))
        return moves

    def _make_way(self, kept: int, window: range) -> list[Move]:
        """Moves a kept sequence out of the window, over one that was used longer ago if nothing is free."""
        place = next((other for other in range(self._sequences) if other not in self._holders), None)
        if place is None:
            place = self._oldest(spare=-1)
            assert place is not None  # noqa: S101 - `kept` itself is one
            self._drop(place)
        if place == kept or place in window:
            if kept in self._holders:
                self._drop(kept)
            return []
        return [self._move(kept, place)]

    def _move(self, source: int, target: int) -> Move:
        holder = self._holders[target] = self._holders.pop(source)
        for node in _upwards(holder.tail):
            node.holders.remove(source)
            node.holders.add(target)
        return Move(source, target)

    def _longest(self, wanted: "array[int]", namespace: Hashable) -> tuple[int, int]:
        """The id with the longest usable prefix of `wanted`, and that length; kept ids before running ones."""
        node = self._roots.get(namespace)
        best = (-1, 0)
        length = 0
        while node is not None:
            child = node.children.get(wanted[length]) if length < len(wanted) else None
            if child is None:
                break
            shared = common_prefix(child.tokens, wanted[length:])
            length += shared
            if self._whole:
                source = next((number for number in child.holders if self._ends_in(number, child)), -1)
                if shared == len(child.tokens) and source >= 0:
                    best = (source, length)
            else:
                best = (max(child.holders, key=lambda number: self._rank(number, length)), length)
            node = child if shared == len(child.tokens) else None
        return best

    def _ends_in(self, sequence: int, node: _Node) -> bool:
        holder = self._holders[sequence]
        return not holder.running and holder.tail is node

    def _rank(self, sequence: int, length: int) -> tuple[bool, bool, int, int]:
        """Which holder of a prefix lends it: one that ends there before one that goes on, kept before running."""
        holder = self._holders[sequence]
        return (not holder.running and holder.length == length, not holder.running, holder.used, sequence)

    def _placed(self, wanted: "array[int]", namespace: Hashable) -> tuple[int, int, int]:
        """The id for a new sequence, the one that has its prefix, and how much of that it takes over."""
        source, length = self._longest(wanted, namespace)
        if length and self._goes_on(source, length):
            return source, source, length
        sequence = self._vacant(spare=source)
        if self._whole or (sequence != source and length < self._least):
            length = 0
        return sequence, source, length

    def _goes_on(self, source: int, length: int) -> bool:
        """Whether the new sequence continues in the id `source` itself: only if nothing of that gets lost."""
        holder = self._holders[source]
        return not holder.running and length == holder.length

    def _vacant(self, spare: int) -> int:
        """An id that nobody runs in: the lowest free one, else the kept one used longest ago."""
        for sequence in range(self._sequences):
            if sequence not in self._holders:
                return sequence
        oldest = self._oldest(spare)
        if oldest is None:
            raise LookupError("every sequence id is running")
        return oldest

    def _oldest(self, spare: int) -> int | None:
        """The kept id used longest ago; `spare` only if it is the only one."""
        kept = (
            (sequence == spare, holder.used, sequence)
            for sequence, holder in self._holders.items()
            if not holder.running
        )
        return min(kept, default=(False, 0, None))[2]

    def _grow(self, node: _Node, sequence: int, tokens: "array[int]") -> _Node:
        """Adds tokens that nobody holds after `node`; returns the node where they end."""
        if len(node.holders) == 1:  # nobody else's, so it ends here
            node.tokens.extend(tokens)
            return node
        child = node.children[tokens[0]] = _Node(tokens[:], node, {sequence})
        return child

    def _split(self, node: _Node, length: int) -> _Node:
        """Makes a node of the first `length` tokens of `node`, and lets it go on after that; returns the new one."""
        parent = node.parent
        assert parent is not None  # noqa: S101 - a root has no tokens
        upper = _Node(node.tokens[:length], parent, set(node.holders))
        parent.children[upper.tokens[0]] = upper
        node.tokens = node.tokens[length:]
        node.parent = upper
        upper.children[node.tokens[0]] = node
        return upper

    def _give_up(self, sequence: int) -> Evicted:
        holder = self._holders[sequence]
        evicted = Evicted(sequence, _path(holder.tail), holder.namespace, holder.length - self.shared(sequence))
        self._drop(sequence)
        return evicted

    def _drop(self, sequence: int) -> None:
        """Forgets an id with all it holds."""
        holder = self._holders.pop(sequence)
        for node in list(_upwards(holder.tail)):
            self._detach(node, sequence)
        if all(other.root is not holder.root for other in self._holders.values()):
            self._roots = {name: root for name, root in self._roots.items() if root is not holder.root}

    def _detach(self, node: _Node, sequence: int) -> None:
        """An id holds a leaf of its path no more; runs of tokens that need not be apart any longer become one."""
        node.holders.remove(sequence)
        parent = node.parent
        assert parent is not None  # noqa: S101 - a root is held by nobody
        if not node.holders:
            del parent.children[node.tokens[0]]
            self._join(parent)
        else:
            self._join(node)

    def _join(self, node: _Node) -> None:
        """Puts `node` and its only child together, if the same ids hold both."""
        if node.parent is None or len(node.children) != 1:
            return
        (child,) = node.children.values()
        if child.holders != node.holders:
            return
        child.tokens = node.tokens + child.tokens
        child.parent = node.parent
        node.parent.children[child.tokens[0]] = child


def _root() -> _Node:
    return _Node(array("i"), None, set())


def _upwards(node: _Node) -> Iterator[_Node]:
    """A node and those before it, without the root."""
    while node.parent is not None:
        yield node
        node = node.parent


def _path(node: _Node) -> "array[int]":
    """All tokens from the root to the end of a node."""
    tokens = array("i")
    for each in reversed([*_upwards(node)]):
        tokens.extend(each.tokens)
    return tokens


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
