"""Holds an answer to a grammar or a JSON schema, from its begin or, if it is lazy, from a trigger on."""

import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import numpy as np

from velesio.backends.llama import gbnf, json_schema
from velesio.backends.llama.automaton import DEAD, Automaton, Ids, Vocabulary
from velesio.backends.llama.thought import Thought
from velesio.errors import BadRequest
from velesio.jobs import Grammar, Trigger

_MAX_STATES = 4096
"""A kilobyte each: an automaton with more begins anew."""
_MAX_TRIGGERS = 64
_MAX_WATCHED = 4096
"""Bytes of an answer in which triggers are searched; then all but the last ones are forgotten."""
_KEPT_WATCHED = 1024


class Compiler:
    """The grammars that were used last, ready to be walked. Clients repeat themselves; states are kept with them."""

    def __init__(self, vocabulary: Vocabulary, size: int = 16) -> None:
        self.vocabulary = vocabulary
        self._size = size
        self._ready: OrderedDict[bytes, Compiled] = OrderedDict()

    def compiled(self, grammar: Grammar) -> "Compiled":
        """A grammar, ready.

        Raises:
            BadRequest: if it cannot be used.
        """
        key = msgspec.msgpack.encode((grammar.gbnf, grammar.schema), order=None)
        known = self._ready.pop(key, None)
        if known is None or len(known.automaton) > _MAX_STATES:
            text = _source(grammar) if known is None else known.text
            known = Compiled(text, Automaton(gbnf.parse(text, self.vocabulary.find)))
        self._ready[key] = known
        if len(self._ready) > self._size:
            self._ready.popitem(last=False)
        return known


class Compiled(NamedTuple):
    """A grammar as text and as an automaton."""

    text: str
    automaton: Automaton


def _source(grammar: Grammar) -> str:
    if grammar.gbnf and grammar.schema is not None:
        raise BadRequest("Cannot use both json_schema and grammar", param="grammar")
    if grammar.schema is None:
        return grammar.gbnf
    return json_schema.to_gbnf(grammar.schema)


class Constraint:
    """Where one answer is in its grammar."""

    def __init__(
        self, compiled: Compiled, vocabulary: Vocabulary, named: Iterable[int] = (), watch: "Watch | None" = None
    ) -> None:
        """`named` are control tokens that stand for their names in the grammar; with `watch` it is lazy."""
        self.text, self._automaton = compiled
        self._vocabulary = vocabulary
        self._named = {token: vocabulary.name(token) for token in named}
        self._watch = watch
        self._state = self._automaton.start

    @property
    def is_free(self) -> bool:
        """Whether anything may follow, since no trigger was met so far."""
        return self._watch is not None

    @property
    def end(self) -> int | None:
        """A token that ends the answer, if it may end here."""
        ends = self._vocabulary.ends
        return int(ends[0]) if len(ends) and self._automaton.is_complete(self._state) else None

    def allows(self, token: int) -> bool:
        """Whether `token` may come next."""
        if self.is_free:
            return True
        if self._vocabulary.is_end(token):
            return self._automaton.is_complete(self._state)
        return self._automaton.after(self._state, token, self._piece(token)) != DEAD

    def allowed(self) -> Ids:
        """Every token that may come next."""
        ids = self._automaton.allowed(self._state, self._vocabulary)
        more = [token for token in self._named if token not in ids and self.allows(token)]
        return ids if not more else _joined(ids, more)

    def accept(self, token: int) -> None:
        """Goes on after `token`.

        Raises:
            BadRequest: if it is not allowed.
        """
        if self._watch is not None:
            self._await(self._watch, token)
        elif self._vocabulary.is_end(token):
            if not self._automaton.is_complete(self._state):
                raise _refused(self._vocabulary.name(token))
        elif not self._go_on(self._automaton.after(self._state, token, self._piece(token))):
            raise _refused(self._piece(token))

    def _await(self, watch: "Watch", token: int) -> None:
        begin = watch.push(token, self._piece(token))
        if begin is None:
            return
        if token in watch.tokens:
            state = self._automaton.after(self._state, token, self._piece(token))
        else:
            state = self._automaton.walk(self._state, begin)
        if self._go_on(state):
            self._watch = None  # otherwise it only looked like a trigger

    def _go_on(self, state: int) -> bool:
        if state == DEAD:
            return False
        self._state = state
        if len(self._automaton) > _MAX_STATES:
            self._automaton, self._state = self._automaton.emptied(state)
        return True

    def _piece(self, token: int) -> bytes:
        return self._named.get(token) or self._vocabulary.pieces[token]


