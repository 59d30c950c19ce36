"""Texts as vectors: a second computation over the model's weights, made when it is first needed.

Vectors of a causal model depend only on what stands before, so its texts are read in pieces like prompts, and the
vectors of their tokens are pooled here. Other models, and those that rate, must see a text whole: their batches are as
long as the longest text so far, and memory grows with that.
"""

import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from velesio.backends.llama.binding import EmbeddingContext, Matrix, Model
from velesio.backends.llama.lora import Adapters
from velesio.backends.llama.options import Options, free_memory
from velesio.errors import BadRequest, ContextExceeded, OutOfMemory

Pooling = Literal["none", "mean", "cls", "last", "rank"]

IDLE = 300.0
"""Seconds without work after which the memory is given back."""
_LEAST = 512
"""Tokens for which room is made at first."""
_PIECE = 128
"""Tokens of a causal model's texts that are read at once on a CPU; more only takes more memory."""
_LARGEST = 32760.0
"""What normalization 0 makes of the largest value."""


class Text:
    """A text on its way to a vector."""

    __slots__ = ("_rows", "_seen", "number", "tokens")

    def __init__(self, tokens: "array[int]") -> None:
        self.tokens = tokens
        self.number = -1
        """Its place among those that are being read; -1: it is not."""
        self._seen = 0
        self._rows: list[Matrix] = []

    @property
    def seen(self) -> int:
        """Tokens that have been read."""
        return self._seen

    @property
    def left(self) -> int:
        """Tokens that have not been read."""
        return len(self.tokens) - self._seen

    @property
    def matrix(self) -> Matrix:
        """What it became: one row, without pooling one for each token."""
        return self._rows[0] if len(self._rows) == 1 else np.concatenate(self._rows)

    def take(self, rows: Matrix, count: int, pooling: Pooling) -> None:
        """`count` further tokens became `rows`, one for each unless llama.cpp has pooled them."""
        first = not self._seen
        self._seen += count
        if len(rows) != count:
            self._rows = [rows]
        elif pooling == "none":
            self._rows.append(rows)
        elif pooling == "mean":
            total = rows.sum(axis=0, keepdims=True, dtype=np.float32)
            total = total if first else self._rows[0] + total
            self._rows = [total if self.left else total / np.float32(len(self.tokens))]
        elif pooling == "last":
            self._rows = [rows[-1:]]
        elif first:
            self._rows = [rows[:1]]


class _Piece(NamedTuple):
    text: Text
    length: int


