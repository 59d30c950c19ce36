"""A text job while the engine computes it: its tokens, how many of them lie in the cache, its text, its end."""

import time
from array import array
from collections import deque
from collections.abc import Container, Hashable, Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from velesio.backends.base import Work
from velesio.backends.llama.sampler import Choice, Sampler
from velesio.backends.llama.text import TextStream
from velesio.backends.llama.thought import Thought
from velesio.jobs import Delta, Dialect, TextParams, TextResult, Timings, TokenProbs, Usage

if TYPE_CHECKING:
    from velesio.backends.llama.binding.projector import Picture

_NEVER = 1 << 31
Ending = Literal["eos", "limit", "word"]


class Prompt(NamedTuple):
    """What the model is given."""

    tokens: list[int]
    text: str = ""
    """Where the params do not hold it (token ids, chat)."""
    dialect: Dialect = Dialect()
    stops: tuple[str, ...] = ()
    """The template's own, besides those that the client gave."""
    pictures: "tuple[Picture, ...]" = ()
    """Those that have their positions among the tokens, in order."""

    @property
    def read(self) -> int:
        """Tokens that are computed, those of pictures included."""
        return len(self.tokens) + sum(picture.tokens - picture.positions for picture in self.pictures)


class Sequence:
    """Tokens of a prompt and its growing answer. There is no prefill state and no decode state: the tokens from
    `computed` on are to be computed, and when none is left, the next one is sampled."""

    def __init__(
        self, work: Work, params: TextParams, prompt: Prompt, sampler: Sampler, *, context: int, shifts: bool = False
    ) -> None:
        """`context` tokens are all that it may have at once; with `shifts` it goes on without its oldest ones."""
        self.work = work
        self.params = params
        self.sampler = sampler
        self.number = 0
        """Order of admission: the highest is the youngest."""
        self.slot = -1
        self.tokens = array("i", prompt.tokens)
        """Prompt and answer as far as the model sees them; grows, and is cut by a shift."""
        self.computed = 0
        self.steps_from = _NEVER
        """From this token on each is computed by itself, as it was the first time: a lost worker's bits come again."""
        self.cell = -1
        """Sequence id in the cache while it runs."""
        self.cached: int | None = None
        """Tokens taken from the cache when it first ran."""
        self.namespace: Hashable = ""
        """Whose cached prefixes it may use."""
        self.adapters: tuple[tuple[int, float], ...] = ()
        """The LoRA adapters with their scales that compute it."""
        self.forced: deque[int] = deque()
        """Tokens that come next, whatever the model would say."""
        self.shown: Container[int] = ()
        """Control tokens whose text belongs to the answer."""
        self.reasoning: Reasoning | None = None
        """How long the answer may reason; None: it does not."""
        self.drafts = False
        """Whether tokens may be guessed ahead."""
        self.guesses = Guesses()
        self.ending: Ending | None = None
        self.truncated = False
        self.answer: list[int] = []
        self._prompt = prompt
        self._context = context
        self._shifts = shifts
        limit = params.max_tokens if params.max_tokens >= 0 else (1 << 31)
        self._limit = limit if shifts else min(limit, context - len(prompt.tokens))
        self._cut_by_context = self._limit < limit
        self._stream = TextStream((*params.stop, *prompt.stops))
        self._probs: list[TokenProbs] = []
        self._shown_probs = 0
        self._lines = LineLimits(params.n_indent, params.max_seconds)
        self._admitted = time.monotonic()
        self._first = 0.0
        if not self._limit:
            self._end("limit")

    @property
    def left(self) -> int:
        """Tokens to compute before the next can be sampled."""
        return len(self.tokens) - self.computed

    @property
    def together(self) -> int:
        """How many of those may be computed at once; 0: a picture comes first."""
        if (left := self.left) == 1 and not self._prompt.pictures:
            return 1
        most = min(left, max(1, self.steps_from - self.computed))
        for picture in self._prompt.pictures:
            if picture.end > self.computed:
                return min(most, picture.begin - self.computed)
        return most

    @property
    def picture(self) -> "Picture | None":
        """What is to be computed next, if it is a picture."""
        return next((picture for picture in self._prompt.pictures if picture.begin == self.computed), None)

    @property
    def predicted(self) -> int:
        """Tokens generated so far, those by a lost worker included."""
        return len(self.answer)

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt."""
        return len(self._prompt.tokens)

    @property
    def text(self) -> str:
        """The answer so far, without what is held back."""
        return self._stream.text

    @property
    def dialect(self) -> Dialect:
        """What the answer is written in."""
        return self._prompt.dialect

    @property
    def reuse(self) -> bool:
        """Whether cached prefixes are used, and kept for others. Those with pictures are not: their tokens do not tell
        what was seen."""
        return self.params.cache_prompt and not self._prompt.pictures

    @property
    def room(self) -> int:
        """Tokens that may follow, so that each can be computed."""
        return min(self._limit - self.predicted, self._context - len(self.tokens))

    @property
    def may_guess(self) -> bool:
        """Whether guesses may follow its next token."""
        return self.drafts and not self.forced and self.left == 1

    @property
    def elapsed(self) -> float:
        """Milliseconds since it was admitted."""
        return (time.monotonic() - self._admitted) * 1000

    @property
    def is_full(self) -> bool:
        """Whether the next token to compute has no place in the context without a shift."""
        return self._shifts and len(self.tokens) >= self._context

    def shift(self) -> tuple[int, int]:
        """Gives up the oldest tokens after those that are kept; returns from where on and how many."""
        keep = self.prompt_tokens if self.params.n_keep < 0 else min(self.params.n_keep, self.prompt_tokens)
        keep = min(keep, self._context // 2)
        rest = len(self.tokens) - keep
        gone = min(self.params.n_discard or rest // 2, rest - 1)
        del self.tokens[keep : keep + gone]
        self.computed = max(keep, self.computed - gone) if self.computed > keep else self.computed
        self.truncated = True
        self.steps_from = _NEVER  # cells are moved, not computed: the bits are others anyway
        return keep, gone

    def replay(self, token: int, piece: bytes, *, is_end: bool) -> None:
        """A token that the client already has, with its text."""
        if self.forced and self.forced[0] == token:
            self.forced.popleft()
        self.sampler.replay(token)
        self._push(token, piece, is_end=is_end)
        self._stream.take_tokens()
        while self.is_full and self.ending is None:
            self.shift()

    def think(self, reasoning: "Reasoning | None") -> None:
        """The answer may reason, or may not; called before its first token."""
        self.reasoning = reasoning
        if reasoning is not None and reasoning.is_over_budget:
            self.conclude()

    def conclude(self) -> None:
        """Ends the reasoning, if the answer is in the midst of it."""
        if self.reasoning is not None and self.reasoning.is_going_on and not self.forced:
            self.forced.extend(self.reasoning.conclusion)

    def grow(self, choice: Choice, piece: bytes, *, is_end: bool) -> Delta | None:
        """A sampled token; returns what can be shown now. Afterwards `ending` tells whether it was the last.

        Text that was held back is shown together with the token that ends the answer, never apart from it, so that
        the tokens a client has always tell exactly which text it has.
        """
        if not self._first:
            self._first = time.monotonic()
        if choice.probs is not None:
            self._probs.append(choice.probs)
        text = self._push(choice.token, piece, is_end=is_end)
        if not text and self.ending is None:
            return None
        tokens = self._stream.take_tokens()
        return Delta(text, tokens, self.predicted, self._probs_of(len(tokens)) if self._probs else ())

    def result(self) -> TextResult:
        """What it gave, once `ending` is set."""
        end = time.monotonic()
        first = self._first or end
        times = self.guesses.told(Timings((first - self._admitted) * 1000, (end - first) * 1000))
        return TextResult(
            text=self._stream.text,
            tokens=tuple(self.answer),
            stop=self.ending or "limit",
            stopping_word=self._stream.stopping_word,
            usage=Usage(self._prompt.read, self.predicted, min(self.cached or 0, self.prompt_tokens)),
            timings=times,
            truncated=self.truncated,
            slot=self.slot,
            seed=self.sampler.seed,
            prompt=self._prompt.text,
            dialect=self._prompt.dialect,
            probs=tuple(self._probs),
            in_force=self.sampler.in_force,
        )

    def _probs_of(self, tokens: int) -> tuple[TokenProbs, ...]:
        """Those of the tokens that are shown now."""
        begin, self._shown_probs = self._shown_probs, self._shown_probs + tokens
        return tuple(self._probs[begin : self._shown_probs])

    def _push(self, token: int, piece: bytes, *, is_end: bool) -> str:
        self.tokens.append(token)
        self.answer.append(token)
        text = self._stream.push(token, piece)
        if self.reasoning is not None and self.reasoning.push(piece):
            self.conclude()
        if self._stream.stopping_word:
            self._end("word")
        elif is_end:
            self._end("eos")
        elif self.predicted >= self._limit or (text and self._lines.passed(text)):
            self._end("limit")
        return text if self.ending is None else text + self._stream.flush()

    def _end(self, ending: Ending) -> None:
        self.ending = ending
        at_limit = ending == "limit" and self.predicted >= self._limit
        self.truncated = self.truncated or (at_limit and self._cut_by_context)


class Guesses:
    """What became of the tokens that were guessed ahead of an answer."""

    def __init__(self) -> None:
        self._drafts = self._tokens = 0
        self._right_at: list[int] = []

    def add(self, tokens: int, right: int) -> None:
        """Of `tokens` that were guessed at once the model then chose the first `right`."""
        self._drafts += 1
        self._tokens += tokens
        self._right_at.extend([0] * (right - len(self._right_at)))
        for place in range(right):
            self._right_at[place] += 1

    def told(self, times: Timings) -> Timings:
        """`times` with the counts."""
        accepted = tuple(self._right_at)
        return msgspec.structs.replace(
            times, drafted=self._tokens, accepted=sum(accepted), drafts=self._drafts, accepted_at=accepted
        )


class Reasoning:
    """How far the reasoning of an answer is, and when it has to end."""

    def __init__(self, thought: Thought, budget: int, conclusion: Iterable[int]) -> None:
        """`budget` tokens are the most, negative: as many as the model likes; `conclusion` are those that end it."""
        self.conclusion = tuple(conclusion)
        self._thought = thought
        self._budget = budget
        self._spent = 0

    @property
    def is_going_on(self) -> bool:
        """Whether the answer is in the midst of it."""
        return self._thought.is_inside

    @property
    def is_over_budget(self) -> bool:
        """Whether it has to end."""
        return self.is_going_on and 0 <= self._budget <= self._spent

    def push(self, piece: bytes) -> bool:
        """A token of the answer, with its text; returns whether the reasoning has to end."""
        if self._thought.is_over:
            return False
        self._spent += self._thought.is_inside
        self._thought.push(piece)
        return self.is_over_budget


class LineLimits:
    """Limits that are looked at when a line ends: how long it took, and how far the next one is indented."""

    def __init__(self, indent: int, seconds: float) -> None:
        """`indent` columns are the least of each line after the first, 0 for any; after `seconds` of generation the
        next line break is the end, 0 for never."""
        self._indent = indent
        self._seconds = seconds
        self._began = 0.0
        self._line: str | None = None
        """What the current line begins with, as long as it is blank; None where that does not matter any more."""

    def passed(self, text: str) -> bool:
        """Whether more text, which follows what was given before, passes a limit."""
        if not self._indent and not self._seconds:
            return False
        self._began = self._began or time.monotonic()
        late = self._seconds > 0 and "\n" in text and time.monotonic() - self._began > self._seconds
        return late or (self._indent > 0 and self._is_shallow(text))

    def _is_shallow(self, text: str) -> bool:
        first, *lines = text.split("\n")
        for piece, is_new in ((first, False), *((line, True) for line in lines)):
            begin = piece if is_new else None if self._line is None else self._line + piece
            if begin is not None and (inner := begin.lstrip(" \t")) and len(begin) - len(inner) < self._indent:
                return True
            self._line = begin if begin is not None and not begin.strip(" \t") else None
        return False