class _Pattern(NamedTuple):
    regex: re.Pattern[bytes]
    is_whole: bool
    """Whether all of the answer so far must match."""
    at_begin: bool = False
    """Whether the match must begin where the answer does."""

    def find(self, text: bytes, begin: int) -> int | None:
        """Where the grammar begins, in a match that begins at `begin` or later."""
        match = self.regex.fullmatch(text) if self.is_whole else self.regex.search(text, begin)
        if match is None:
            return None
        groups = range(1, (self.regex.groups or 0) + 1)
        return next((match.start(group) for group in groups if match[group]), match.start())


class Watch:
    """Looks for the triggers of a lazy grammar in an answer, after its reasoning."""

    def __init__(self, triggers: Iterable[Trigger], vocabulary: Vocabulary, thought: Thought | None = None) -> None:
        """Raises BadRequest for triggers that cannot be used."""
        self.tokens: set[int] = set()
        self._thought = thought
        self._patterns: list[_Pattern] = []
        self._text = b""
        self._passed = 0
        """Up to here the text was looked at, or has what only looked like a trigger."""
        self._is_cut = False
        for trigger in triggers:
            if trigger.kind == "token":
                self.tokens.add(trigger.token)
            elif trigger.kind == "word":
                self._patterns.append(_Pattern(re.compile(re.escape(trigger.value.encode())), is_whole=False))
                token = vocabulary.find(trigger.value)
                if token is not None and not vocabulary.pieces[token]:
                    self.tokens.add(token)
            else:
                self._patterns.append(_pattern(trigger))

    def push(self, token: int, piece: bytes) -> bytes | None:
        """Takes one more token; returns what of the answer belongs to the grammar, if a trigger is met."""
        if self._thought is not None and not (piece := self._thought.push(piece)):
            return None
        self._text += piece
        self._cut()
        if token in self.tokens:
            self._passed = len(self._text)
            return piece
        starts = [start for pattern in self._patterns if (start := self._find(pattern)) is not None]
        if not starts:
            return None
        self._passed = min(starts) + 1
        return self._text[min(starts) :]

    def _find(self, pattern: _Pattern) -> int | None:
        if self._is_cut and (pattern.is_whole or pattern.at_begin):
            return None
        start = pattern.find(self._text, 0 if pattern.at_begin else self._passed)
        return start if start is None or start >= self._passed else None

    def _cut(self) -> None:
        """Forgets what is too long ago to matter."""
        if len(self._text) > _MAX_WATCHED:
            gone = len(self._text) - _KEPT_WATCHED
            self._text = self._text[gone:]
            self._passed = max(0, self._passed - gone)
            self._is_cut = True


def constraint_of(grammar: Grammar, compiler: Compiler, thought: Thought | None = None) -> Constraint | None:
    """What a job's grammar asks for; None if that is nothing. The triggers of a lazy one are not looked for in the
    reasoning, whose progress `thought` tells.

    Raises:
        BadRequest: if it cannot be used.
    """
    if not grammar.gbnf and grammar.schema is None:
        return None
    vocabulary = compiler.vocabulary
    compiled = compiler.compiled(grammar)
    named = {token for text in grammar.preserved if (token := vocabulary.find(text)) is not None}
    if not grammar.lazy:
        return Constraint(compiled, vocabulary, named)
    if not grammar.triggers:
        raise BadRequest("no triggers set for lazy grammar", param="grammar_triggers")
    if len(grammar.triggers) > _MAX_TRIGGERS:
        raise BadRequest(f"at most {_MAX_TRIGGERS} triggers", param="grammar_triggers")
    watch = Watch(grammar.triggers, vocabulary, thought)
    last = len(vocabulary.pieces) - 1
    if not all(0 <= token <= last for token in watch.tokens):
        raise BadRequest(f"the token of a trigger must be 0 to {last}", param="grammar_triggers")
    return Constraint(compiled, vocabulary, named | watch.tokens, watch)


def _pattern(trigger: Trigger) -> _Pattern:
    source = trigger.value.removeprefix("^") if trigger.kind == "pattern_full" else trigger.value
    is_whole = trigger.kind == "pattern_full" or (source.startswith("^") and source.endswith("$"))
    try:
        regex = re.compile(source.removesuffix("$").encode() if is_whole else source.encode())
        return _Pattern(regex, is_whole, not is_whole and source.startswith("^"))
    except (re.error, RecursionError, OverflowError) as error:
        message = f"the pattern {trigger.value[:100]!r} cannot be read: {error}"
        raise BadRequest(message, param="grammar_triggers") from None


def _joined(ids: Ids, more: Iterable[int]) -> Ids:
    return np.concatenate((ids, np.fromiter(more, np.int32)))


def _refused(piece: bytes) -> BadRequest:
    text = piece.decode("utf-8", "replace")
    return BadRequest(f"the grammar does not allow {text!r} here", param="grammar")
