"""The desk, where operators see jobs, workers and models and say what becomes of them, from the command line.

Talks to the broker alone, so it works while gateways and workers are in trouble.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from velesio.backends.base import ModelCard
from velesio.cli import rows
from velesio.cli.voice import Say, say_json, say_table, speaker
from velesio.config import Config
from velesio.errors import BrokerUnavailable, ConfigError, VelesioError
from velesio.jobs import Capability, JobState
from velesio.queue import facts, selection, wishes
from velesio.queue.audit import Audit
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue, JobRecord, Place
from velesio.queue.embedded import find_running
from velesio.queue.registry import Registry
from velesio.queue.selection import Selection
from velesio.states import ModelState, overall

_LONG = 3600.0
"""Seconds that a model may take to be loaded, or to be free of jobs."""
_PATIENCE = 1.0
"""Seconds between two looks whether a worker has left, when nothing is heard."""


async def at_desk(config: Config, say: Say, work: "Callable[[Desk], Awaitable[bool]]") -> bool:
    """Does something at the desk of an installation; see `at_broker`."""
    return await at_broker(config, lambda broker: work(Desk(broker, say)))


async def at_broker(config: Config, work: Callable[[Broker], Awaitable[bool]]) -> bool:
    """Does something at the broker of an installation, that of the server running here if `redis.url` is not set.

    Raises:
        ConfigError: no server runs here.
        BrokerUnavailable
    """
    url = config.redis.url or await find_running(config.server.data_dir)
    broker = await Broker.connect(config.redis, config.queue, url=url, blobs=config.blobs, folder=config.blob_folder)
    try:
        return await work(broker)
    finally:
        await broker.close()


async def served(config: Config) -> list[tuple[ModelCard, ModelState]] | None:
    """The models that workers serve, with their states; None: no broker answers, or no server runs here."""
    found: list[tuple[ModelCard, ModelState]] = []

    async def look(desk: Desk) -> bool:
        found.extend(await desk.models())
        return True

    try:
        await at_desk(config, lambda _: None, look)
    except (ConfigError, BrokerUnavailable):
        return None
    return found


class Desk:
    """Everything that can be asked for, over one broker. Each answers whether all of it could be done."""

    def __init__(self, broker: Broker, say: Say) -> None:
        self._broker = broker
        self._queue = JobQueue(broker)
        self._audit = Audit(broker)
        self._say = say

    async def list_jobs(self, state: JobState | None, limit: int, *, json: bool) -> bool:
        """The jobs of a state in the queue's order, or `limit` of each state, the latest first."""
        states = [state] if state else list(JobState)
        records = [record for each in states for record in await self._queue.recent(each, limit)]
        if state is None:
            records.sort(key=lambda record: record.enqueued, reverse=True)
        if json:
            say_json(self._say, [facts.of_job(record) for record in records])
            return True
        say_table(self._say, [rows.HEADING, *(rows.of_job(record) for record in records)])
        return True

    async def show_job(self, job_id: str, *, params: bool, json: bool) -> bool:
        """What is known of a job; what it asks for only with `params`."""
        record = await self._queue.record(job_id)
        if record is None:
            self._say_unknown(job_id)
            return False
        told = facts.of_job(record) | _placed(await self._queue.place(job_id), record)
        if params:
            asked = await self._queue.params(job_id)
            told["params"] = msgspec.to_builtins(asked) if asked else None
        told["timeline"] = facts.timeline(record)
        if json:
            say_json(self._say, told)
        else:
            self._say_facts(told)
        return True

    async def cancel_jobs(self, job_ids: Sequence[str]) -> bool:
        """Cancel jobs wherever they are."""
        done = True
        for job_id in job_ids:
            cancelled = await self._queue.cancel(job_id, "cancelled by an operator")
            if cancelled:
                await self._note("job.cancel", job_id)
            record = await self._queue.record(job_id)
            if not cancelled:
                done = self._say_untouched(job_id, record)
            elif record is not None and record.state is JobState.RUNNING:
                self._say(f"{job_id}: its worker is told to end it")
            else:
                self._say(f"{job_id}: cancelled")
        return done

    async def requeue_jobs(self, job_ids: Sequence[str]) -> bool:
        """Queue failed jobs again."""
        done = True
        for job_id in job_ids:
            if await self._queue.requeue(job_id):
                await self._note("job.requeue", job_id)
                self._say(f"{job_id}: queued again")
                continue
            record = await self._queue.record(job_id)
            done = self._say_untouched(job_id, record)
            if record is not None and record.state is JobState.FAILED:
                self._say(f"{job_id}: what it asks for is not kept any more")
        return done

    async def purge_jobs(self, chosen: Selection, *, dry: bool) -> bool:
        """Cancel the jobs that are chosen, and forget those of them that have ended; `dry`: only list them."""
        records = await selection.choose(self._queue, chosen)
        if dry:
            say_table(self._say, [rows.HEADING, *(rows.of_job(record) for record in records)])
            return True
        purged = await selection.purge(self._queue, records)
        await self._note("queue.purge", chosen.model or "*", jobs=len(records))
        self._say(f"{purged.cancelled} cancelled, {purged.forgotten} forgotten")
        return True

    async def requeue_chosen(self, chosen: Selection) -> bool:
        """Queue all failed jobs that are chosen again."""
        records = await selection.choose(self._queue, chosen)
        again = await selection.requeue(self._queue, records)
        await self._note("queue.requeue", chosen.model or "*", jobs=len(again))
        self._say(f"{len(again)} of {len(records)} queued again")
        return len(again) == len(records)

    async def show_queues(self, *, json: bool) -> bool:
        """Depths by model and priority, totals, what is paused."""
        status = await self._queue.status()
        if json:
            say_json(self._say, msgspec.to_builtins(status))
            return True
        heading = (
            "MODEL",
            "INTERACTIVE",
            "NORMAL",
            "BATCH",
            "RUNNING",
            "OLDEST",
            "DONE",
            "FAILED",
            "CANCELLED",
            "PAUSED",
        )
        say_table(self._say, [heading, *(rows.of_queue(depth) for depth in status.models)])
        stopped = f"; all queues are paused since {rows.moment(status.paused)}" if status.paused else ""
        self._say(f"{status.scheduled} scheduled, {status.dead} dead letters{stopped}")
        return True

    async def pause_queues(self, names: Sequence[str], *, on: bool) -> bool:
        """Lease nothing more from the queues of these models, or from any if none is named; or go on."""
        done = True
        known = {depth.model: depth.capability for depth in (await self._queue.status()).models}
        known |= {card.name: card.capability for card, _ in await self.models()}
        if not names:
            await self._pause(None, "", on=on)
        for name in names:
            if name not in known:
                self._say(f"{name}: no such queue; there are those of {', '.join(known) or 'no model'}")
                done = False
                continue
            await self._pause(known[name], name, on=on)
        return done

    async def _pause(self, kind: Capability | None, name: str, *, on: bool) -> None:
        changed = await self._queue.pause(kind, name, on=on)
        if changed:
            await self._note("queue.pause" if on else "queue.resume", name or "*")
        self._say(f"{name or 'all queues'}: {_pausing(on, changed)}")

    async def rest_workers(self, names: Sequence[str], *, on: bool) -> bool:
        """Tell workers to take no new jobs, or to go on."""
        registry = Registry(self._broker)
        await registry.refresh()
        done = True
        for name in dict.fromkeys(names):
            told = await (registry.quiet(name) if on else registry.resume(name))
            for worker in told:
                await self._note("worker.quiet" if on else "worker.resume", worker)
                self._say(f"{worker}: {'takes no new jobs' if on else 'goes on'}")
            done = bool(told) and done
            if not told:
                self._say_nobody(name, registry)
        return done

    def _say_nobody(self, name: str, registry: Registry) -> None:
        here = ", ".join(worker.id for worker in registry.workers()) or "none"
        self._say(f"{name}: no worker has this name or id; there are {here}")

    async def list_workers(self, *, json: bool) -> bool:
        """The workers that live."""
        registry = Registry(self._broker)
        await registry.refresh()
        seconds, micros = await self._broker.command("TIME")
        workers = registry.workers()
        if json:
            say_json(self._say, [facts.of_worker(worker) for worker in workers])
            return True
        heading = ("NAME", "ID", "STATE", "MODELS", "JOBS", "SLOTS", "BEAT", "HOST", "PID", "VERSION")
        now = int(seconds) + int(micros) / 1e6
        say_table(self._say, [heading, *(rows.of_worker(worker, now) for worker in workers)])
        return True

    async def models(self) -> list[tuple[ModelCard, ModelState]]:
        """What workers serve, with its states."""
        registry = Registry(self._broker)
        await registry.refresh()
        return [(card, overall(registry.states(card.name))) for card in registry.cards()]

    async def load_models(self, names: Sequence[str], keep_alive: float | None) -> bool:
        """Have models loaded, and wait for it."""
        return await self._move(
            "load", names, lambda registry, name: wishes.load(self._broker, registry, name, keep_alive)
        )

    async def pin_models(self, names: Sequence[str], *, on: bool) -> bool:
        """Have models loaded and kept whatever else is wanted, or let them go as others do."""
        if on:
            return await self._move(
                "pin", names, lambda registry, name: wishes.load(self._broker, registry, name, pinned=True)
            )
        return await self._move("unpin", names, lambda registry, name: wishes.release(self._broker, registry, name))

    async def unload_models(self, names: Sequence[str]) -> bool:
        """Have models unloaded by all workers when their jobs have ended, and wait for it."""
        return await self._move("unload", names, lambda registry, name: wishes.unload(self._broker, registry, name))

    async def _move(
        self, verb: str, names: Sequence[str], tell: "Callable[[Registry, str], Awaitable[wishes.Told]]"
    ) -> bool:
        registry = Registry(self._broker)
        await registry.start()
        done = True
        try:
            for name in dict.fromkeys(names):
                try:
                    card = registry.find(name)
                    told = await tell(registry, card.name)
                    await self._note(f"model.{verb}", card.name, workers=list(told.workers))
                    states = await wishes.fulfilled(registry, told, _LONG) if told.workers else []
                except VelesioError as error:
                    self._say(f"{name}: {error.message}")
                    done = False
                else:
                    self._say(f"{card.name}: {', '.join(map(_state, states)) or 'nothing to do'}")
        finally:
            await registry.close()
        return done

    async def drain_workers(self, names: Sequence[str] | None, *, wait: bool) -> bool:
        """Tell workers to leave, all of them if `names` is None; `wait` until they have left."""
        registry = Registry(self._broker)
        await registry.start()
        try:
            here = [worker.id for worker in registry.workers()]
            leaving: list[str] = []
            done = True
            for name in dict.fromkeys(here if names is None else names):
                told = await registry.drain(name)
                leaving += told
                for worker in told:
                    await self._note("worker.drain", worker)
                    self._say(f"{worker}: draining")
                if not told:
                    self._say_nobody(name, registry)
                    done = False
            if wait:
                await self._until_left(registry, leaving)
        finally:
            await registry.close()
        return done

    async def _until_left(self, registry: Registry, leaving: Sequence[str]) -> None:
        left = list(dict.fromkeys(leaving))
        while left:
            here = {worker.id for worker in registry.workers()}
            for worker in [worker for worker in left if worker not in here]:
                self._say(f"{worker}: has left")
                left.remove(worker)
            if left:
                await registry.changed(_PATIENCE)

    async def _note(self, action: str, target: str, **difference: Any) -> None:
        """What was done goes into the audit log, with who ran the command."""
        await self._audit.record(speaker(), action, target, difference)

    def _say_untouched(self, job_id: str, record: JobRecord | None) -> bool:
        if record is None:
            self._say_unknown(job_id)
        else:
            self._say(f"{job_id}: nothing was done, it is {facts.name_of(record.state)}")
        return False

    def _say_unknown(self, job_id: str) -> None:
        self._say(f"{job_id}: no such job; those that ended are kept for a limited time")

    def _say_facts(self, told: dict[str, Any]) -> None:
        traceback, timeline = told.pop("traceback", ""), told.pop("timeline")
        for name, value in told.items():
            self._say(f"{name.ljust(10)} {rows.shown(name, value)}")
        say_table(self._say, [rows.step(moment) for moment in timeline])
        for line in traceback.splitlines():
            self._say(f"  {rows.printable(line)}")


def _placed(place: Place, record: JobRecord) -> dict[str, Any]:
    if record.state not in {JobState.QUEUED, JobState.SCHEDULED}:
        return {}
    return {"position": place.position, "eta": place.eta}


def _pausing(on: bool, changed: bool) -> str:
    if changed:
        return "paused" if on else "goes on"
    return "was paused already" if on else "was not paused"


def _state(state: ModelState) -> str:
    return f"{state.state}, pinned" if state.pinned else state.state
