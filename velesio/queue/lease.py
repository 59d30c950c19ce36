"""Lease: a worker's timed, renewable right to one job."""

from msgspec import Struct

from velesio.jobs import Job

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

    @property
    def alone(self) -> bool:
        """Whether the job is suspected of a crash: its worker leases nothing else beside it."""
        return self.crashes > 0
