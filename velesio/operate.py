"""What operators do from the command line: see jobs and workers, cancel, queue again, drain.

Talks to the broker alone, so it works while gateways and workers are in trouble.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from velesio import table
from velesio.backends.base import ModelCard
from velesio.config import Config
from velesio.errors import BrokerUnavailable, ConfigError, VelesioError
from velesio.jobs import Completed, Failed, ImageResult, JobState, Result, TextResult
from velesio.queue import wishes
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue, JobRecord, Place
from velesio.queue.embedded import find_running
from velesio.queue.registry import Registry, WorkerInfo
from velesio.states import ModelState, overall

_REASON = 60
"""Characters of a reason in a list."""
_LONG = 3600.0
"""Seconds that a model may take to be loaded, or to be free of jobs."""
_PATIENCE = 1.0
"""Seconds between two looks whether a worker has left, when nothing is heard."""


async def at_desk(config: Config, say: Callable[[str], None], work: "Callable[[Desk], Awaitable[bool]]") -> bool:
    """Does something at the broker of an installation, that of the server running here if `redis.url` is not set.

    Raises:
        ConfigError: no server runs here.
        BrokerUnavailable
    """
    url = config.redis.url or await find_running(config.server.data_dir)
    broker = await Broker.connect(config.redis, config.queue, url=url, blobs=config.blobs, folder=config.blob_folder)
    try:
        return await work(Desk(broker, say))
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

    def __init__(self, broker: Broker, say: Callable[[str], None]) -> None:
        self._broker = broker
        self._queue = JobQueue(broker)
        self._say = say

    async def list_jobs(self, state: JobState | None, limit: int, *, json: bool) -> bool:
        """The jobs of a state in the queue's order, or `limit` of each state, the latest first."""
        states = [state] if state else list(JobState)
        records = [record for each in states for record in await self._queue.recent(each, limit)]
        if state is None:
            records.sort(key=lambda record: record.enqueued, reverse=True)
        if json:
            self._say_json([_facts(record) for record in records])
            return True
        heading = ("ID", "STATE", "MODEL", "TENANT", "PRIORITY", "QUEUED", "ATTEMPTS", "CRASHES", "WORKER", "REASON")
        self._say_table([heading, *(_row(record) for record in records)])
        return True

    async def show_job(self, job_id: str, *, params: bool, json: bool) -> bool:
        """What is known of a job; what it asks for only with `params`."""
        record = await self._queue.record(job_id)
        if record is None:
            self._say_unknown(job_id)
            return False
        facts = _facts(record) | _placed(await self._queue.place(job_id), record)
        if params:
            asked = await self._queue.params(job_id)
            facts["params"] = msgspec.to_builtins(asked) if asked else None
        if json:
            self._say_json(facts)
        else:
            self._say_facts(facts)
        return True

    async def cancel_jobs(self, job_ids: Sequence[str]) -> bool:
        """Cancel jobs wherever they are."""
        done = True
        for job_id in job_ids:
            cancelled = await self._queue.cancel(job_id, "cancelled by an operator")
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
                self._say(f"{job_id}: queued again")
                continue
            record = await self._queue.record(job_id)
            done = self._say_untouched(job_id, record)
            if record is not None and record.state is JobState.FAILED:
                self._say(f"{job_id}: what it asks for is not kept any more")
        return done

    async def list_workers(self, *, json: bool) -> bool:
        """The workers that live."""
        registry = Registry(self._broker)
        await registry.refresh()
        seconds, micros = await self._broker.command("TIME")
        workers = registry.workers()
        if json:
            self._say_json([_described(worker) for worker in workers])
            return True
        heading = ("NAME", "ID", "STATE", "MODELS", "JOBS", "SLOTS", "BEAT", "HOST", "PID", "VERSION")
        now = int(seconds) + int(micros) / 1e6
        self._say_table([heading, *(_line(worker, now) for worker in workers)])
        return True

    async def models(self) -> list[tuple[ModelCard, ModelState]]:
        """What workers serve, with its states."""
        registry = Registry(self._broker)
        await registry.refresh()
        return [(card, overall(registry.states(card.name))) for card in registry.cards()]

    async def load_models(self, names: Sequence[str], keep_alive: float | None) -> bool:
        """Have models loaded, and wait for it."""
        return await self._move(names, lambda registry, name: wishes.load(self._broker, registry, name, keep_alive))

    async def unload_models(self, names: Sequence[str]) -> bool:
        """Have models unloaded by all workers when their jobs have ended, and wait for it."""
        return await self._move(names, lambda registry, name: wishes.unload(self._broker, registry, name))

    async def _move(self, names: Sequence[str], tell: "Callable[[Registry, str], Awaitable[wishes.Told]]") -> bool:
        registry = Registry(self._broker)
        await registry.start()
        done = True
        try:
            for name in dict.fromkeys(names):
                try:
                    card = registry.find(name)
                    told = await tell(registry, card.name)
                    states = await wishes.fulfilled(registry, told, _LONG)
                except VelesioError as error:
                    self._say(f"{name}: {error.message}")
                    done = False
                else:
                    self._say(f"{card.name}: {', '.join(state.state for state in states) or 'not loaded'}")
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
                    self._say(f"{worker}: draining")
                if not told:
                    self._say(f"{name}: no worker has this name or id; there are {', '.join(here) or 'none'}")
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

    def _say_untouched(self, job_id: str, record: JobRecord | None) -> bool:
        if record is None:
            self._say_unknown(job_id)
        else:
            self._say(f"{job_id}: nothing was done, it is {_name(record.state)}")
        return False

    def _say_unknown(self, job_id: str) -> None:
        self._say(f"{job_id}: no such job; those that ended are kept for a limited time")

    def _say_json(self, value: Any) -> None:
        self._say(msgspec.json.format(msgspec.json.encode(value)).decode())

    def _say_table(self, rows: Sequence[Sequence[str]]) -> None:
        for line in table.lines(rows):
            self._say(line)

    def _say_facts(self, facts: dict[str, Any]) -> None:
        traceback = facts.pop("traceback", "")
        for name, value in facts.items():
            self._say(f"{name.ljust(10)} {_shown(name, value)}")
        for line in traceback.splitlines():
            self._say(f"  {_printable(line)}")


