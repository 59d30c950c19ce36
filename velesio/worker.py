"""The worker: takes leases for what its engines can admit, has them performed, settles their ends."""

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from velesio import metrics, tracing
from velesio.backends.base import Backend, Work
from velesio.config import WorkerSection
from velesio.engines import Delivery, EngineThread
from velesio.errors import BrokerUnavailable, ModelNotFound, ShuttingDown, VelesioError
from velesio.jobs import (
    Completed,
    Delta,
    Event,
    Failed,
    Final,
    Image,
    ImageResult,
    Job,
    Result,
    TextResult,
    born,
    is_final,
    keep_alive_of,
)
from velesio.queue.leases import Lease, Leases
from velesio.queue.replies import Publisher
from velesio.queue.spending import Spending
from velesio.queue.tasks import Loop, stop
from velesio.residency import Residency, resident_bytes
from velesio.states import Wish

log = structlog.get_logger(__name__)

_PARTING = 3.0
"""Seconds that the last step, and then the broker, get when the worker ends."""
_TICK = 1.0
"""Seconds between two looks at idle models and stalled steps."""


@dataclass(slots=True)
class Held:
    """A lease that this worker holds, and where its work is."""

    lease: Lease
    began: float
    engine: EngineThread | None = None
    work: Work | None = None
    cancelled: bool = False
    spending: Spending = field(default_factory=Spending)


