"""Jobs beside the generating ones: tokens, prompts, embeddings, ratings, slots. They hold no slot.

What only looks is answered when it is admitted. Texts to embed or rate wait in line and are read some at a time
between the engine's steps, those of several jobs together; jobs that change a slot wait until it is free.
"""

import itertools
import time
import traceback
from array import array
from collections import deque
from collections.abc import Callable, Iterator

from velesio.backends.base import Work, failed
from velesio.backends.llama.batching import Pace
from velesio.backends.llama.binding import Context, Model
from velesio.backends.llama.embedding import Embedder, Text, leading, normalized, packed, pair
from velesio.backends.llama.lora import Adapters
from velesio.backends.llama.options import Options
from velesio.backends.llama.slots import Shelf, SlotFiles
from velesio.errors import BadRequest, Unsupported, VelesioError
from velesio.jobs import (
    Cancelled,
    Chat,
    Completed,
    Detokenize,
    DetokenizedResult,
    Embed,
    EmbedResult,
    Failed,
    Prompt,
    PromptResult,
    Render,
    Rerank,
    RerankResult,
    Result,
    Slots,
    Started,
    Tokenize,
    TokensResult,
)

MAX_TEXTS = 2048
"""Of one job."""
MAX_JOBS = 64
"""That wait for their vectors; others stay in the queue."""
MAX_BYTES = 64 << 20
"""Of one job's vectors: they travel as one event."""
_AT_ONCE = 32
"""Texts that are considered for one batch."""


