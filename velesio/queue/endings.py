"""Endings: what the end of an attempt means for its job, and which script says so to the broker."""

import contextlib
import random
from typing import Any

import structlog

from velesio import errors, metrics
from velesio.errors import BrokerUnavailable, JobFailed, Unreadable, VelesioError
from velesio.jobs import Cancelled, Completed, Failed, Final
from velesio.queue import wire
from velesio.queue.blobs import BlobGone, Parcel
from velesio.queue.broker import Broker
from velesio.queue.lease import DEADLINE, Lease
from velesio.queue.line import Argument

log = structlog.get_logger(__name__)


def as_meant(lease: Lease, final: Final) -> Final:
    """An abort for the deadline's sake is a failure, not a cancellation."""
    if lease.ending == DEADLINE and isinstance(final, Cancelled):
        return Failed("deadline_exceeded", errors.DeadlineExceeded().message)
    if lease.ending and isinstance(final, Cancelled) and not final.reason:
        return Cancelled(lease.ending)
    return final


def our_fault(code: str) -> bool:
    """Whether a failure is worth a dead letter: not the request's fault, nor the passing of time."""
    error = errors.from_code(code, "")
    return isinstance(error, JobFailed) or type(error) is VelesioError


def script(
    lease: Lease, final: Final, result: Parcel, message: bytes, delay: float
) -> tuple[str, tuple[Argument, ...]]:
    """Name and last arguments of the script that ends the lease so; `delay` s is the first pause before a retry."""
    if isinstance(final, Failed) and final.retry and not lease.ending:
        pause = round(delay * random.uniform(0.5, 1) * 1000)  # noqa: S311 - jitter
        return "retry", (0, pause, result.body, message)
    state = {Completed: "done", Failed: "failed", Cancelled: "cancelled"}[type(final)]
    dead = isinstance(final, Failed) and our_fault(final.code)
    return "finish", (0, state, result.body, int(dead), message, result.carried, lease.silence, lease.spent.line())


def count(answer: bytes | None, final: Final) -> None:
    """Note in the metrics what the script answered."""
    if answer == b"RETRY" and isinstance(final, Failed):
        metrics.child(metrics.retries, final.code).inc()
    elif answer == b"DEAD" or (answer == b"OK" and isinstance(final, Failed) and our_fault(final.code)):
        metrics.dead.inc()


async def pass_on(broker: Broker, owner: str, line: list[Any], error: Unreadable) -> None:
    """Give up the lease (as `take` brought it) of a job that a newer release wrote: perhaps another can read it."""
    job_id, attempt = line[0].decode(), line[1]
    final = Failed("not_supported", f"This worker cannot read the job: {error}", retry=True)
    body = wire.encode(final)
    message = wire.message([wire.encode(wire.Note(job_id, attempt, 0, final))])
    delay = round(broker.settings.retry_delay * 1000)
    with contextlib.suppress(BrokerUnavailable):  # then its lease runs out
        await broker.run("retry", owner, job_id, attempt, 0, delay, body, message)


async def refuse(broker: Broker, owner: str, line: list[Any], error: BlobGone) -> None:
    """End the lease of a job whose input is gone: it cannot run, here or elsewhere."""
    job_id, attempt = line[0].decode(), line[1]
    final = Failed(JobFailed.code, str(error))
    message = wire.message([wire.encode(wire.Note(job_id, attempt, 0, final))])
    log.error("a job's input is gone", job_id=job_id, error=str(error))
    with contextlib.suppress(BrokerUnavailable):  # then its lease runs out
        body = wire.encode(final)
        answer = await broker.run("finish", owner, job_id, attempt, 0, "failed", body, 1, message)
        count(answer, final)
