"""Follows a JSON value through text that comes in pieces, and puts right what models get wrong in it."""

import re
from collections.abc import Callable

MAX_DEPTH = 100
"""Objects and lists within each other."""

_SPACE = re.compile(r"[ \t\r\n]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')
_NUMBER_PART = re.compile(r"[0-9eE+.\-]+")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS = {"t": "true", "f": "false", "n": "null"}
_CLOSING = {"{": "}", "[": "]"}


class JsonText:
    """One value. Control characters in its strings, which JSON has no place for, come out as escapes."""

    __slots__ = ("_closings", "_do", "_failed", "_is_key", "_out", "_word", "done")

    def __init__(self) -> None:
        self.done = False
        self._failed = False
        self._do: Callable[[str, int], int] = self._value
        self._closings: list[str] = []
        self._is_key = False
        self._word = ""
        """What is still to come of a word or an escape; of a number what came."""
        self._out: list[str] = []

    @property
    def failed(self) -> bool:
        """Whether it turned out to be no JSON."""
        return self._failed

    def feed(self, text: str, at: int) -> int:
        """Reads on at `at` of `text`; returns from where on the text does not belong to the value: its end, as long
        as neither `done` nor `failed` says otherwise."""
        while at < len(text) and not (self.done or self._failed):
            at = self._do(text, at)
        return at

    def end(self) -> None:
        """No text follows: a number that stands alone is done by that."""
        if self._do == self._number:
            self._end_number()

    def take(self) -> str:
        """What was read since the last time."""
        text = "".join(self._out)
        self._out.clear()
        return text

    def _fail(self, at: int) -> int:
        self._failed = True
        return at

    def _space(self, text: str, at: int) -> int:
        match = _SPACE.match(text, at)
        end = match.end() if match else at
        self._keep(text[at:end])
        return end

    def _keep(self, text: str) -> None:
        if text:
            self._out.append(text)

    def _value(self, text: str, at: int) -> int:
        at = self._space(text, at)
        character = text[at : at + 1]
        if character in {"{", "["}:
            if len(self._closings) >= MAX_DEPTH:
                return self._fail(at)
            self._closings.append(_CLOSING[character])
            self._do = self._first_key if character == "{" else self._first_item
        elif character == '"':
            self._is_key = False
            self._do = self._string
        elif character in _WORDS:
            self._word = _WORDS[character][1:]
            self._do = self._rest_of_word
        elif character.isascii() and (character.isdigit() or character == "-"):
            self._word = ""
            self._do = self._number
            return at
        elif character:
            return self._fail(at)
        self._keep(character)
        return at + len(character)

    def _first_item(self, text: str, at: int) -> int:
        at = self._space(text, at)
        if text[at : at + 1] == "]":
            return self._close(text, at)
        self._do = self._value
        return at

    def _first_key(self, text: str, at: int) -> int:
        at = self._space(text, at)
        return self._close(text, at) if text[at : at + 1] == "}" else self._key(text, at)

    def _key(self, text: str, at: int) -> int:
        at = self._space(text, at)
        if at == len(text):
            return at
        if text[at] != '"':
            return self._fail(at)
        self._is_key = True
        self._do = self._string
        self._keep('"')
        return at + 1

    def _colon(self, text: str, at: int) -> int:
        at = self._space(text, at)
        if at == len(text):
            return at
        if text[at] != ":":
            return self._fail(at)
        self._do = self._value
        self._keep(":")
        return at + 1

    def _after(self, text: str, at: int) -> int:
        at = self._space(text, at)
        if at == len(text):
            return at
        if text[at] == self._closings[-1]:
            return self._close(text, at)
        if text[at] != ",":
            return self._fail(at)
        self._do = self._key if self._closings[-1] == "}" else self._value
        self._keep(",")
        return at + 1

    def _close(self, text: str, at: int) -> int:
        self._closings.pop()
        self._keep(text[at])
        self._end_value()
        return at + 1

    def _end_value(self) -> None:
        if self._closings:
            self._do = self._after
        else:
            self.done = True

    def _string(self, text: str, at: int) -> int:
        if match := _PLAIN.match(text, at):
            self._keep(match[0])
            return match.end()
        character = text[at]
        if character == '"':
            self._do = self._colon
            if not self._is_key:
                self._end_value()
        elif character == "\\":
            self._do = self._escape
        else:
            character = f"\\u{ord(character):04x}"
        self._keep(character)
        return at + 1

    def _escape(self, text: str, at: int) -> int:
        character = text[at]
        if character not in '"\\/bfnrtu':
            return self._fail(at)
        self._word = "0000"
        self._do = self._hex if character == "u" else self._string
        self._keep(character)
        return at + 1

    def _hex(self, text: str, at: int) -> int:
        if text[at] not in "0123456789abcdefABCDEF":
            return self._fail(at)
        self._word = self._word[1:]
        if not self._word:
            self._do = self._string
        self._keep(text[at])
        return at + 1

    def _rest_of_word(self, text: str, at: int) -> int:
        if text[at] != self._word[0]:
            return self._fail(at)
        self._word = self._word[1:]
        self._keep(text[at])
        if not self._word:
            self._end_value()
        return at + 1

    def _number(self, text: str, at: int) -> int:
        if match := _NUMBER_PART.match(text, at):
            self._word += match[0]
            self._keep(match[0])
            return match.end()
        self._end_number()
        return at

    def _end_number(self) -> None:
        if _NUMBER.fullmatch(self._word):
            self._end_value()
        else:
            self._failed = True