class Worker:
    """One worker of the consumer group: its engines, its leases and the loop between them."""

    def __init__(
        self,
        section: WorkerSection,
        backends: Sequence[Backend],
        leases: Leases,
        publisher: Publisher,
        keep_alives: Mapping[str, float] | None = None,
    ) -> None:
        """`leases` must call `abort` when a job is cancelled or lost, `fulfil` for each wish, `conclude` for jobs that
        have reasoned enough. `keep_alives` are those of models that have one of their own."""
        self.residency = Residency(
            backends,
            self._delivered,
            patterns=section.models,
            budget=section.memory_budget,
            keep_alive=section.keep_alive,
            keep_alives=keep_alives,
            changed=leases.announce,
        )
        self._section = section
        self._leases = leases
        self._publisher = publisher
        self._held: dict[str, Held] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._offered: Mapping[str, int] = {}
        """The room that a take under way knows of."""
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self.monitoring = ""
        """Where Prometheus reaches this process; empty: nowhere of its own."""
        self._quiet = False
        self._hung = False
        self._loading = section.preload

    @property
    def hung(self) -> bool:
        """Whether an engine's thread had to be abandoned, so that the process cannot end by itself."""
        return self._hung

    def facts(self) -> dict[str, Any]:
        """What the heartbeat tells the registry: jobs held, and the states of the models. Called on its thread."""
        return {
            "jobs": list(self._held),
            "loaded": self.residency.loaded,
            "loading": self._loading,
            "models": self.residency.states(),
            "counts": self.residency.counts(),
            "monitoring": self.monitoring,
            "memory": {"budget": self.residency.budget, "used": self.residency.used, "resident": resident_bytes()},
        }

    def advertise(self) -> None:
        """Tells what this worker serves."""
        for card in self.residency.cards:
            metrics.worker_slots.labels(card.name).set(card.slots)
        self._leases.advertise(self.residency.cards, self.facts)

    def restock(self, backends: Sequence[Backend]) -> None:
        """Serves what these backends have from now on; jobs of models that are gone are let end."""
        before = {card.name for card in self.residency.cards}
        if self.residency.restock(backends):
            cards = [card.name for card in self.residency.cards]
            log.info("models are others", models=cards, gone=sorted(before.difference(cards)))
            self.advertise()
            self._reconsider()

    async def unready(self) -> list[str]:
        """Why this worker takes no jobs, or cannot do them at once; empty: it does. For health checks."""
        if self._quiet:
            return ["the worker is leaving"]
        if self._loading:
            return ["the first model is being loaded"]
        return ["an engine hung and was given up"] if self._hung else []

    async def run(self) -> None:
        """Takes and performs until `drain`."""
        upkeep = Loop("worker upkeep", self._tick, pause=_TICK)
        upkeep.start()
        if self._section.preload:
            self._spawn(self._preload())
        try:
            while not self._quiet:
                await self._take()
        finally:
            await upkeep.close()

    async def drain(self, patience: float, hurried: asyncio.Event) -> None:
        """Stops taking, lets the jobs held finish for `patience` seconds or until `hurried`, gives the others back
        and unloads."""
        self._quiet = True
        self._reconsider()
        with contextlib.suppress(BrokerUnavailable, TimeoutError):
            async with asyncio.timeout(_PARTING):
                await self._leases.quiet()
        finishing = asyncio.create_task(self._until_idle())
        hurrying = asyncio.create_task(hurried.wait())
        await asyncio.wait({finishing, hurrying}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        for task in (finishing, hurrying):
            task.cancel()
        if self._held:
            log.warning("giving jobs back", jobs=len(self._held))
        await self._part()

    async def _part(self) -> None:
        """Unloads, which hands back what is still held. Neither a step that does not return nor a broker that does
        not answer can keep the process: the leases then run out."""
        closing = asyncio.create_task(self.residency.close())
        await asyncio.wait({closing}, timeout=_PARTING)
        if not closing.done():
            log.error("a step or a load does not end; leaving its thread")
            self._hung = True
            for held in self._held.values():
                self._spawn(self._release(held))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_PARTING)
        await stop(closing, *self._tasks)

    async def _until_idle(self) -> None:
        while self._held:
            self._idle.clear()
            await self._idle.wait()

    def abort(self, job_id: str, reason: str) -> None:
        """A job was cancelled, or its lease lost: its engine ends it between two steps."""
        held = self._held.get(job_id)
        if held is None:
            return
        log.info("aborting job", job_id=job_id, reason=reason)
        held.cancelled = True
        if held.engine is not None and held.work is not None:
            held.engine.cancel(held.work)

    def conclude(self, job_id: str) -> None:
        """Whoever asked has enough of the job's reasoning: its engine ends that between two steps."""
        held = self._held.get(job_id)
        if held is not None and held.engine is not None and held.work is not None:
            held.engine.conclude(held.work)

    def fulfil(self, wish: Wish) -> None:
        """Somebody wants a model loaded or unloaded."""
        log.info("model wanted" if wish.loaded else "model not wanted", model=wish.model)
        self._spawn(self._fulfil(wish))

    async def _fulfil(self, wish: Wish) -> None:
        with contextlib.suppress(VelesioError):  # logged where it failed; the registry tells the reason
            await self.residency.fulfil(wish)
        self._reconsider()

    # take

    async def _take(self) -> None:
        """Takes leases for the room there is; begins anew when a model that was full has room again."""
        self._changed.clear()
        room = self.residency.room()
        if not room:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), _TICK)
            return
        self._offered = room
        try:
            leases = await self._leases.take(room)
        except BrokerUnavailable as error:
            log.warning("cannot take jobs", error=error.message)
            await asyncio.sleep(_TICK)
            return
        finally:
            self._offered = {}
        for lease in leases:
            self._accept(lease)

    def _reconsider(self) -> None:
        """Has a take that is under way end if it does not know of room that there is now."""
        self._changed.set()
        if not self._offered or (not self._quiet and len(self._offered) == len(self.residency.cards)):
            return
        if self._quiet or any(name not in self._offered for name in self.residency.room()):
            self._leases.interrupt()

    def _accept(self, lease: Lease) -> None:
        # An order to abort it may have come before the lease did.
        held = Held(lease, time.monotonic(), cancelled=bool(lease.ending))
        self._held[lease.job.id] = held
        metrics.child(metrics.worker_jobs, lease.job.model).inc()
        if engine := self.residency.engine_at_hand(lease.job.model):
            self._perform(held, engine)
        else:
            self.residency.reserve(lease.job.model)
            self._spawn(self._load_and_perform(held))

    # perform

    def _perform(self, held: Held, engine: EngineThread) -> None:
        """Hands a job to its engine, which answers by `_delivered`."""
        held.engine = engine
        held.work = engine.submit(held.lease.job)
        if held.cancelled:
            engine.cancel(held.work)

    async def _load_and_perform(self, held: Held) -> None:
        """Waits for the engine; a model that cannot be loaded fails the job."""
        model = held.lease.job.model
        try:
            engine = await self.residency.engine_for(model)
        except (ShuttingDown, ModelNotFound):  # or its file was removed a moment ago
            self.residency.unreserve(model)
            await self._release(held)
        except VelesioError as error:
            self.residency.unreserve(model)
            await self._settle(held, Failed(error.code, error.message, details=error.details))
        else:
            self._perform(held, engine)
            self.residency.unreserve(model)

    def _delivered(self, deliveries: Sequence[Delivery]) -> None:
        """An engine's events of one step, in the event loop."""
        for work, event in deliveries:
            held = self._held.get(work.job.id)
            if held is None or held.work is not work:
                continue  # a zombie: the job was given up, or leased again
            if event is None:
                self._spawn(self._release(held))
                continue
            held.spending.see(event)
            if type(event) is Delta:
                self._leases.meter.said(held.lease, len(event.tokens))
                self._publisher.publish(held.lease, event)
            elif is_final(event):
                self._spawn(self._settle(held, _as_final(event)))
            else:
                self._publisher.publish(held.lease, event)

    # settle

    async def _settle(self, held: Held, final: Final) -> None:
        """Ends a job, by the holder only; a broker that is away is waited for by `leases`."""
        try:
            held.lease.spent = held.spending.at_end(final, held.work.seconds if held.work else 0.0)
            final, settled = await self._ended(held.lease, final)
            self._account(held, final, settled=settled)
        finally:  # whatever fails here, the place is free
            await self._forget(held)

    async def _ended(self, lease: Lease, final: Final) -> tuple[Final, bool]:
        """How a lease was ended, and whether by this worker. A defect in ending it costs the job an attempt; if not
        even that can be told, the lease runs out and the job is computed again."""
        try:
            return final, await self._leases.settle(lease, final)
        except BrokerUnavailable:
            log.exception("result lost: the lease will run out and the job be computed again", job_id=lease.job.id)
        except Exception as error:
            log.exception("job not ended", job_id=lease.job.id)
            if final is not (failed := _unended(error, final)):
                return await self._ended(lease, failed)
            self._leases.forsake(lease)
        return final, False

    def _account(self, held: Held, final: Final, *, settled: bool) -> None:
        """Metrics, spans and the log line of a job's end."""
        job = held.lease.job
        outcome = type(final).__name__.lower() if settled else "stale"
        seconds = time.monotonic() - held.began
        metrics.child(metrics.jobs, job.model, outcome).inc()
        metrics.child(metrics.job_seconds, job.model, outcome).observe(seconds)
        _trace(job, outcome, seconds)
        if isinstance(final, Completed):
            _measure(job, final.result)
            if isinstance(final.result, TextResult):
                self.residency.count(job.model, final.result)
        log.info("job ended", job_id=job.id, model=job.model, outcome=outcome, seconds=round(seconds, 3))

    async def _release(self, held: Held) -> None:
        """Gives a job back to its old place in the queue."""
        try:
            await self._leases.release(held.lease)
        except BrokerUnavailable:
            pass  # its lease then runs out, which gives it back as well
        except Exception:
            log.exception("job not given back: its lease will run out", job_id=held.lease.job.id)
            self._leases.forsake(held.lease)
        finally:
            await self._forget(held)

    async def _forget(self, held: Held) -> None:
        job = held.lease.job
        if self._held.get(job.id) is held:
            del self._held[job.id]
        if not self._held:
            self._idle.set()
        metrics.child(metrics.worker_jobs, job.model).dec()
        await self.residency.touch(job.model, keep_alive_of(job.params))
        self._reconsider()

    # upkeep

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("worker task failed", exc_info=error)

    async def _preload(self) -> None:
        """Loads models before the first job asks, as many as fit together."""
        total = 0
        for card in self.residency.cards:
            total += card.bytes
            if total > self.residency.budget:
                break
            with contextlib.suppress(VelesioError):  # logged where it failed; jobs will be told the reason
                await self.residency.engine_for(card.name)
        self._loading = False
        self.advertise()
        self._reconsider()

    async def _tick(self) -> None:
        await self.residency.sweep()
        if self.residency.progressing:
            self._leases.announce()
        for engine in self.residency.engines():
            if engine.stalled() > self._section.step_timeout:
                await self._give_up(engine)

    async def _give_up(self, engine: EngineThread) -> None:
        """A step does not return: fail its jobs for another attempt elsewhere, and load the model anew."""
        log.error("engine hangs; abandoning its thread", model=engine.card.name)
        self._hung = True
        self.residency.replace(engine)
        for work in engine.abandon():
            held = self._held.get(work.job.id)
            if held is not None and held.work is work:
                await self._settle(held, Failed("job_failed", "the engine hung while computing this job", retry=True))


