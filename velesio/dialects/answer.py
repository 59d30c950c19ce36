"""An answer while it is read: text that comes in pieces, and what it turned out to say so far.

Formats read it with generators that yield wherever the text is not enough to go on. Nothing they decide depends on how
the text was cut, so that a stream says what the whole text says.
"""

import functools
import hashlib
import re
import secrets
from collections.abc import Callable, Generator, Mapping
from typing import TypeVar

from velesio.dialects.function import Function
from velesio.dialects.json_text import JsonText
from velesio.dialects.said import Kind, Said

T = TypeVar("T")
Reading = Generator[None, None, T]
"""Reads something; yields where it needs more text or the end of it."""

_BLANK = re.compile(r"\s*")
_NAME = re.compile(r"[A-Za-z0-9_.\-]*")
_LONGEST_NAME = 256
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Answer:
    """The text that is still to be read, and the pieces that were read."""

    def __init__(self, functions: Mapping[str, Function], seed: str = "", *, keeps_reasoning: bool = False) -> None:
        """`functions` are those that may be called. Ids of calls follow from `seed`; "": they are random. With
        `keeps_reasoning` reasoning is content, its tags included."""
        self.functions = functions
        self.keeps_reasoning = keeps_reasoning
        self.id_length = 0
        """Of the ids that are made, without `call_` before them; 0: 24 with it."""
        self.holds_blanks = True
        """Whether blanks at the end of content wait for what follows them."""
        self.said: list[Said] = []
        self._text = ""
        self._at = 0
        self._start: int | None = None
        """Where an attempt began, to which it may come back."""
        self._ended = False
        self._seed = seed or secrets.token_hex(16)
        self._last: Kind | None = None
        self._gap = ""
        """Blanks that are part of the answer only if what they stand in goes on."""
        self._calls = 0
        self._is_open = False
        self._has_arguments = False

    def push(self, text: str) -> None:
        """More text."""
        done = self._at if self._start is None else self._start
        self._text = self._text[done:] + text
        self._at -= done
        if self._start is not None:
            self._start = 0

    def stop(self) -> None:
        """No more text."""
        self._ended = True

    def take(self) -> list[Said]:
        """What was said since the last time."""
        said, self.said = self.said, []
        return said

    # reading

    def more(self) -> Reading[bool]:
        """Waits for more text; False: there is none."""
        if self._ended:
            return False
        yield
        return True

    def next_is(self, text: str) -> Reading[bool]:
        """Whether `text` comes next; it stays to be read."""
        while True:
            here = self._text[self._at : self._at + len(text)]
            if here == text or not text.startswith(here) or not (yield from self.more()):
                return here == text

    def accept(self, *texts: str) -> Reading[str]:
        """Passes the first of `texts` that comes next; returns it, or "" if none does."""
        for text in texts:
            if (yield from self.next_is(text)):
                self._at += len(text)
                return text
        return ""

    def blank(self) -> Reading[str]:
        """Passes blanks and line breaks."""
        return (yield from self._run(_BLANK))

    def word(self) -> Reading[str]:
        """Passes letters, digits and what else names may have."""
        return (yield from self._run(_NAME, _LONGEST_NAME))

    def name(self) -> Reading[str]:
        """Passes a word; returns it if it is the name of a function, else ""."""
        word = yield from self.word()
        return word if word in self.functions else ""

    def _run(self, pattern: re.Pattern[str], most: int = 1 << 30) -> Reading[str]:
        """Passes all that matches `pattern`, which may match nothing."""
        found = ""
        while True:
            match = pattern.match(self._text, self._at)
            found += match[0] if match else ""
            self._at += len(match[0]) if match else 0
            if self._at < len(self._text) or len(found) > most or not (yield from self.more()):
                return found

    def until(self, marks: tuple[str, ...], say: Callable[[str], None]) -> Reading[str]:
        """Hands all that stands before the earliest of `marks` to `say`; returns the mark, which stays to be read, or
        "" at the end of the text."""
        find = _finder(marks)
        while True:
            end, mark = find(self._text, self._at)
            if end > self._at:
                begin, self._at = self._at, end
                say(self._text[begin:end])
            if mark:
                return mark
            if not (yield from self.more()):
                rest, self._at = self._text[self._at :], len(self._text)
                if rest:
                    say(rest)
                return ""

    def json(self, say: Callable[[str], None] | None = None) -> Reading[str | None]:
        """Passes a JSON value, as its text becomes certain to `say`, else to be returned; None: it is none, or the
        text ended before it did."""
        value, pieces = JsonText(), list[str]()
        say = say or pieces.append
        while True:
            self._at = value.feed(self._text, self._at)
            if not value.done and not value.failed and self._ended:
                value.end()
            if piece := value.take():
                say(piece)
            if value.done:
                return "".join(pieces)
            if value.failed or not (yield from self.more()):
                return None

    def attempt(self, reading: Reading[bool]) -> Reading[bool]:
        """Reads something that may turn out not to be there: then nothing was read, unless a call was begun. Not
        for attempts within each other."""
        self._start, calls = self._at, self._calls
        found = (yield from reading) or self._calls > calls
        if not found and self._start is not None:
            self._at = self._start
        self._start = None
        return found

    def commit(self) -> None:
        """There is no way back any more."""
        self._start = None

    def at_end(self) -> Reading[bool]:
        """Whether no text follows."""
        while self._at == len(self._text):
            if not (yield from self.more()):
                return True
        return False

    def skip(self, text: str) -> None:
        """Passes `text`, which is known to come next."""
        self._at += len(text)

    # saying

    def content(self, text: str) -> None:
        """Text that is meant to be read. Blanks between it and anything else are left out."""
        self._say("content", text)

    def reasoning(self, text: str) -> None:
        """Text of the reasoning."""
        self._say("reasoning", text)

    def end_reasoning(self) -> None:
        """What follows is something else."""
        self._gap = ""
        self._last = "reasoning"

    def verbatim(self, text: str) -> None:
        """Content whose blanks all count."""
        self.close_call()
        if text:
            self.said.append(Said("content", text))
            self._last = "content"

    def open_call(self, name: str, given: object = "") -> None:
        """A function is called; `given` is the id that the model made, if it made one. From here on there is no way
        back: what was read is gone."""
        self.close_call()
        self.commit()
        self._gap = ""
        self._last = "call"
        self._is_open = True
        self._has_arguments = False
        call_id = given if isinstance(given, str) and given else self._made_id()
        self.said.append(Said("call", "", self._calls, call_id, name))
        self._calls += 1

    def arguments(self, text: str) -> None:
        """A piece of the arguments of the call."""
        if text:
            self._has_arguments = True
            self.said.append(Said("call", text, self._calls - 1))

    def close_call(self) -> None:
        """The call is whole. One without arguments has an empty object."""
        if self._is_open and not self._has_arguments:
            self.arguments("{}")
        self._is_open = False

    def finish(self) -> None:
        """The text has ended, and all of it was read."""
        self.close_call()
        gap, self._gap = self._gap, ""
        if gap:
            self.said.append(Said(self._last or "content", gap))

    def _say(self, kind: Kind, text: str) -> None:
        self.close_call()
        text = self._gap + text
        if self._last != kind and (self._last is not None or kind == "reasoning"):
            text = text.lstrip()
        body = text.rstrip() if self.holds_blanks else text
        self._gap = text[len(body) :]
        if body:
            self.said.append(Said(kind, body))
            self._last = kind

    def _made_id(self) -> str:
        digest = hashlib.blake2b(f"{self._seed}/{self._calls}".encode(), digest_size=24).digest()
        letters = "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest)
        return letters[: self.id_length] if self.id_length else f"call_{letters}"


Finder = Callable[[str, int], tuple[int, str]]


@functools.lru_cache(maxsize=256)
def _finder(marks: tuple[str, ...]) -> Finder:
    """Looks in a text from some place on: returns up to where there is certainly no mark, and the mark that stands
    there, if it is whole."""
    pattern = re.compile("|".join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True)))
    firsts = frozenset(mark[0] for mark in marks)
    longest = max((len(mark) for mark in marks), default=1)

    def find(text: str, at: int) -> tuple[int, str]:
        if not marks:
            return len(text), ""
        if match := pattern.search(text, at):
            return match.start(), match[0]
        for place in range(max(at, len(text) - longest + 1), len(text)):
            if text[place] in firsts and any(mark.startswith(text[place:]) for mark in marks):
                return place, ""
        return len(text), ""

    return find
