"""Walks a grammar over bytes and tokens: which tokens of a vocabulary may come next, and where each leads.

The states are sets of stacks, made as they are met and kept, so that a grammar that is used again is walked by looking
up tables. Of a whole vocabulary all tokens are walked at once, byte by byte, those that fail dropping out.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from velesio.backends.llama.gbnf import Chars, Item, Ref, Repeat, Rules, Token, may_be_empty, nullable
from velesio.errors import BadRequest

DEAD = 0
"""The state from which nothing can follow."""
_UNKNOWN = -1
_DONE = 0
"""The empty stack: the grammar is complete."""
_MAX_STACKS = 2000
"""Ways in which one state may be read; more are a grammar that is far too ambiguous."""
_MAX_EXPANDED = 50_000
"""Rules and repetitions that are gone through to learn one state: a tenth of a second, in which everybody waits."""
_KEPT_IDS = 1_000_000
"""Token ids in the remembered sets of allowed ones, 4 bytes each."""
_SURROGATES = (0xD800, 0xDFFF)
_WIDTHS = ((0x7F, 1), (0x7FF, 2), (0xFFFF, 3), (0x10FFFF, 4))

Ids = npt.NDArray[np.int32]


class Vocabulary:
    """The bytes of every token, in the order in which they are walked."""

    def __init__(
        self,
        pieces: Sequence[bytes],
        ends: Iterable[int],
        name: Callable[[int], bytes] | None = None,
        tokenize: Callable[[str], list[int]] | None = None,
    ) -> None:
        """`pieces` are what each token shows, none for control tokens; `name` tells what these are called, `tokenize`
        finds them by that."""
        pieces = [b"" if piece.startswith(b"\0") else piece for piece in pieces]  # "anything" means no such thing
        self.pieces = pieces
        self.name = name or pieces.__getitem__
        self._tokenize = tokenize
        self.ends = np.array(sorted(ends), dtype=np.int32)
        self._is_end = frozenset(self.ends.tolist())
        walked = [token for token, piece in enumerate(pieces) if piece and token not in self._is_end]
        walked.sort(key=lambda token: -len(pieces[token]))
        self.ids: Ids = np.array(walked, dtype=np.int32)
        self.columns: list[npt.NDArray[np.uint8]] = []
        """The first bytes of all tokens, the second ones of those that have one, and so on; longest tokens first."""
        longest = len(pieces[walked[0]]) if walked else 0
        for place in range(longest):
            while len(pieces[walked[-1]]) <= place:
                walked.pop()
            self.columns.append(np.fromiter((pieces[token][place] for token in walked), np.uint8, len(walked)))

    def is_end(self, token: int) -> bool:
        """Whether a token ends the answer."""
        return token in self._is_end

    def find(self, text: str) -> int | None:
        """The token that is `text` all by itself."""
        tokens = self._tokenize(text) if self._tokenize else []
        return tokens[0] if len(tokens) == 1 else None


class _Bytes:
    """What may follow within a character: (lowest, highest byte, what then; None: the character is complete)."""

    __slots__ = ("ranges",)

    def __init__(self, paths: list[tuple[tuple[int, int], ...]]) -> None:
        rests: dict[tuple[int, int], list[tuple[tuple[int, int], ...]]] = {}
        for path in paths:
            rests.setdefault(path[0], []).append(path[1:])
        self.ranges: list[tuple[int, int, _Bytes | None]] = [
            (low, high, _Bytes(rest) if rest[0] else None) for (low, high), rest in rests.items()
        ]


class _Element:
    """A place in a grammar: an item, and what follows it in its sequence."""

    __slots__ = ("bytes", "following", "item", "middles", "number")

    def __init__(self, number: int, item: Item, following: "_Element | None") -> None:
        self.number = number
        self.item = item
        self.following = following
        self.bytes: _Bytes | None = None
        self.middles: dict[int, _Element] = {}
        """The places within its characters of several bytes, by the identity of what may follow there."""


class Automaton:
    """A grammar's states: numbers, `start` the first. Not for several threads."""

    def __init__(self, rules: Rules) -> None:
        self._elements: list[_Element] = []
        self._characters: dict[Chars, _Bytes] = {}
        empty = nullable(rules.rules)
        self._rules = [[self._chain(sequence, empty) for sequence in alternatives] for alternatives in rules.rules]
        self._has_tokens = any(isinstance(element.item, Token) for element in self._elements)
        self._frames: list[tuple[_Element, int, int]] = []
        """Stacks: the place on top, how often it was repeated, and the stack below; number 0 is the empty one."""
        self._frame_ids: dict[tuple[int, int, int], int] = {}
        self._spent = 0
        self._closures: dict[int, frozenset[int]] = {_DONE: frozenset((_DONE,))}
        self._forget()
        tops: set[int] = set()
        for first in self._rules[rules.root]:
            tops |= self._closure(self._push(first, _DONE))
        self.start = self._state(frozenset(tops))

    def _forget(self) -> None:
        self._sets: list[frozenset[int]] = [frozenset()]
        self._state_ids: dict[frozenset[int], int] = {self._sets[0]: DEAD}
        self._table = np.full((16, 256), _UNKNOWN, dtype=np.int32)
        self._table[DEAD] = DEAD
        self._known = [True]
        self._allowed: OrderedDict[int, Ids] = OrderedDict()
        self._kept = 0

    def __len__(self) -> int:
        """States met so far."""
        return len(self._sets)

    def emptied(self, state: int) -> tuple["Automaton", int]:
        """The same grammar with no state met yet but this one, and what its number is there."""
        other = copy(self)
        other._forget()
        return other, other._state(self._sets[state])

    def is_complete(self, state: int) -> bool:
        """Whether the answer may end here."""
        return _DONE in self._sets[state]

    def walk(self, state: int, text: bytes) -> int:
        """The state after some bytes."""
        for byte in text:
            if not self._known[state]:
                self._learn(state)
            state = int(self._table[state, byte])
            if state == DEAD:
                break
        return state

    def after(self, state: int, token: int, piece: bytes) -> int:
        """The state after a token, as its bytes and as itself."""
        tops = self._after_token(state, token) if self._has_tokens else frozenset()
        walked = self.walk(state, piece) if piece else DEAD
        return self._state(self._sets[walked] | tops) if tops else walked

    def allowed(self, state: int, vocabulary: Vocabulary) -> Ids:
        """The ids of all tokens that may come next."""
        known = self._allowed.get(state)
        if known is not None:
            self._allowed.move_to_end(state)
            return known
        found = [self._walk_all(state, vocabulary), *self._tokens(state, len(vocabulary.pieces))]
        if self.is_complete(state):
            found.append(vocabulary.ends)
        ids: Ids = np.unique(np.concatenate(found)).astype(np.int32)
        self._allowed[state] = ids
        self._kept += len(ids)
        while self._kept > _KEPT_IDS:
            self._kept -= len(self._allowed.popitem(last=False)[1])
        return ids

    def _walk_all(self, state: int, vocabulary: Vocabulary) -> Ids:
        """All tokens byte by byte: `alive` are the places of those that did not fail so far."""
        alive = np.arange(len(vocabulary.ids))
        states = np.full(len(alive), state, dtype=np.int32)
        found = []
        for column in vocabulary.columns:
            longer = int(np.searchsorted(alive, len(column)))
            found.append(alive[longer:])
            alive, states = alive[:longer], states[:longer]
            if not longer:
                break
            for met in np.flatnonzero(np.bincount(states)).tolist():
                if not self._known[met]:
                    self._learn(met)
            states = self._table[states, column[alive]]
            lives = states != DEAD
            alive, states = alive[lives], states[lives]
        return vocabulary.ids[np.concatenate([*found, alive])] if len(vocabulary.ids) else vocabulary.ids

    def _tokens(self, state: int, count: int) -> list[Ids]:
        """Tokens that are named as such."""
        found: list[Ids] = []
        for top in self._sets[state] - {_DONE}:
            item = self._frames[top - 1][0].item
            if isinstance(item, Token):
                every: Ids = np.arange(count, dtype=np.int32)
                found.append(every[(every == item.token) != item.negated])
        return found

    def _after_token(self, state: int, token: int) -> frozenset[int]:
        self._spent = 0
        tops: frozenset[int] = frozenset()
        for top in self._sets[state] - {_DONE}:
            element, _, below = self._frames[top - 1]
            if isinstance(element.item, Token) and (element.item.token == token) != element.item.negated:
                tops |= self._closure(self._push(element.following, below))
        return tops

    def _learn(self, state: int) -> None:
        """Fills a state's row: bytes between two bounds all lead to the same place."""
        self._spent = 0
        moves = []
        for top in self._sets[state] - {_DONE}:
            element, _, below = self._frames[top - 1]
            if element.bytes is not None:
                moves += [(low, high, element, below, rest) for low, high, rest in element.bytes.ranges]
        bounds = sorted({0, 256, *(move[0] for move in moves), *(move[1] + 1 for move in moves)})
        for begin, end in pairwise(bounds):
            tops: set[int] = set()
            for low, high, element, below, rest in moves:
                if low <= begin <= high:
                    tops |= self._closure(self._push(self._next(element, rest), below))
            target = self._state(frozenset(tops))
            self._table[state, begin:end] = target
        self._known[state] = True

    def _next(self, element: _Element, rest: _Bytes | None) -> _Element | None:
        """Where a byte leads: behind the character, or into it."""
        if rest is None:
            return element.following
        middle = element.middles.get(id(rest))
        if middle is None:
            middle = element.middles[id(rest)] = self._element(element.item, element.following)
            middle.bytes = rest
        return middle

    def _state(self, tops: frozenset[int]) -> int:
        known = self._state_ids.get(tops)
        if known is not None:
            return known
        if len(tops) > _MAX_STACKS:
            raise _too_ambiguous()
        number = self._state_ids[tops] = len(self._sets)
        self._sets.append(tops)
        self._known.append(False)
        if number >= len(self._table):
            more = np.full((len(self._table), 256), _UNKNOWN, dtype=np.int32)
            self._table = np.concatenate((self._table, more))
        return number

    def _push(self, element: _Element | None, below: int, count: int = 0) -> int:
        if element is None:
            return below
        key = (element.number, count, below)
        known = self._frame_ids.get(key)
        if known is None:
            self._frames.append((element, count, below))
            known = self._frame_ids[key] = len(self._frames)
        return known

    def _closure(self, frame: int) -> frozenset[int]:
        """The stacks that `frame` may stand for, each with a character or a token on top, or empty."""
        known = self._closures.get(frame)
        if known is not None:
            return known
        seen, todo, found = {frame}, [frame], set()
        while todo:
            top = todo.pop()
            self._spent += 1
            if self._spent > _MAX_EXPANDED:
                raise _too_ambiguous()
            expanded = () if top == _DONE else self._expand(*self._frames[top - 1])
            if expanded is None or top == _DONE:
                found.add(top)
                continue
            for other in expanded:
                if other not in seen:
                    seen.add(other)
                    todo.append(other)
        closure = self._closures[frame] = frozenset(found)
        return closure

    def _expand(self, element: _Element, count: int, below: int) -> list[int] | None:
        """What a rule or a repetition on top stands for; None: a character or a token is on top."""
        item = element.item
        if isinstance(item, Ref):
            rest = self._push(element.following, below)
            return [self._push(first, rest) for first in self._rules[item.rule]]
        if not isinstance(item, Repeat):
            return None
        expanded = []
        if count >= item.least:
            expanded.append(self._push(element.following, below))
        if item.most is None or count < item.most:
            again = min(count + 1, item.least) if item.most is None else count + 1
            inner = element.middles[0]
            is_last = again == item.most
            rest = self._push(element.following, below) if is_last else self._push(element, below, again)
            expanded.append(self._push(inner, rest))
        return expanded

    def _chain(self, sequence: tuple[Item, ...], empty: Sequence[bool]) -> _Element | None:
        following: _Element | None = None
        for item in reversed(sequence):
            following = self._element(_eased(item, empty), following)
        return following

    def _element(self, item: Item, following: _Element | None) -> _Element:
        element = _Element(len(self._elements), item, following)
        self._elements.append(element)
        if isinstance(item, Repeat):
            element.middles[0] = self._element(item.item, None)
        elif isinstance(item, Chars):
            element.bytes = self._characters.get(item)
            if element.bytes is None:
                element.bytes = self._characters[item] = _Bytes(utf8_paths(item.ranges))
        return element