_UNENDED = "the worker failed while ending this job"


def _unended(error: Exception, final: Final) -> Final:
    """What is told of a job whose end could not be told; that itself, if it was this."""
    if isinstance(final, Failed) and final.message == _UNENDED:
        return final
    return Failed("job_failed", _UNENDED, details={"error": type(error).__name__}, retry=True)


def _as_final(event: Event) -> Final:
    assert is_final(event)  # noqa: S101 - narrows for the type checker
    return event  # type: ignore[return-value]


def _trace(job: Job, outcome: str, seconds: float) -> None:
    """The spans of a job's time in the queue and of that in its engine."""
    if job.trace:
        taken = time.time() - seconds
        known = {"velesio.job_id": job.id, "gen_ai.request.model": job.model}
        tracing.record("queue", job.trace, born(job.id), taken, known)
        ended = known | {"velesio.outcome": outcome}
        tracing.record("engine", job.trace, taken, attributes=ended, ok=outcome != "failed")


def _measure(job: Job, result: Result) -> None:
    """What a settled job adds to the metrics of its model."""
    model = job.model
    if isinstance(result, TextResult):
        usage, timings = result.usage, result.timings
        metrics.child(metrics.prompt_tokens, model).inc(usage.prompt_tokens)
        metrics.child(metrics.cached_tokens, model).inc(usage.cached_tokens)
        metrics.child(metrics.generated_tokens, model).inc(usage.completion_tokens)
        metrics.child(metrics.prefill_seconds, model).observe(timings.prompt_ms / 1000)
        metrics.child(metrics.decode_seconds, model).observe(timings.predicted_ms / 1000)
    elif isinstance(result, ImageResult):
        metrics.child(metrics.images, model).inc(len(result.pictures))
        if isinstance(job.params, Image):
            metrics.child(metrics.image_steps, model).inc(len(result.pictures) * job.params.steps)
