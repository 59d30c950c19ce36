"""Ledger: a tenant's background jobs in the order in which they came, as long as the broker knows them."""

import asyncio
import time
from collections.abc import Sequence

from velesio.jobs import JobState
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.records import FIELDS, JobRecord, read_record

_MOST = 10_000
"""Jobs of one tenant; the oldest are struck off."""
_LIFE = 8 * 86400
"""Seconds after the last job; dead letters live for seven days by default."""
_PIECE = 200
_LIGHT = tuple(name for name in FIELDS if name not in {"r", "past"})
"""What a list needs: results may be large."""


class Ledger:
    """The jobs of one tenant."""

    def __init__(self, broker: Broker, tenant: str) -> None:
        self._broker = broker
        self._key = broker.keys.mine(tenant)

    async def enter(self, job_id: str) -> None:
        """Note a job.

        Raises:
            BrokerUnavailable
        """
        ask, now = self._broker.command, round(time.time() * 1000)
        await asyncio.gather(
            ask("ZADD", self._key, "NX", now, job_id),
            ask("ZREMRANGEBYRANK", self._key, 0, -_MOST - 1),
            ask("EXPIRE", self._key, _LIFE),
        )

    async def strike(self, *job_ids: str) -> None:
        """Forget jobs."""
        if job_ids:
            await self._broker.command("ZREM", self._key, *job_ids)

    async def page(self, limit: int, after: str = "", states: Sequence[str] = ()) -> tuple[list[JobRecord], bool]:
        """At most `limit` jobs, the last ones first, that came before the job `after` and are in one of the states (all
        if there are none), and whether there are more. Those that the broker does not know any more are struck off.
        """
        found: list[JobRecord] = []
        start = await self._rank(after)
        while len(found) <= limit:
            entries = await self._broker.command("ZREVRANGE", self._key, start, start + _PIECE - 1)
            ids = [entry.decode() for entry in entries]
            records = await asyncio.gather(*(self._record(job_id) for job_id in ids))
            gone = [job_id for job_id, record in zip(ids, records, strict=True) if record is None]
            await self.strike(*gone)
            found += [record for record in records if record is not None and (not states or record.state in states)]
            start += len(ids) - len(gone)
            if len(ids) < _PIECE:
                break
        whole = await asyncio.gather(*(self._with_error(record) for record in found[:limit]))
        return list(whole), len(found) > limit

    async def _record(self, job_id: str) -> JobRecord | None:
        return read_record(job_id, _LIGHT, await self._broker.command("HMGET", self._broker.keys.job(job_id), *_LIGHT))

    async def _with_error(self, record: JobRecord) -> JobRecord:
        """Why a job was not done stands in its result."""
        if record.state not in {JobState.FAILED, JobState.CANCELLED}:
            return record
        return await JobQueue(self._broker).record(record.id) or record

    async def _rank(self, after: str) -> int:
        if not after:
            return 0
        rank = await self._broker.command("ZREVRANK", self._key, after)
        if rank is not None:
            return int(rank) + 1
        # It is not known any more, so that nothing that came before it is either.
        return _MOST