_TIMES = ("queued", "started", "ended", "deadline")


def _facts(record: JobRecord) -> dict[str, Any]:
    """What may be shown of a job to whoever may see any: neither what was asked nor what was answered."""
    facts: dict[str, Any] = {
        "id": record.id,
        "state": _name(record.state),
        "model": record.model,
        "kind": record.capability,
        "tenant": record.tenant,
        "priority": _name(record.priority),
        "attempts": record.attempts,
        "crashes": record.crashes,
        "worker": record.worker,
        "background": record.logged,
        "queued": record.enqueued,
        "started": record.started or None,
        "ended": record.ended or None,
        "deadline": record.deadline,
    }
    if isinstance(record.result, Failed):
        facts |= {"code": record.result.code, "reason": record.result.message, "traceback": record.result.traceback}
    elif isinstance(record.result, Completed):
        facts["result"] = _measure(record.result.result)
    elif record.result is not None:
        facts["reason"] = record.result.reason
    return facts


def _measure(result: Result) -> dict[str, Any]:
    if isinstance(result, ImageResult):
        return {"pictures": len(result.pictures)}
    if not isinstance(result, TextResult):
        return {}
    return {
        "prompt_tokens": result.usage.prompt_tokens,
        "completion_tokens": result.usage.completion_tokens,
        "stop": result.stop,
    }


def _placed(place: Place, record: JobRecord) -> dict[str, Any]:
    if record.state not in {JobState.QUEUED, JobState.SCHEDULED}:
        return {}
    return {"position": place.position, "eta": place.eta}


def _row(record: JobRecord) -> tuple[str, ...]:
    facts = _facts(record)
    reason = _printable(": ".join(facts[name] for name in ("code", "reason") if facts.get(name)))
    return (
        record.id,
        facts["state"],
        record.model,
        record.tenant,
        facts["priority"],
        _moment(record.enqueued),
        str(record.attempts),
        str(record.crashes),
        record.worker or "-",
        reason if len(reason) <= _REASON else f"{reason[: _REASON - 1]}…",
    )


def _described(worker: WorkerInfo) -> dict[str, Any]:
    return {
        "id": worker.id,
        "name": worker.name,
        "state": worker.state,
        "models": [card.name for card in worker.cards],
        "loaded": worker.info.get("loaded", []),
        "jobs": worker.jobs,
        "slots": worker.slots,
        "beat": worker.beat,
        "host": worker.host,
        "pid": worker.pid,
        "version": worker.version,
    }


def _line(worker: WorkerInfo, now: float) -> tuple[str, ...]:
    return (
        worker.name,
        worker.id,
        worker.state,
        ",".join(card.name for card in worker.cards) or "-",
        ",".join(worker.jobs) or "-",
        f"{len(worker.jobs)}/{worker.slots}",
        f"{max(0.0, now - worker.beat):.0f} s ago",
        worker.host,
        str(worker.pid),
        worker.version,
    )


def _shown(name: str, value: Any) -> str:
    if name in _TIMES:
        return _moment(value)
    return _printable(value if isinstance(value, str) else msgspec.json.encode(value).decode())


def _printable(text: str) -> str:
    """On one line, and without what would make a terminal do something: some of it is what clients sent."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _name(member: Any) -> str:
    """The word for a state or a priority."""
    return str(member.name).lower()


def _moment(seconds: float | None) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if seconds else "-"
