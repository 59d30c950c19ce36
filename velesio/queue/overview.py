"""Overview: depths, jobs and series of one installation in one look at the broker."""

from msgspec import Struct

from velesio.queue.broker import Broker
from velesio.queue.records import JobRecord, QueueStatus, read_depth, read_record
from velesio.queue.series import Span, read_spans

_FIELDS = (
    *("st", "ten", "model", "cap", "prio", "att", "crash", "rel", "wrk", "enq", "beg", "tok", "end", "dl"),
    *("gw", "stream", "reason"),
)
"""As the script reads them; why a job failed is the last."""


class Overview(Struct, frozen=True, kw_only=True):
    """What there was at one moment."""

    at: float
    """Unix seconds of the broker's clock."""
    status: QueueStatus
    jobs: list[JobRecord]
    """Those that run, wait and ended last, without results."""
    spans: dict[int, Span]
    """The latest of the series."""


async def look(broker: Broker, jobs: int, spans: int) -> Overview:
    """So many jobs of each queue and state at most, and so many spans of the series.

    Raises:
        BrokerUnavailable
    """
    now, scheduled, dead, paused, lines, found, series = await broker.run("overview", 0, jobs, spans)
    depths = [read_depth(line) for line in lines]
    records = [read_record(job_id.decode(), _FIELDS, fields) for job_id, fields in found]
    return Overview(
        at=now / 1000,
        status=QueueStatus(models=depths, scheduled=scheduled, dead=dead, paused=paused / 1000),
        jobs=[record for record in records if record is not None],
        spans=read_spans(series),
    )
