"""A text job while the engine computes it: its tokens, how many of them lie in the cache, its text, its end."""

import time
from array import array
from collections.abc import Iterable
from typing import Any, Literal

from velesio.backends.base import Work
from velesio.backends.llama.text import TextStream
from velesio.jobs import Delta, TextResult, Timings, Usage

Ending = Literal["eos", "limit", "word"]


class Sequence:
    """Tokens of a prompt and its growing answer. There is no prefill state and no decode state: the tokens from
    `computed` on are to be computed, and when none is left, the next one is sampled."""

    def __init__(
        self,
        work: Work,
        prompt: Iterable[int],
        *,
        number: int,
        slot: int,
        context: int,
        chain: Any,
        seed: int,
        prompt_text: str,
    ) -> None:
        params: Any = work.job.params
        self.work = work
        self.number = number
        """Order of admission: the highest is the youngest."""
        self.slot = slot
        self.chain = chain
        self.tokens = array("i", prompt)
        """Prompt and answer; grows."""
        self.computed = 0
        self.cell = -1
        """Sequence id in the cache while it runs."""
        self.cached: int | None = None
        """Tokens taken from the cache when it first ran."""
        self.reuse: bool = params.cache_prompt
        self.namespace = ""
        self.ending: Ending | None = None
        self.truncated = False
        self._prompt_tokens = len(self.tokens)
        self._prompt_text = prompt_text
        self._seed = seed
        room = context - len(self.tokens)
        self._limit = room if params.max_tokens < 0 else min(params.max_tokens, room)
        self._cut_by_context = params.max_tokens < 0 or params.max_tokens > room
        self._stream = TextStream(params.stop)
        self._admitted = time.monotonic()
        self._first = 0.0
        if not self._limit:
            self._end("limit")

    @property
    def left(self) -> int:
        """Tokens to compute before the next can be sampled."""
        return len(self.tokens) - self.computed

    @property
    def predicted(self) -> int:
        """Tokens generated so far, those by a lost worker included."""
        return len(self.tokens) - self._prompt_tokens

    def replay(self, token: int, piece: bytes, *, is_end: bool) -> None:
        """A token that the client already has, with its text."""
        self._push(token, piece, is_end=is_end)
        self._stream.take_tokens()

    def grow(self, token: int, piece: bytes, *, is_end: bool) -> Delta | None:
        """A sampled token; returns what can be shown now. Afterwards `ending` tells whether it was the last.

        Text that was held back is shown together with the token that ends the answer, never apart from it, so that
        the tokens a client has always tell exactly which text it has.
        """
        if not self._first:
            self._first = time.monotonic()
        text = self._push(token, piece, is_end=is_end)
        if not text and self.ending is None:
            return None
        return Delta(text, self._stream.take_tokens(), self.predicted)

    def result(self) -> TextResult:
        """What it gave, once `ending` is set."""
        end = time.monotonic()
        first = self._first or end
        return TextResult(
            text=self._stream.text,
            tokens=tuple(self.tokens[self._prompt_tokens :]),
            stop=self.ending or "limit",
            stopping_word=self._stream.stopping_word,
            usage=Usage(self._prompt_tokens, self.predicted, min(self.cached or 0, self._prompt_tokens)),
            timings=Timings((first - self._admitted) * 1000, (end - first) * 1000),
            truncated=self.truncated,
            slot=self.slot,
            seed=self._seed,
            prompt=self._prompt_text,
        )

    def _push(self, token: int, piece: bytes, *, is_end: bool) -> str:
        self.tokens.append(token)
        text = self._stream.push(token, piece)
        if self._stream.stopping_word:
            self._end("word")
        elif is_end:
            self._end("eos")
        elif self.predicted >= self._limit:
            self._end("limit")
        return text if self.ending is None else text + self._stream.flush()

    def _end(self, ending: Ending) -> None:
        self.ending = ending
        self.truncated = ending == "limit" and self._cut_by_context
