"""The reasoning of one answer: whether it is going on, as far as the text tells. Pure."""

from typing import Literal


class Thought:
    """Reasoning between two tags, with which an answer may begin."""

    def __init__(self, begin: str, end: str, *, begun: bool) -> None:
        """`begun`: the prompt ends in the midst of it."""
        self._begin = begin.encode()
        self._end = end.encode()
        self._state: Literal["before", "inside", "over"] = "inside" if begun else "before"
        self._text = b""
        """What may still turn out to be a tag."""

    @property
    def is_inside(self) -> bool:
        """Whether the answer is in the midst of it."""
        return self._state == "inside"

    @property
    def is_over(self) -> bool:
        """Whether the rest of the answer is none of it."""
        return self._state == "over"

    def push(self, text: bytes) -> bytes:
        """More of the answer; returns what of it, and of what was undecided, is not reasoning."""
        if self._state == "over":
            return text
        self._text += text
        if self._state == "before":
            stripped = self._text.lstrip()
            if stripped.startswith(self._begin):
                self._state, self._text = "inside", stripped[len(self._begin) :]
            elif self._begin.startswith(stripped):
                return b""
            else:
                return self._over(self._text)
        before, found, rest = self._text.partition(self._end)
        if found:
            return self._over(rest)
        self._text = before[-(len(self._end) - 1) :]
        return b""

    def _over(self, rest: bytes) -> bytes:
        self._state, self._text = "over", b""
        return rest