def _eased(item: Item, empty: Sequence[bool]) -> Item:
    """A repetition of what may be nothing has no least number."""
    if isinstance(item, Repeat) and item.least and may_be_empty(item.item, empty):
        return Repeat(item.item, 0, item.most)
    return item


def utf8_paths(ranges: Iterable[tuple[int, int]]) -> list[tuple[tuple[int, int], ...]]:
    """Ranges of characters as ranges of bytes: a character is in one of `ranges` exactly if its UTF-8 bytes are, in
    order, in the ranges of one of the paths."""
    paths: list[tuple[tuple[int, int], ...]] = []
    for low, high in ranges:
        for begin, end in ((low, min(high, _SURROGATES[0] - 1)), (max(low, _SURROGATES[1] + 1), high)):
            bottom = 0
            for top, width in _WIDTHS:
                if max(begin, bottom) <= min(end, top):
                    paths += _split(max(begin, bottom), min(end, top), width)
                bottom = top + 1
    return paths


def _split(low: int, high: int, width: int) -> list[tuple[tuple[int, int], ...]]:
    """Paths for characters that all have `width` bytes: cut until the last bytes of each part run over all they can."""
    for bits in range(6, 6 * width, 6):
        mask = (1 << bits) - 1
        if low & ~mask != high & ~mask:
            if low & mask:
                return _split(low, low | mask, width) + _split((low | mask) + 1, high, width)
            if high & mask != mask:
                return _split(low, (high & ~mask) - 1, width) + _split(high & ~mask, high, width)
    return [tuple(zip(chr(low).encode(), chr(high).encode(), strict=True))]


def _too_ambiguous() -> BadRequest:
    return BadRequest("the grammar can be read in too many ways", param="grammar")
