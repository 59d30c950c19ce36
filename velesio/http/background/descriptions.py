"""Descriptions: what clients are told of a job."""

import time
from typing import Any

from velesio.http.dispatch import error_of
from velesio.http.families import OPENAI
from velesio.http.gateway import Gateway
from velesio.jobs import Cancelled, Failed, Job, JobState, Priority
from velesio.queue.client import JobRecord, Place


async def describe(gateway: Gateway, record: JobRecord) -> dict[str, Any]:
    """A job, with its place while it waits."""
    waits = record.state in {JobState.QUEUED, JobState.SCHEDULED}
    return described(record, await gateway.queue.place(record.id) if waits else None)


def described(record: JobRecord, place: Place | None) -> dict[str, Any]:
    """A job; `place` is where it stands, if it waits."""
    shown: dict[str, Any] = {
        "id": record.id,
        "object": "job",
        "state": word(record.state),
        "model": record.model,
        "priority": word(record.priority),
        "attempts": record.attempts,
        "crashes": record.crashes,
        "created": record.enqueued,
        "started": record.started or None,
        "ended": record.ended or None,
        "deadline": record.deadline,
        "error": None,
    }
    if place is not None:
        shown |= {"position": place.position, "eta": place.eta}
    if record.state.final and isinstance(record.result, Failed | Cancelled):
        shown |= OPENAI.body(error_of(record.result))
    return shown


def queued(job: Job) -> JobRecord:
    """The record that a job has when it was queued just now."""
    return JobRecord(
        id=job.id,
        state=JobState.QUEUED,
        tenant=job.tenant,
        model=job.model,
        capability=job.capability,
        priority=job.priority,
        enqueued=round(time.time(), 3),
        deadline=round(job.deadline, 3),
    )


def word(member: JobState | Priority) -> str:
    """What clients call it."""
    return member.name.lower()
