"""The text of a growing sequence: whole characters only, and nothing that may turn out to be a stop string.

What a client has is a function of the tokens that it was sent: `release` is deterministic, and a piece of text is
handed over together with every token up to the one that released it. So a stream can be continued elsewhere by
pushing the tokens that were sent.
"""

import codecs
from collections.abc import Iterable


class TextStream:
    """Turns tokens' bytes into text that can be shown."""

    __slots__ = ("_decoder", "_first", "_hold", "_pending", "_stops", "released", "stopping_word", "tokens")

    def __init__(self, stops: Iterable[str] = ()) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._first = frozenset(stop[0] for stop in self._stops)
        self._hold = max((len(stop) for stop in self._stops), default=1) - 1
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""
        self.released: list[str] = []
        """What was shown so far, in pieces."""
        self.tokens: list[int] = []
        """Tokens whose text was not shown yet."""
        self.stopping_word = ""
        """The stop string that was met; nothing is shown after it."""

    @property
    def text(self) -> str:
        """Everything shown so far."""
        return "".join(self.released)

    def push(self, token: int, piece: bytes) -> str:
        """Adds a token with its bytes; returns the text that can be shown now, which may be empty."""
        self.tokens.append(token)
        if not self._stops:
            return self._show(self._decoder.decode(piece))
        self._pending += self._decoder.decode(piece)
        start = self._find_stop()
        if start >= 0:
            shown, self._pending = self._pending[:start], ""
        else:
            keep = self._begin_of_stop()
            shown, self._pending = self._pending[:keep], self._pending[keep:]
        return self._show(shown)

    def flush(self) -> str:
        """No token follows: returns what was held back for a stop string. Bytes of an unfinished character stay
        out: a client that goes on from the text would get a wrong one."""
        shown, self._pending = self._pending, ""
        return self._show(shown)

    def take_tokens(self) -> tuple[int, ...]:
        """The tokens that go with the text that was just returned."""
        tokens, self.tokens = tuple(self.tokens), []
        return tokens

    def _show(self, text: str) -> str:
        if text:
            self.released.append(text)
        return text

    def _find_stop(self) -> int:
        """Where the earliest stop string starts in the pending text, or -1; of several, the first listed."""
        found = -1
        for stop in self._stops:
            start = self._pending.find(stop)
            if start >= 0 and (found < 0 or start < found):
                found = start
                self.stopping_word = stop
        return found

    def _begin_of_stop(self) -> int:
        """From where the pending text could be the begin of a stop string."""
        text = self._pending
        for start in range(max(0, len(text) - self._hold), len(text)):
            if text[start] in self._first and any(stop.startswith(text[start:]) for stop in self._stops):
                return start
        return len(text)
