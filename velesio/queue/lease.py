"""Lease: a worker's timed, renewable right to one job."""

import time

from msgspec import Struct, field

from velesio.jobs import Job
from velesio.queue.limits import Spent

LOST = "lost"
"""Why a worker aborts a job that somebody else has by now."""
DEADLINE = "deadline"
"""Why it aborts one that is overdue."""
ENOUGH = "!enough"
"""What a worker is told of a job whose reasoning it shall end, in place of a reason to abort it."""


class Lease(Struct, eq=False):
    """One lease."""

    job: Job
    attempt: int
    """How many leases of the job there were, this one included: the number that fences the earlier ones."""
    crashes: int = 0
    releases: int = 0
    entry: str = ""
    """Where it stands in the stream of leases."""
    seq: int = 0
    """Events published."""
    buffered: int = 0
    """Bytes of them not sent yet."""
    ending: str = ""
    """Why the worker was told to abort it."""
    payload: bytes = b""
    """The reference, if the params came from a blob."""
    waited: float = 0.0
    """Seconds from the job's first place in the queue to this lease."""
    began: float = field(default_factory=time.monotonic)
    """Monotonic seconds here."""
    spoke: float = 0.0
    """The same, of its first text; 0: there was none yet."""
    spent: Spent = Spent()
    """What its job has used, once it is over."""
    counted: int = 0
    """Tokens of it that are in the series already."""

    @property
    def silence(self) -> int | str:
        """Whole milliseconds from the lease to the first text, never past the end; empty while there is none."""
        return int((self.spoke - self.began) * 1000) if self.spoke else ""

    @property
    def alone(self) -> bool:
        """Whether the job is suspected of a crash: its worker leases nothing else beside it."""
        return self.crashes > 0
