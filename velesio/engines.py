"""The engine thread: one loaded model on one thread, admitting and stepping; events reach the event loop once a step.

The thread belongs to an executor of its own, so that a model is loaded, stepped and freed by one thread and a slow
model never keeps another waiting. Delivery never blocks it: events are handed over by one `call_soon_threadsafe`.
"""

import asyncio
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

import structlog

from velesio import heap, metrics
from velesio.backends.base import Engine, ModelCard, Work
from velesio.errors import ModelLoadFailed, VelesioError
from velesio.jobs import Event, Failed, Job, is_final
from velesio.states import Counts

log = structlog.get_logger(__name__)

Delivery = tuple[Work, Event | None]
"""An event of a work; None hands the work back unharmed: it was never admitted."""
Deliver = Callable[[Sequence[Delivery]], None]
Loader = Callable[[Callable[[float], None]], Engine]


class EngineThread:
    """Owns the thread on which one engine lives. All methods but the loop itself belong to the event loop."""

    def __init__(self, card: ModelCard, loader: Loader, deliver: Deliver, counts: Counts | None = None) -> None:
        """`deliver` is called in the event loop, once a step, with the step's events in order. Steps are counted in
        `counts`."""
        self.card = card
        self.progress = 0.0
        """Part of the loading that is done, 0 to 1."""
        self._loader = loader
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=f"engine-{card.name}")
        self._inbox: SimpleQueue[Work | None] = SimpleQueue()
        """Works to admit; None only wakes the thread."""
        self._closing = False
        self._outbox: list[Delivery] = []
        self._finished = 0
        """Works that the outbox has the last of."""
        self._waiting: deque[Work] = deque()
        self._active: set[Work] = set()
        self._held = 0
        self._step_began = 0.0
        self._ended: Future[None] | None = None
        self._loaded: asyncio.Future[None] = self._loop.create_future()
        self._sequences = metrics.engine_sequences.labels(card.name)
        self._steps = metrics.engine_steps.labels(card.name)
        self._step_seconds = metrics.step_seconds.labels(card.name)
        self._counts = counts or Counts()

    async def start(self) -> None:
        """Loads the model.

        Raises:
            ModelLoadFailed: with the library's reason.
        """
        self._ended = self._executor.submit(self._run)
        await asyncio.shield(self._loaded)

    @property
    def held(self) -> int:
        """Works submitted whose final event has not been delivered."""
        return self._held

    @property
    def alive(self) -> bool:
        """Whether the thread takes work."""
        return self._ended is not None and not self._ended.done() and not self._closing

    def stalled(self) -> float:
        """Seconds since the step in progress began; 0 between steps."""
        began = self._step_began
        return time.monotonic() - began if began else 0.0

    def submit(self, job: Job) -> Work:
        """Queues a job for admission."""
        work = Work(job, self._emit)
        self._held += 1
        self._inbox.put(work)
        return work

    def cancel(self, work: Work) -> None:
        """Asks the engine to end `work` with `Cancelled` between two steps."""
        work.cancelled = True
        self._inbox.put(None)

    def conclude(self, work: Work) -> None:
        """Asks the engine to end the reasoning of `work` between two steps."""
        work.thought_enough = True
        self._inbox.put(None)

    async def close(self) -> None:
        """Ends the thread after the step in progress and frees the model; works still held are handed back."""
        self._closing = True
        self._inbox.put(None)
        if self._ended is not None:
            await asyncio.wrap_future(self._ended)
        self._executor.shutdown(wait=False)

    def abandon(self) -> list[Work]:
        """Gives up a thread whose step does not return; answers the works that it still held."""
        self._closing = True
        self._executor.shutdown(wait=False)
        held = [*self._active, *self._waiting, *self._submitted()]
        for work in held:
            work.finished = True
        self._held = 0
        return held

    # The engine's thread, from here on.

    def _run(self) -> None:
        engine: Engine | None = None
        try:
            engine = self._load()
        except Exception as error:  # whatever a library raises is the reason given to the client
            self._to_loop(self._set_failed, error)
            return
        self._to_loop(self._set_loaded)
        try:
            while self._collect():
                if engine is None:
                    engine = self._load()
                if self._turn(engine):
                    continue
                engine.close()
                engine = None
        except Exception as error:
            log.exception("engine could not be rebuilt", model=self.card.name)
            self._fail_active(f"the engine could not be rebuilt: {error}", traceback.format_exc())
        finally:
            self._hand_back()
            if engine is not None:
                engine.close()
                engine = None
                heap.give_back()

    def _load(self) -> Engine:
        began = time.monotonic()
        engine = self._loader(self._report)
        metrics.model_load_seconds.labels(self.card.name).observe(time.monotonic() - began)
        return engine

    def _report(self, part: float) -> None:
        self.progress = part

    def _collect(self) -> bool:
        """Moves what was submitted into the waiting line; sleeps while there is nothing to do. False: time to end."""
        if not (self._waiting or self._active or self._closing) and (work := self._inbox.get()) is not None:
            self._waiting.append(work)
        self._waiting.extend(self._submitted())
        return not self._closing

    def _submitted(self) -> Iterator[Work]:
        """What lies in the inbox, without waiting."""
        while not self._inbox.empty():
            if (work := self._inbox.get_nowait()) is not None:
                yield work

    def _turn(self, engine: Engine) -> bool:
        """Admits and steps once. False: the engine raised; its members have failed and it must be rebuilt."""
        try:
            while self._waiting and self._admit(engine, self._waiting[0]):
                self._waiting.popleft()
            if self._active:
                self._step(engine)
        except Exception:
            log.exception("engine step failed; rebuilding", model=self.card.name)
            self._fail_active("the engine failed while computing this job", traceback.format_exc())
            self._hand_back()
            return False
        self._flush()
        return True

    def _step(self, engine: Engine) -> None:
        self._step_began = began = time.monotonic()
        members = tuple(self._active)
        try:
            engine.step()
        finally:
            share = (time.monotonic() - self._step_began) / len(members)
            for work in members:
                work.seconds += share
            self._step_began = 0.0
        self._steps.inc()
        self._step_seconds.observe(time.monotonic() - began)
        self._counts.steps += 1
        self._counts.sequences += len(members)

    def _admit(self, engine: Engine, work: Work) -> bool:
        self._active.add(work)  # before admit, which may emit the final event at once
        began = time.monotonic()
        admitted = engine.admit(work)
        work.seconds += time.monotonic() - began
        if admitted:
            self._sequences.set(len(self._active))
            return True
        self._active.discard(work)
        return False

    def _emit(self, work: Work, event: Event) -> None:
        if work.finished:
            return
        if is_final(event):
            work.finished = True
            self._finished += 1
            self._active.discard(work)
        self._outbox.append((work, event))

    def _fail_active(self, message: str, trace: str) -> None:
        if self._waiting and self._waiting[0] in self._active:  # admit itself raised
            self._waiting.popleft()
        for work in list(self._active):
            self._emit(work, Failed("job_failed", message, retry=True, traceback=trace))

    def _hand_back(self) -> None:
        self._waiting.extend(self._submitted())
        for work in [*self._active, *self._waiting]:
            work.finished = True
            self._finished += 1
            self._outbox.append((work, None))
        self._active.clear()
        self._waiting.clear()
        self._flush()

    def _flush(self) -> None:
        if self._outbox:
            events, self._outbox = self._outbox, []
            finished, self._finished = self._finished, 0
            if finished:
                self._sequences.set(len(self._active))
            self._to_loop(self._hand_over, events, finished)

    def _to_loop(self, callback: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *arguments)
        except RuntimeError:  # the loop is closed: the process is ending without a drain
            log.warning("events lost: the event loop is closed", model=self.card.name)

    # The event loop again.

    def _hand_over(self, events: list[Delivery], finished: int) -> None:
        self._held -= finished
        self._deliver(events)

    def _set_loaded(self) -> None:
        self.progress = 1.0
        if not self._loaded.done():
            self._loaded.set_result(None)

    def _set_failed(self, error: Exception) -> None:
        self._closing = True
        log.error("model could not be loaded", model=self.card.name, error=str(error))
        wrapped = error if isinstance(error, VelesioError) else ModelLoadFailed(f"{self.card.name}: {error}")
        if not self._loaded.done():
            self._loaded.set_exception(wrapped)
