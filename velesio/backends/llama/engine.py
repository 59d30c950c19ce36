"""Continuous batching: each step computes some tokens of every sequence, and sequences come and go between steps."""

import logging
import time
import traceback
from collections.abc import Iterable

from velesio.backends.base import ModelCard, Work
from velesio.backends.llama import sampling
from velesio.backends.llama.batching import Pace, Share, halve, next_tokens, prompts
from velesio.backends.llama.binding import NO_ROOM, Chain, Context, Model
from velesio.backends.llama.chat import ChatTemplate
from velesio.backends.llama.options import Options
from velesio.backends.llama.prefix_cache import PrefixCache, common_prefix
from velesio.backends.llama.sequence import Sequence
from velesio.errors import BadRequest, ContextExceeded, OutOfMemory, Unsupported, VelesioError
from velesio.jobs import Cancelled, Chat, Completed, Completion, Failed, Final, Started

_WORTH_WAITING = 32
"""Tokens of a prefix from which on it is better to wait for its copy than to compute it twice."""
_MAX_STOPS = 128
"""Each is looked for after each token."""
_PATIENCE = 4
"""Steps in which sequences that are computed together may lie apart."""

_log = logging.getLogger(__name__)


class LlamaEngine:
    """One loaded model with its cache; every call on one thread."""

    def __init__(self, model: Model, context: Context, chat: ChatTemplate, card: ModelCard, options: Options) -> None:
        self._model = model
        self._context = context
        self._chat = chat
        self._isolate = options.isolate_cache
        self._slots: list[Sequence | None] = [None] * card.slots
        self._waiting: list[Sequence] = []
        """Admitted and without cells, oldest first: new ones, and those that had to give theirs to older ones."""
        self._running: list[Sequence] = []
        """In order of admission."""
        least = 1 if context.unified else _WORTH_WAITING
        self._cache = PrefixCache(options.sequences, least=least, whole=not model.can_cut)
        self._pace = Pace(context.n_batch, options.pause)
        self._prompts_next = True
        """Whose turn it is where next tokens and prompts are computed apart."""
        self._oldest_next = True
        """Which prompt is first in the next step: the oldest, or the one with least to do."""
        self._scattered = 0
        """Steps since the running sequences' ids follow each other no more."""
        self._full = False
        """Cells ran out: nothing is seated until a sequence ends, else it would be thrown out again."""
        self._admitted = 0

    def admit(self, work: Work) -> bool:
        """Takes `work` if a slot is free; a job that cannot be served is answered with `Failed`."""
        if None not in self._slots:
            return False
        try:
            sequence = self._sequence(work)
        except VelesioError as error:
            work.emit(_failed(error))
            return True
        except Exception as error:
            work.emit(Failed("internal_error", repr(error), traceback=traceback.format_exc()))
            return True
        work.emit(Started(len(sequence.tokens) - sequence.predicted))
        self._slots[sequence.slot] = sequence
        if sequence.ending is not None and sequence.predicted:
            self._end(sequence, Completed(sequence.result()))  # the lost worker had sent everything
        else:
            self._waiting.append(sequence)
        return True

    def step(self) -> None:
        """One batch, then one token for each sequence that has computed all it had."""
        self._drop_cancelled()
        self._seat()
        most = self._context.n_batch
        ready = next_tokens(self._running, most)
        room = min(self._pace.prompt_tokens(generating=bool(ready)), most - len(ready))
        waiting = prompts(self._in_line(), room, self._context.n_ubatch)
        if self._context.unified:
            self._oldest_next = not self._oldest_next
            self._compute([*ready, *waiting])
        elif waiting and (self._prompts_next or not ready):
            # Each alone: in one batch the streams' lengths would decide how llama.cpp cuts and computes them, and
            # an answer would depend on who came at the same time.
            for share in waiting:
                self._compute([share])
            self._oldest_next = not self._oldest_next
            self._prompts_next = False
        else:
            self._gather(ready)
            self._compute(ready)
            self._prompts_next = True

    def close(self) -> None:
        """Frees cache and weights."""
        for sequence in (*self._running, *self._waiting):
            sequence.chain.close()
        self._running, self._waiting = [], []
        self._context.close()
        self._model.close()

    def _in_line(self) -> list[Sequence]:
        """The running sequences in the order in which their prompts are served: a short one need not wait for a long
        one, and that still gets every second step."""
        return self._running if self._oldest_next else sorted(self._running, key=lambda sequence: sequence.left)

    def _gather(self, ready: list[Share]) -> None:
        """Brings sequences that are computed together to neighbouring ids, if they stayed apart for some steps: each
        gap costs a pass over the weights in every step, a move costs a copy once."""
        gaps = sum(share.sequence.cell != ready[0].sequence.cell + place for place, share in enumerate(ready))
        self._scattered = self._scattered + 1 if gaps and self._model.can_cut else 0
        if self._scattered < _PATIENCE:
            return
        self._scattered = 0
        cells = {sequence.cell: sequence for sequence in self._running}
        for move in self._cache.gather():
            self._context.move(move.source, move.target)
            if move.source in cells:
                cells[move.source].cell = move.target
        ready.sort(key=lambda share: share.sequence.cell)

    def _compute(self, shares: list[Share]) -> None:
        if not shares:
            return
        while (places := self._decode(shares)) is None:
            shares = self._make_room(shares)
            if not shares:
                return
        for share, place in zip(shares, places, strict=True):
            sequence = share.sequence
            self._cache.extend(sequence.cell, sequence.tokens[sequence.computed : sequence.computed + share.tokens])
            sequence.computed += share.tokens
            if not sequence.left:
                self._advance(sequence, place)

    def _decode(self, shares: list[Share]) -> list[int] | None:
        """Computes the shares and returns their places in the batch; None: no room."""
        places = []
        for sequence, count in shares:
            begin = sequence.computed
            tokens = sequence.tokens[begin : begin + count]
            places.append(self._context.add(sequence.cell, tokens, begin, output=count == sequence.left))
        began = time.perf_counter()
        if self._context.decode() == NO_ROOM:
            return None
        if any(share.tokens > 1 for share in shares):
            self._pace.observe(sum(share.tokens for share in shares), time.perf_counter() - began)
        return places

    def _advance(self, sequence: Sequence, place: int) -> None:
        """Samples the next token, shows its text, and ends the sequence if that was the last."""
        if sequence.ending is None:
            token = self._context.sample(sequence.chain, place)
            delta = sequence.grow(token, self._model.piece(token), is_end=self._model.is_end(token))
            if delta is not None and sequence.work.job.stream:
                sequence.work.emit(delta)
        if sequence.ending is not None:
            self._end(sequence, Completed(sequence.result()))

    def _make_room(self, shares: list[Share]) -> list[Share]:
        """After cells ran out: what to try next. Kept prefixes go first, then the youngest sequence waits; a
        sequence alone is computed in smaller pieces."""
        victim = self._cache.evict() if self._context.unified else None
        if victim is not None:
            self._context.remove(victim)
            return shares
        if len(self._running) > 1 and self._context.unified:
            youngest = self._running.pop()
            _log.debug("no cells left: job %s waits with %d tokens", youngest.work.job.id, youngest.computed)
            self._unseat(youngest, keep=False)
            self._waiting.insert(0, youngest)
            self._full = True
            return [share for share in shares if share.sequence is not youngest]
        smaller = halve(shares)
        if not smaller:
            error = OutOfMemory("the model's cache cannot hold this job; give it more cells")
            self._end(shares[0].sequence, _failed(error))
        return smaller

    def _drop_cancelled(self) -> None:
        for sequence in self._slots:
            if sequence is not None and sequence.work.cancelled:
                self._end(sequence, Cancelled())

    def _seat(self) -> None:
        """Gives waiting sequences cells, with the longest prefix that is computed already."""
        if self._full and self._running:
            return
        self._full = False
        for sequence in list(self._waiting):
            if self._follows(sequence):
                continue
            self._waiting.remove(sequence)
            claim = self._cache.claim(sequence.tokens, namespace=sequence.namespace, reuse=sequence.reuse)
            if not self._context.remove(claim.sequence, claim.keep):
                raise RuntimeError(f"cells of sequence {claim.sequence} cannot be removed from {claim.keep} on")
            if claim.source != claim.sequence:
                self._context.share(claim.source, claim.sequence, claim.length)
            sequence.cell, sequence.computed = claim.sequence, claim.length
            if sequence.cached is None:
                sequence.cached = claim.length
            self._running.append(sequence)
        self._running.sort(key=lambda sequence: sequence.number)

    def _follows(self, sequence: Sequence) -> bool:
        """Whether a running sequence is just computing a prefix that `sequence` can use when it is done."""
        if not (sequence.reuse and self._cache.shares):
            return False
        promised = [
            common_prefix(other.tokens, sequence.tokens)
            for other in self._running
            if other.left > 1 and other.reuse and other.namespace == sequence.namespace
        ]
        if not promised:
            return False
        return max(promised) >= _WORTH_WAITING + self._cache.reusable(sequence.tokens, namespace=sequence.namespace)

    def _unseat(self, sequence: Sequence, *, keep: bool) -> None:
        if not self._cache.release(sequence.cell, keep=keep):
            self._context.remove(sequence.cell)
        sequence.cell, sequence.computed = -1, 0

    def _end(self, sequence: Sequence, final: Final) -> None:
        """Frees what a sequence holds and emits its final event."""
        if sequence.cell >= 0:
            self._running.remove(sequence)
            self._unseat(sequence, keep=sequence.reuse)
        elif sequence in self._waiting:
            self._waiting.remove(sequence)
        self._slots[sequence.slot] = None
        self._full = False
        sequence.chain.close()
        sequence.work.emit(final)

    def _sequence(self, work: Work) -> Sequence:
        """The job as tokens and a sampler chain.

        Raises:
            VelesioError: if it cannot be served.
        """
        params = work.job.params
        if not isinstance(params, Completion | Chat):
            raise Unsupported("this model makes text only")
        if len(params.stop) > _MAX_STOPS:
            raise BadRequest(f"at most {_MAX_STOPS} stop strings", param="stop")
        prompt, text = self._prompt(params)
        context = self._context.n_context
        if len(prompt) >= context:
            raise ContextExceeded.of(len(prompt), context)
        plan = sampling.plan(
            params.sampling,
            context=context,
            tokenize=self._model.tokenize,
            end_tokens=self._model.end_tokens,
            vocabulary=self._model.n_vocab,
        )
        self._check(work.job.sent)
        chain = Chain(self._model, plan.steps)
        if plan.history:
            chain.accept((*prompt, *work.job.sent)[-plan.history :])
        self._admitted += 1
        sequence = Sequence(
            work,
            prompt,
            number=self._admitted,
            slot=self._slot(params.id_slot),
            context=context,
            chain=chain,
            seed=plan.seed,
            prompt_text=text,
        )
        sequence.namespace = work.job.tenant if self._isolate else ""
        for token in work.job.sent:
            sequence.replay(token, self._model.piece(token), is_end=self._model.is_end(token))
        return sequence

    def _slot(self, wanted: int) -> int:
        """A free slot: the wanted one, if it is one of them."""
        if 0 <= wanted < len(self._slots) and self._slots[wanted] is None:
            return wanted
        return self._slots.index(None)

    def _prompt(self, params: Completion | Chat) -> tuple[list[int], str]:
        """The prompt's tokens, and its text where the params do not hold it."""
        if isinstance(params, Chat):
            text = self._chat.render(
                params.messages,
                add_generation_prompt=params.add_generation_prompt,
                arguments=params.template_kwargs,
            )
            bos = self._model.bos_text
            bare = text.removeprefix(bos) if self._model.adds_bos and bos else text
            return self._filled(self._model.tokenize(bare, special=True)), text
        if isinstance(params.prompt, str):
            return self._filled(self._model.tokenize(params.prompt, special=True)), ""
        tokens = self._filled(self._tokens(params.prompt))
        return tokens, self._model.text(tokens)

    def _tokens(self, parts: list[int | str]) -> list[int]:
        """Tokens of a mixed list; the begin mark is added only where a text stands first."""
        tokens: list[int] = []
        for number, part in enumerate(parts):
            if isinstance(part, str):
                tokens += self._model.tokenize(part, special=number == 0)
            else:
                self._check((part,))
                tokens.append(part)
        return tokens

    def _filled(self, tokens: list[int]) -> list[int]:
        if not tokens:
            raise BadRequest("the prompt is empty", param="prompt")
        return tokens

    def _check(self, tokens: Iterable[int]) -> None:
        last = self._model.n_vocab - 1
        for token in tokens:
            if not 0 <= token <= last:
                raise BadRequest(f"there is no token {token}; this model's ids are 0 to {last}", param="prompt")


def _failed(error: VelesioError) -> Failed:
    details = error.details | ({"param": error.param} if error.param else {})
    return Failed(error.code, error.message, details=details)