class Asides:
    """Serves asides for one engine, on its thread."""

    def __init__(
        self,
        model: Model,
        options: Options,
        *,
        context: int,
        cells: Context,
        adapters: Adapters,
        render: Callable[[Chat], PromptResult],
        shelf: Shelf,
    ) -> None:
        """`context` tokens are the longest prompt; `cells` hold the states of slots; `render` makes the prompt of a
        chat and may raise a `VelesioError`."""
        self._model = model
        self._adapters = adapters
        self._render = render
        self._slots = SlotFiles(model, cells, options, shelf)
        limit = options.embed_limit(context)
        self._embedder = Embedder(model, options, adapters, limit=limit, keeps=cells.can_generate)
        self._pause = options.pause
        self._pace = Pace(limit, options.pause)
        self._vectors: deque[_Vectors] = deque()
        """In turn: who was served last stands last."""
        self._deferred: list[Work] = []
        """Jobs on slots that are in use."""

    @property
    def has_work(self) -> bool:
        """Whether something is not answered yet."""
        return bool(self._vectors or self._deferred)

    def admit(self, work: Work) -> bool:
        """Takes a job: answers it at once, or in one of the next steps. False: too many wait, ask again later."""
        params = work.job.params
        try:
            if isinstance(params, Embed | Rerank):
                if len(self._vectors) >= MAX_JOBS:
                    return False
                self._vectors.append(self._line_up(work, params))
            elif isinstance(params, Slots):
                self._slots.check(params)
                work.emit(Started())
                self._deferred.append(work)
                self._do_slots()
            else:
                result = self._look(params)
                work.emit(Started())
                work.emit(Completed(result))
        except VelesioError as error:
            work.emit(failed(error))
        except Exception as error:
            work.emit(Failed("internal_error", repr(error), traceback=traceback.format_exc()))
        return True

    def step(self, *, busy: bool) -> None:
        """Goes on with what waits, for about the option `pause` if others are `busy` generating, else some times as
        long. A text that has to be read whole may take longer."""
        if not self.has_work:
            self._embedder.tidy()
            return
        self._drop_cancelled()
        self._do_slots()
        if self._vectors:
            self._prepare()
            self._read(self._pace.prompt_tokens(generating=busy))

    def close(self) -> None:
        """Forgets what waits and frees the memory of embeddings."""
        self._vectors.clear()
        self._deferred.clear()
        self._embedder.close()

    # at once

    def _look(self, params: object) -> Result:
        """The answer of a job that computes nothing."""
        if isinstance(params, Tokenize):
            tokens = self._tokens(params.content, special=params.add_special, parse=params.parse_special)
            pieces = tuple(self._model.piece(token, special=True) for token in tokens) if params.pieces else ()
            return TokensResult(tuple(tokens), pieces)
        if isinstance(params, Detokenize):
            self._check(params.tokens)
            return DetokenizedResult(self._model.text(params.tokens))
        if isinstance(params, Render):
            return self._render(params.chat)
        raise Unsupported("this model makes text only")

    def _tokens(self, content: Prompt, *, special: bool, parse: bool = True) -> list[int]:
        """Tokens of a text, or of a list of texts and tokens, where the begin mark is added only to a text that
        stands first."""
        tokens: list[int] = []
        for number, part in enumerate([content] if isinstance(content, str) else content):
            if isinstance(part, str):
                tokens += self._model.tokenize(part, special=special and number == 0, parse=parse)
            else:
                self._check((part,))
                tokens.append(part)
        return tokens

    def _check(self, tokens: tuple[int, ...]) -> None:
        last = self._model.n_vocab - 1
        for token in tokens:
            if not 0 <= token <= last:
                raise BadRequest(f"there is no token {token}; this model's ids are 0 to {last}", param="tokens")

    # slots

    def _do_slots(self) -> None:
        """Serves the jobs whose slots are free, in their order."""
        for work in list(self._deferred):
            params = work.job.params
            if not isinstance(params, Slots) or self._slots.must_wait(params):
                continue
            self._deferred.remove(work)
            try:
                work.emit(Completed(self._slots.perform(params, work.job.tenant)))
            except VelesioError as error:
                work.emit(failed(error))

    def _drop_cancelled(self) -> None:
        for work in [work for work in self._deferred if work.cancelled]:
            self._deferred.remove(work)
            work.emit(Cancelled())
        for line in [line for line in self._vectors if line.work.cancelled]:
            self._leave(line)
            line.work.emit(Cancelled())

    # vectors

    def _line_up(self, work: Work, params: Embed | Rerank) -> "_Vectors":
        if self._model.has_two_parts:
            raise Unsupported("models of an encoder and a decoder make no embeddings here")
        rates = self._embedder.pooling == "rank"
        if isinstance(params, Rerank):
            if not rates:
                raise Unsupported(
                    'this model does not rate documents: it needs a GGUF file made for that (pooling "rank")'
                )
            return _Vectors(work, self._pairs(params))
        if rates:
            raise Unsupported("this model rates documents and makes no embeddings; ask it to rerank")
        if params.media:
            raise Unsupported("this model embeds text only", param="input")
        if not -1 <= params.normalize <= 64:
            raise BadRequest("embd_normalize must be -1 (none), 0 (maximum), or a norm from 1 to 64", param="normalize")
        if not 0 <= params.dimensions <= self._embedder.width:
            raise BadRequest(f"dimensions must be 1 to {self._embedder.width}", param="dimensions")
        return _Vectors(work, self._inputs(params))

    def _inputs(self, params: Embed) -> "Iterator[array[int]]":
        _bounded(len(params.inputs), "input")
        ends = {self._model.marks.eos, self._model.marks.sep}
        size = 0
        for number, content in enumerate(params.inputs):
            tokens = self._tokens(content, special=True)
            keep_last = isinstance(content, str) and bool(tokens) and tokens[-1] in ends
            text = self._embedder.fit(tokens, keep_last=keep_last, truncate=params.truncate, place=f"input[{number}]")
            rows = len(text) if self._embedder.pooling == "none" else 1
            size += rows * (params.dimensions or self._embedder.width) * 4
            if size > MAX_BYTES:
                raise BadRequest(f"the embeddings would take more than {MAX_BYTES >> 20} MiB; send fewer texts at once")
            yield text

    def _pairs(self, params: Rerank) -> "Iterator[array[int]]":
        _bounded(len(params.documents), "documents")
        for number, document in enumerate(params.documents):
            tokens = pair(self._model, params.query, document)
            yield self._embedder.fit(tokens, keep_last=False, truncate=False, place=f"documents[{number}]")

    def _prepare(self) -> None:
        """Turns texts into tokens, for as long as they may hold up others."""
        until = time.monotonic() + self._pause
        for line in list(self._vectors):
            try:
                while not line.complete and time.monotonic() < until:
                    line.prepare()
            except VelesioError as error:
                self._leave(line)
                line.work.emit(failed(error))

    def _read(self, budget: int) -> None:
        """One batch of the texts that are in turn."""
        ready = [line for line in self._vectors if line.complete]
        began = time.perf_counter()
        try:
            done, tokens = self._embedder.step(_in_turn(ready), budget)
        except (VelesioError, RuntimeError) as error:
            self._give_up(ready, error)
            return
        self._pace.observe(tokens, time.perf_counter() - began)
        finished = set(done)
        for line in ready:
            line.finish(finished)
            if not line.open:
                self._leave(line)
                line.work.emit(Completed(self._result(line)))
        self._vectors.rotate(-1)

    def _give_up(self, lines: "list[_Vectors]", error: Exception) -> None:
        """Ends all whose texts may have been in a batch that failed."""
        final = (
            failed(error)
            if isinstance(error, VelesioError)
            else Failed("internal_error", repr(error), retry=True, traceback=traceback.format_exc())
        )
        for line in lines:
            self._leave(line)
            line.work.emit(final)

    def _leave(self, line: "_Vectors") -> None:
        for text in line.texts:
            self._embedder.drop(text)
        self._vectors.remove(line)

    def _result(self, line: "_Vectors") -> EmbedResult | RerankResult:
        params = line.work.job.params
        matrices = [text.matrix for text in line.texts]
        tokens = tuple(len(text.tokens) for text in line.texts)
        if not isinstance(params, Embed):
            return RerankResult(tuple(float(matrix[0, 0]) for matrix in matrices), sum(tokens))
        pooled = self._embedder.pooling != "none"
        matrices = [leading(matrix, params.dimensions) for matrix in matrices]
        if pooled:
            matrices = [normalized(matrix, params.normalize) for matrix in matrices]
        return EmbedResult(packed(matrices), params.dimensions or self._embedder.width, tokens, pooled)


