"""A job: what is asked, who asks, and which state it is in."""

import enum
import secrets
import time
from typing import Any, Literal

import msgspec

from velesio.jobs.asides import Aside, Embed
from velesio.jobs.image import Image
from velesio.jobs.image_asides import ImageAside
from velesio.jobs.text import Chat, Completion, Infill, TextParams

Capability = Literal["text", "image"]
Params = Completion | Infill | Chat | Aside | Image | ImageAside


class Priority(enum.IntEnum):
    """Lower is served first; weighted, so that batch never starves."""

    INTERACTIVE = 0
    NORMAL = 1
    BATCH = 2


class JobState(enum.StrEnum):
    """Where a job is. `scheduled`, `queued` and `running` are live; the others are final."""

    SCHEDULED = "s"
    QUEUED = "q"
    RUNNING = "r"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the job can no longer change."""
        return self in {JobState.DONE, JobState.FAILED, JobState.CANCELLED}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One unit of work. The broker stores every field but `params` as a hash field of its own."""

    id: str
    model: str
    capability: Capability
    params: Params
    tenant: str = "default"
    priority: Priority = Priority.NORMAL
    cost: float = 1.0
    """What it counts in the fair shares: estimated tokens in thousands, or megapixel-steps."""
    deadline: float = 0.0
    """Unix seconds; 0 lets the queue set its default."""
    gateway: str = ""
    """The gateway whose reply stream wants the events; empty: nobody waits, only the result is kept."""
    stream: bool = False
    """Whether events before the final one are wanted."""
    sent: tuple[int, ...] = ()
    """Tokens that a lost worker already sent and the client has: continue after them."""
    request: bytes = b""
    """What was asked, in the gateway's own words, for the one who writes the answer when it is fetched later."""
    trace: str = ""
    """The traceparent of the request, under which the job's spans belong; empty: nobody traces it."""

    @classmethod
    def new(cls, model: str, params: Params, **fields: Any) -> "Job":
        """A job with a fresh id."""
        capability: Capability = "image" if isinstance(params, Image | ImageAside) else "text"
        return cls(id=new_id(), model=model, capability=capability, params=params, **fields)


def new_id() -> str:
    """A job id: 12 hex digits of milliseconds, so that ids sort by time, and 80 random bits."""
    return f"{int(time.time() * 1000):012x}{secrets.token_hex(10)}"


def born(job_id: str) -> float:
    """When an id was made, in unix seconds."""
    return int(job_id[:12], 16) / 1000


def keep_alive_of(params: Params) -> float | None:
    """For how long the model stays loaded after this job, if the job says so."""
    return params.keep_alive if isinstance(params, TextParams | Embed) else None