class Embedder:
    """Makes vectors, or ratings, with one model."""

    def __init__(
        self,
        model: Model,
        options: Options,
        adapters: Adapters,
        *,
        limit: int,
        keeps: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`limit` tokens are the longest text. `keeps`: whether the model can read a text in pieces at all."""
        self._model = model
        self._options = options
        self._adapters = adapters
        self._clock = clock
        self.limit = limit
        self.pooling: Pooling = options.pooling if options.pooling != "model" else _own(model)
        self.width = model.width
        """Values of a vector."""
        own_way = model.pooling in {"mean", "cls", "rank"} or self.pooling == "rank"
        self._whole = own_way or not (keeps and model.is_causal)
        self._context: EmbeddingContext | None = None
        self._reading: dict[int, Text] = {}
        self._used = clock()

    @property
    def is_open(self) -> bool:
        """Whether memory is taken."""
        return self._context is not None

    def fit(self, tokens: list[int], *, keep_last: bool, truncate: bool, place: str) -> "array[int]":
        """The tokens of a text that can be embedded. `keep_last`: its last token is a mark that stays when it is cut.

        Raises:
            BadRequest: if there are none.
            ContextExceeded: if there are too many and they may not be cut.
        """
        if not tokens:
            raise BadRequest(f"{place}: input content cannot be empty", param="input")
        if len(tokens) > self.limit:
            if not truncate:
                raise ContextExceeded(
                    f"{place}: input ({len(tokens)} tokens) is too large to process: at most {self.limit} tokens; "
                    "shorten it, or give the model larger embed_tokens and context",
                    param="input",
                    details={"n_prompt_tokens": len(tokens), "n_ctx": self.limit},
                )
            last = tokens[-1:] if keep_last and self.limit > 1 else []
            tokens = tokens[: self.limit - len(last)] + last
        return array("i", tokens)

    def step(self, texts: Iterable[Text], budget: int) -> tuple[list[Text], int]:
        """Reads about `budget` tokens of `texts`, the first ones first. Answers those that are done, and how many
        tokens were read.

        Raises:
            OutOfMemory: if there is no room for the longest text.
            RuntimeError: if the computation failed; all texts must be begun anew.
        """
        self._used = self._clock()
        context, pieces = self._plan(texts, budget)
        for text, count in pieces:
            context.add(text.number, text.tokens[text.seen : text.seen + count], text.seen)
        try:
            matrices = context.compute() if pieces else []
        except RuntimeError:
            self.close()
            raise
        done = []
        for (text, count), rows in zip(pieces, matrices, strict=True):
            text.take(rows, count, self.pooling)
            if not text.left:
                self.drop(text)
                done.append(text)
        return done, sum(piece.length for piece in pieces)

    def drop(self, text: Text) -> None:
        """A text is done, or not wanted any more."""
        if text.number >= 0 and self._context is not None:
            self._context.remove(text.number)
            del self._reading[text.number]
        text.number = -1

    def tidy(self) -> None:
        """Gives the memory back after `IDLE` seconds without work."""
        if self._context is not None and not self._reading and self._clock() - self._used > IDLE:
            self.close()

    def close(self) -> None:
        """Gives the memory back; what was read is forgotten."""
        if self._context is not None:
            self._context.close()
        self._context = None
        self._reading.clear()

    def _plan(self, texts: Iterable[Text], budget: int) -> tuple[EmbeddingContext, list[_Piece]]:
        """What is read in the next batch. Whole texts come as many as fit, at least one; pieces of those that are
        being read first, and of others while there are cells."""
        context: EmbeddingContext | None = None
        pieces: list[_Piece] = []
        room = 0
        for text in texts:
            if context is None:
                context = self._opened(len(text.tokens))
                room = min(context.batch, max(budget, len(text.tokens) if self._whole else 1))
            count = len(text.tokens) if self._whole else _piece(text.left, room)
            if not 0 < count <= room or not self._begin(text, context):
                break
            pieces.append(_Piece(text, count))
            room -= count
        return context or self._opened(1), pieces

    def _begin(self, text: Text, context: EmbeddingContext) -> bool:
        """Gives a text a place; False: there is none, or there are no cells for all of its tokens."""
        if text.number >= 0:
            return True
        taken = sum(len(other.tokens) for other in self._reading.values())
        if len(self._reading) == context.texts or (taken + len(text.tokens) > self.limit and not self._whole):
            return False
        text.number = next(number for number in range(context.texts) if number not in self._reading)
        self._reading[text.number] = text
        return True

    def _opened(self, tokens: int) -> EmbeddingContext:
        """The context, with room for a text of `tokens` tokens."""
        if self._context is not None and (not self._whole or tokens <= self._context.batch):
            return self._context
        self.close()
        size = self._size(tokens)
        cells = size if self._whole else self.limit
        needed, free = self._memory(cells, size), free_memory()
        if needed > free and self._options.gpu_layers <= 0:
            raise OutOfMemory(
                f"embedding {tokens} tokens needs about {needed >> 20} MiB and {free >> 20} MiB are free; "
                "send shorter texts, or lower embed_tokens"
            )
        pooling = self.pooling if self._whole else "none"
        context = EmbeddingContext(self._model, self._options, cells=cells, batch=size, pooling=pooling)
        try:
            self._adapters.apply(context, self._adapters.default)
        except RuntimeError:
            context.close()
            raise
        self._context = context
        return context

    def _size(self, tokens: int) -> int:
        """Tokens of a batch; doubled from step to step, so that it is not made anew for each longer text."""
        if not self._whole:
            return min(self.limit, self._options.ubatch or _PIECE)
        size = _LEAST
        while size < tokens:
            size *= 2
        return min(size, self.limit)

    def _memory(self, cells: int, batch: int) -> int:
        """About how many bytes a context takes: cells, attention, and the next-token logits that llama.cpp computes
        whether they are wanted or not, twice."""
        cached = cells * self._model.cell_values * 2
        attention = batch * cells * self._model.heads * 4
        return cached + attention + batch * (self._model.n_vocab * 8 + self.width * 64)


def _piece(left: int, room: int) -> int:
    """How many of `left` tokens are read next. Rather one less than that a single one is left, which llama.cpp computes
    by other code than several, so that the place of the cut would show in the result."""
    return left - 2 if 2 < left - 1 <= room < left else min(left, room)


def _own(model: Model) -> Pooling:
    """The pooling that the file names; the default of llama.cpp's server where it does not."""
    names: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "last": "last", "rank": "rank"}
    return names.get(model.pooling, "none")


def pair(model: Model, query: str, document: str) -> list[int]:
    """The tokens of a query and a document as a model that rates them was trained on: with the text around them that
    the file gives, else one after the other with the vocabulary's marks."""
    if template := model.rerank_template:
        parts = (part.replace("{document}", document) for part in template.split("{query}"))
        return model.tokenize(query.join(parts))
    marks = model.marks
    end = [marks.eos if marks.eos >= 0 else marks.sep] if model.adds_eos else []
    begin = [marks.bos] if model.adds_bos else []
    between = [marks.sep] if model.adds_sep else []
    asked, told = model.tokenize(query, parse=False), model.tokenize(document, parse=False)
    return [*begin, *asked, *end, *between, *told, *end]


def normalized(matrix: Matrix, kind: int) -> Matrix:
    """The rows after llama.cpp's normalization `kind`: -1 none, 0 largest absolute value 32760, p the p-norm."""
    if kind < 0:
        return matrix
    wide = np.abs(matrix.astype(np.float64))
    if kind == 0:
        sizes = wide.max(axis=1, keepdims=True) / _LARGEST
    else:
        largest = wide.max(axis=1, keepdims=True)  # powers of what is at most 1 do not overflow
        scaled = np.divide(wide, largest, out=np.zeros_like(wide), where=largest > 0)
        sizes = largest * (scaled**kind).sum(axis=1, keepdims=True) ** (1.0 / kind)
    result: Matrix = np.divide(matrix, sizes, out=np.zeros_like(wide), where=sizes > 0).astype(np.float32)
    return result


def leading(matrix: Matrix, dimensions: int) -> Matrix:
    """The first `dimensions` values of each row; 0: all."""
    return matrix[:, :dimensions] if dimensions else matrix


def packed(matrices: Sequence[Matrix]) -> tuple[bytes, ...]:
    """The matrices as little-endian 32-bit floats, row after row."""
    return tuple(np.ascontiguousarray(matrix, "<f4").tobytes() for matrix in matrices)