class _Vectors:
    """A job whose texts become vectors or ratings."""

    def __init__(self, work: Work, source: "Iterator[array[int]]") -> None:
        """`source` gives the tokens of its texts, and raises a `VelesioError` at the first that cannot be served."""
        self.work = work
        self.texts: list[Text] = []
        self.open: deque[Text] = deque()
        """Those that are not done."""
        self.complete = False
        """Whether all texts are tokens by now, and the job has begun."""
        self._source = source

    def prepare(self) -> None:
        """Makes tokens of one more text."""
        tokens = next(self._source, None)
        if tokens is not None:
            self.texts.append(Text(tokens))
            return
        self.complete = True
        self.open.extend(self.texts)
        self.work.emit(Started(sum(len(text.tokens) for text in self.texts)))

    def finish(self, done: set[Text]) -> None:
        """Some texts are done."""
        self.open = deque(text for text in self.open if text not in done)


def _in_turn(lines: "list[_Vectors]") -> Iterator[Text]:
    """The texts to read next: those that were begun, then one of each job after the other."""
    heads = [list(itertools.islice(line.open, _AT_ONCE)) for line in lines[:_AT_ONCE]]
    turns = [text for turn in itertools.zip_longest(*heads) for text in turn if text is not None][: _AT_ONCE * 2]
    yield from sorted(turns, key=lambda text: text.number < 0)


def _bounded(count: int, param: str) -> None:
    if not 1 <= count <= MAX_TEXTS:
        raise BadRequest(f"give 1 to {MAX_TEXTS} texts, not {count}", param=param)
