"""Continuous batching: each step computes some tokens of every sequence, and sequences come and go between steps."""

import logging
import time
import traceback
from typing import TYPE_CHECKING

from velesio import metrics
from velesio.backends.base import Work, failed
from velesio.backends.llama.asides import Asides
from velesio.backends.llama.batching import TILE, Pace, Share, halve, next_tokens, prompts
from velesio.backends.llama.binding import NO_ROOM, Context, Model
from velesio.backends.llama.cells import WORTH, Cells
from velesio.backends.llama.chat import ChatTemplate
from velesio.backends.llama.intake import Intake
from velesio.backends.llama.lora import Adapters
from velesio.backends.llama.options import Options
from velesio.backends.llama.parking import Parking
from velesio.backends.llama.prefix_cache import common_prefix
from velesio.backends.llama.sampler import Choice
from velesio.backends.llama.sequence import Sequence
from velesio.backends.llama.shelf import Shelf
from velesio.backends.llama.speculation import Speculation
from velesio.errors import OutOfMemory, VelesioError
from velesio.jobs import Aside, Cancelled, Completed, Failed, Final, Progress, Started

if TYPE_CHECKING:
    from velesio.backends.llama.binding.projector import Picture, Projector

_log = logging.getLogger(__name__)


class LlamaEngine:
    """One loaded model with its cache; every call on one thread."""

    def __init__(
        self,
        model: Model,
        context: Context,
        chat: ChatTemplate,
        adapters: Adapters,
        speculation: Speculation | None,
        *,
        projector: "Projector | None" = None,
        name: str,
        slots: int,
        options: Options,
    ) -> None:
        """`speculation` guesses tokens ahead; None: nobody does. All of them are closed with the engine."""
        self._model = model
        self._context = context
        self._adapters = adapters
        self._projector = projector
        self._intake = Intake(model, context, chat, adapters, options, projector=projector)
        self._cells = Cells(context, options.sequences, Parking(options.parked), can_cut=model.can_cut)
        self._speculation = speculation
        self._slots: list[Sequence | None] = [None] * slots
        self._shelf = Shelf(self._cells, self._slots, context=context.n_context, isolated=options.isolate_cache)
        self._asides = Asides(
            model,
            options,
            context=context.n_context,
            cells=context,
            adapters=adapters,
            render=self._intake.render,
            shelf=self._shelf,
        )
        self._waiting: list[Sequence] = []
        """Admitted and without cells, oldest first: new ones, and those that had to give theirs to older ones."""
        self._running: list[Sequence] = []
        """In order of admission."""
        self._tile = TILE if context.n_ubatch >= TILE and not context.unified else 0
        self._pace = Pace(context.n_batch, options.pause, self._tile)
        self._spent = 0
        """Prompt tokens since the last next tokens, where both are computed apart."""
        self._oldest_next = True
        """Which prompt is first in the next step: the oldest, or the one with least to do."""
        self._full = False
        """Cells ran out: nothing is seated until a sequence ends, else it would be thrown out again."""
        self._admitted = 0
        self._usage = metrics.kv_usage.labels(name)
        self._kept = metrics.kv_kept.labels(name)
        self._occupied = metrics.cells_running.labels(name)
        self._drafted = [metrics.drafted_tokens.labels(name, right) for right in ("no", "yes")]

    def admit(self, work: Work) -> bool:
        """Takes `work` if a slot is free; a job that cannot be served is answered with `Failed`."""
        if isinstance(work.job.params, Aside):
            return self._asides.admit(work)
        if None not in self._slots:
            return False
        try:
            sequence = self._intake.sequence(work)
        except VelesioError as error:
            work.emit(failed(error))
            return True
        except Exception as error:
            work.emit(Failed("internal_error", repr(error), traceback=traceback.format_exc()))
            return True
        self._admitted += 1
        sequence.number = self._admitted
        sequence.slot = self._free_slot(sequence.params.id_slot)
        self._slots[sequence.slot] = sequence
        work.emit(Started(sequence.prompt_tokens, sequence.dialect, self._known(sequence)))
        if sequence.ending is not None and sequence.predicted:
            self._end(sequence, Completed(sequence.result()))  # the lost worker had sent everything
        else:
            self._waiting.append(sequence)
        return True

    def step(self) -> None:
        """One batch, then one token for each sequence that has computed all it had; and some texts to embed."""
        self._hear_wishes()
        self._asides.step(busy=bool(self._running))
        self._seat()
        self._shift()
        self._look()
        most = self._context.n_batch
        ready = next_tokens(self._running, most)
        waiting = self._prompts(ready) if len(ready) < len(self._running) else []
        if self._context.unified:
            self._oldest_next = not self._oldest_next
            self._compute([*self._guessed(ready, most - sum(share.tokens for share in waiting)), *waiting])
        elif waiting:
            # One alone: in one batch the streams' lengths would decide how llama.cpp cuts and computes them, and an
            # answer would depend on who came at the same time. Nor need its first token wait for the others' prompts.
            self._oldest_next = not self._oldest_next
            self._spent += waiting[0].tokens
            self._compute(waiting[:1])
        else:
            self._spent = 0
            self._cells.gather(ready, self._running)
            self._compute(self._guessed(ready, most))

    def close(self) -> None:
        """Frees cache and weights."""
        for sequence in (*self._running, *self._waiting):
            sequence.sampler.close()
        self._running, self._waiting = [], []
        if self._speculation is not None:
            self._speculation.close()
        if self._projector is not None:
            self._projector.close()
        self._asides.close()
        self._context.close()
        self._adapters.close()
        self._model.close()

    def _in_line(self) -> list[Sequence]:
        """The running sequences in the order in which their prompts are served: a short one need not wait for a long
        one, and that still gets every second step."""
        return self._running if self._oldest_next else sorted(self._running, key=lambda sequence: sequence.left)

    def _prompts(self, ready: list[Share]) -> list[Share]:
        """What a step computes of prompts beside, or instead of, the next tokens that are `ready`."""
        room = self._pace.prompt_tokens(generating=bool(ready))
        if self._context.unified:
            return prompts(self._in_line(), min(room, self._context.n_batch - len(ready)), self._context.n_ubatch)
        spent = self._spent if ready else 0
        return prompts(self._in_line(), room - spent, self._context.n_ubatch, self._tile, spare=room // 2)

    def _guessed(self, ready: list[Share], room: int) -> list[Share]:
        return self._speculation.guess(ready, room) if self._speculation is not None and ready else ready

    def _shift(self) -> None:
        """Makes place for the next token of those whose context is full."""
        for sequence in self._running:
            if sequence.is_full:
                self._cells.shift(sequence)

    # compute

    def _look(self) -> None:
        """Computes one picture, that of the first in line who is at one: each takes as long as some steps."""
        if self._projector is None:
            return
        for sequence in self._in_line():
            if (picture := sequence.picture) is not None:
                self._adapters.apply(self._context, sequence.adapters)
                self._see(sequence, picture, self._projector)
                return

    def _see(self, sequence: Sequence, picture: "Picture", projector: "Projector") -> None:
        try:
            while not projector.show(self._context, picture, sequence.cell):
                if not self._make_room([Share(sequence, 1)]):
                    return  # it waits, or has failed
        except VelesioError as error:
            self._end(sequence, failed(error))
            return
        self._cells.extend(sequence, picture.positions)
        self._report(sequence)

    def _compute(self, shares: list[Share]) -> None:
        """Computes shares, those with the same adapters in one batch."""
        every = {share.sequence.adapters: None for share in shares}
        for adapters in every:
            self._adapters.apply(self._context, adapters)
            alike = [share for share in shares if share.sequence.adapters == adapters] if len(every) > 1 else shares
            self._compute_alike(alike)

    def _compute_alike(self, shares: list[Share]) -> None:
        while (places := self._decode(shares)) is None:
            shares = self._make_room(shares)
            if not shares:
                return
        for share, place in zip(shares, places, strict=True):
            if share.sequence.left > share.tokens:
                self._cells.extend(share.sequence, share.tokens)
                self._report(share.sequence)
            else:
                self._advance(share, place)

    def _decode(self, shares: list[Share]) -> list[int] | None:
        """Computes the shares and returns the places of their first outputs in the batch; None: no room."""
        places = []
        whole = 0
        for sequence, count, draft in shares:
            whole += count
            begin = sequence.computed
            tokens = sequence.tokens[begin : begin + count]
            tokens.extend(draft)
            # What follows is known while a lost worker's tokens are stepped through; the outputs are part of the step.
            outputs = 1 + len(draft) if count == sequence.together else 0
            places.append(self._context.add(sequence.cell, tokens, begin, outputs=outputs))
        began = time.perf_counter()
        if self._context.decode() == NO_ROOM:
            return None
        seconds = time.perf_counter() - began
        if whole > len(shares):
            self._pace.observe(whole, seconds)
        elif self._speculation is not None:
            self._speculation.measure(shares, seconds)
        return places

    def _advance(self, share: Share, place: int) -> None:
        """Samples the next token, and goes on as long as guesses turn out right."""
        sequence, draft = share.sequence, share.draft
        if sequence.ending is not None:  # nothing was to be generated
            self._cells.extend(sequence, share.tokens)
            self._end(sequence, Completed(sequence.result()))
            return
        if not sequence.predicted:
            self._report(sequence, whole=True)
        right = 0
        try:
            while self._grow(sequence, place + right) == draft[right : right + 1] and sequence.ending is None:
                right += 1
        except VelesioError as error:
            self._end(sequence, failed(error))
            return
        self._cells.extend(sequence, share.tokens + right)
        if draft and self._speculation is not None:
            self._cells.cut(sequence)
            self._speculation.learn(sequence, len(draft), right)
            self._drafted[True].inc(right)
            self._drafted[False].inc(len(draft) - right)
        if sequence.ending is not None:
            self._end(sequence, Completed(sequence.result()))

    def _grow(self, sequence: Sequence, place: int) -> tuple[int]:
        """Chooses the token at `place`, appends it and emits what can be shown of it."""
        if sequence.forced:
            choice = Choice(sequence.forced.popleft())
            sequence.sampler.replay(choice.token)
        else:
            choice = sequence.sampler.sample(self._context, place)
        token = choice.token
        piece = self._model.piece(token, special=token in sequence.shown)
        delta = sequence.grow(choice, piece, is_end=self._model.is_end(token))
        if delta is not None and sequence.work.job.stream:
            sequence.work.emit(delta)
        return (token,)

    def _report(self, sequence: Sequence, *, whole: bool = False) -> None:
        """Tells how far a prompt is; `whole`: it is computed."""
        if sequence.params.return_progress and sequence.work.job.stream:
            total, cached = sequence.prompt_tokens, sequence.cached or 0
            done = total if whole else min(sequence.computed, total)
            sequence.work.emit(Progress(done, total, cached, sequence.elapsed))

    # room

    def _make_room(self, shares: list[Share]) -> list[Share]:
        """After cells ran out: what to try next. Kept prefixes go first, then the youngest sequence waits; a
        sequence alone is computed in smaller pieces."""
        wanted = sum(share.tokens + len(share.draft) for share in shares)
        if self._context.unified and self._cells.evict(wanted):
            return shares
        if any(share.draft for share in shares):
            return [share._replace(draft=()) for share in shares]
        if len(self._running) > 1 and self._context.unified:
            youngest = self._running.pop()
            _log.debug("no cells left: job %s waits with %d tokens", youngest.work.job.id, youngest.computed)
            self._cells.interrupt(youngest)
            self._waiting.insert(0, youngest)
            self._full = True
            return [share for share in shares if share.sequence is not youngest]
        smaller = halve(shares)
        if not smaller:
            error = OutOfMemory("the model's cache cannot hold this job; give it more cells")
            self._end(shares[0].sequence, failed(error))
        return smaller

    def _hear_wishes(self) -> None:
        """Ends what was cancelled, and reasoning that somebody has enough of."""
        for sequence in self._slots:
            if sequence is not None and sequence.work.cancelled:
                self._end(sequence, Cancelled())
            elif sequence is not None and sequence.work.thought_enough:
                sequence.conclude()

    def _seat(self) -> None:
        """Gives waiting sequences cells, with the longest prefix that is computed already."""
        if not self._waiting or (self._full and self._running):
            return
        self._full = False
        for sequence in list(self._waiting):
            if self._follows(sequence):
                continue
            if self._running and not self._cells.has_room(sequence, self._running):
                break  # nobody overtakes it
            self._waiting.remove(sequence)
            self._cells.seat(sequence)
            self._running.append(sequence)
            self._report(sequence)
        self._running.sort(key=lambda sequence: sequence.number)
        self._observe()

    def _known(self, sequence: Sequence) -> int:
        """Tokens of its prompt that lie in the cache now."""
        return min(self._cells.known(sequence), sequence.prompt_tokens) if sequence.reuse else 0

    def _follows(self, sequence: Sequence) -> bool:
        """Whether a running sequence is just computing a prefix that `sequence` can use when it is done."""
        if not (sequence.reuse and self._cells.shares):
            return False
        promised = [
            common_prefix(other.tokens, sequence.tokens)
            for other in self._running
            if other.left > 1 and other.reuse and other.namespace == sequence.namespace
        ]
        return bool(promised) and max(promised) >= WORTH + self._cells.known(sequence)

    def _observe(self) -> None:
        """Tells how full the cache is; called when that has changed by more than the next token."""
        self._usage.set(self._cells.used / self._context.n_cells)
        self._kept.set(self._cells.kept)
        self._occupied.set(self._cells.running)

    def _end(self, sequence: Sequence, final: Final) -> None:
        """Frees what a sequence holds and emits its final event."""
        if sequence.cell >= 0:
            self._running.remove(sequence)
            self._shelf.leave(sequence)
            self._cells.unseat(sequence, keep=sequence.reuse)
        elif sequence in self._waiting:
            self._waiting.remove(sequence)
        self._slots[sequence.slot] = None
        self._full = False
        if self._speculation is not None:
            self._speculation.forget((sequence,))
        sequence.sampler.close()
        self._observe()
        sequence.work.emit(final)

    def _free_slot(self, wanted: int) -> int:
        """A free slot: the wanted one, if it is one of them."""
        if 0 <= wanted < len(self._slots) and self._slots[wanted] is None:
            return wanted
        return self._slots.index(None)
