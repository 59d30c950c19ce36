"""Selection: which jobs an operator means, and what is done to all of them."""

from collections.abc import Sequence

from msgspec import Struct

from velesio.jobs import JobState, Priority
from velesio.queue.client import JobQueue
from velesio.queue.records import JobRecord

MOST = 10_000
"""Jobs that one order can be about."""
WAITING = (JobState.QUEUED, JobState.SCHEDULED)
_REASON = "purged by an operator"


class Selection(Struct, frozen=True, kw_only=True):
    """Jobs in some states, of which the rest holds as far as it is given."""

    states: tuple[JobState, ...] = WAITING
    model: str = ""
    tenant: str = ""
    priority: Priority | None = None
    older_than: float = 0.0
    """Seconds since the job was queued or, if it has ended, since its end."""

    def has(self, record: JobRecord, now: float) -> bool:
        """Whether a job is one of them at that moment (unix seconds of the broker's clock)."""
        return (
            record.state in self.states
            and self.model in {"", record.model}
            and self.tenant in {"", record.tenant}
            and self.priority in {None, record.priority}
            and now - (record.ended or record.enqueued) >= self.older_than
        )


class Purged(Struct, frozen=True, kw_only=True):
    """What became of the jobs that were chosen."""

    cancelled: int = 0
    forgotten: int = 0


async def choose(queue: JobQueue, selection: Selection, limit: int = MOST) -> list[JobRecord]:
    """The jobs that are meant, `limit` at most, in each state the first ones as `JobQueue.recent` has them."""
    now = await queue.now()
    found = []
    for state in selection.states:
        found += [record for record in await queue.recent(state, MOST) if selection.has(record, now)]
    return found[:limit]


async def purge(queue: JobQueue, records: Sequence[JobRecord]) -> Purged:
    """Cancel those that have not ended, and forget those that have."""
    cancelled = 0
    for record in records:
        if not record.state.final:
            cancelled += await queue.cancel(record.id, _REASON)
    forgotten = await queue.forget([record.id for record in records if record.state.final])
    return Purged(cancelled=cancelled, forgotten=forgotten)


async def requeue(queue: JobQueue, records: Sequence[JobRecord]) -> list[str]:
    """Queue failed jobs again; answers the ids of those that could be."""
    return [record.id for record in records if await queue.requeue(record.id)]
