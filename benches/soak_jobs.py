"""Every job of the soak, from the broker's own records: seen at least once, and how it ended."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import redis.asyncio

from velesio import errors
from velesio.jobs import Failed
from velesio.queue import wire

_FIELDS = ("st", "cap", "model", "att", "rel", "crash", "r", "reason")
_ENDED = frozenset({"done", "failed", "cancelled"})
_SCANNED = 1000


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A job as its record was last read."""

    state: str
    capability: str
    model: str
    attempts: int
    crashes: int
    code: str = ""
    """Why it failed, in a code of `velesio.errors`."""


class Ledger:
    """The jobs that were seen. Records live a minute at least after the end, so it has to be read more often."""

    def __init__(self, broker: "redis.asyncio.Redis") -> None:
        self._broker = broker
        self.jobs: dict[str, Seen] = {}

    async def read(self) -> None:
        """Looks at all records that there are."""
        names = [key async for key in self._broker.scan_iter(match="*:j:*", count=_SCANNED)]
        async with self._broker.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.hmget(name, _FIELDS)
            records = await pipeline.execute()
        for name, record in zip(names, records, strict=True):
            if record[0] is not None:
                self.jobs[name.decode().rpartition(":")[2]] = seen(record)

    async def totals(self) -> Counter[str]:
        """What the broker itself has counted, over all queues, by how jobs ended."""
        found: Counter[str] = Counter()
        async for name in self._broker.scan_iter(match="*:n:*", count=_SCANNED):
            counted: Any = await self._broker.hgetall(name)
            found.update({state.decode(): int(count) for state, count in counted.items()})
        return found


def seen(record: Sequence[bytes | None]) -> Seen:
    """A record's fields, in the order of those that are read."""
    state, capability, model, attempts, released, crashes, result, reason = (value or b"" for value in record)
    code = reason.decode(errors="replace")
    if state == b"failed" and result:
        final = wire.read_final(result)
        code = final.code if isinstance(final, Failed) else code
    return Seen(
        state=state.decode(),
        capability=capability.decode(),
        model=model.decode(),
        attempts=int(attempts or 0) - int(released or 0),
        crashes=int(crashes or 0),
        code=code,
    )


def outcomes(jobs: Sequence[Seen]) -> dict[str, int]:
    """How many ended how; failed ones by their code, and told apart: refused for what they asked, or failed."""
    return dict(Counter(_outcome(job) for job in jobs).most_common())


def _outcome(job: Seen) -> str:
    if job.state != "failed":
        return job.state if job.state in _ENDED else "unfinished"
    asked_wrongly = isinstance(errors.from_code(job.code, ""), errors.BadRequest)
    return f"{'refused' if asked_wrongly else 'failed'}: {job.code}"


def unaccounted(jobs: Sequence[Seen], totals: Counter[str]) -> list[str]:
    """What is wrong with the jobs: some that never ended, some that failed, some that the broker did not count."""
    found = [
        f"{count} jobs {name}" for name, count in outcomes(jobs).items() if name.startswith(("failed", "unfinished"))
    ]
    ended = Counter(job.state for job in jobs if job.state in _ENDED)
    if ended != +totals:
        found.append(f"jobs seen {dict(ended)}, jobs that the broker counted {dict(totals)}")
    return found
