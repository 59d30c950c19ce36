"""Idempotency keys: a request that is made again finds what became of it the first time.

A request with `Idempotency-Key` runs as a background job, which its client follows. So it makes no difference which
gateway is asked again, nor whether the job has ended; and a client that leaves does not cancel it, since the key says
that it may come back. For as long as the key is known (`queue.idempotency_ttl`) it names that one job: its answer, its
failure, or, while it runs, all that it has said and says.
"""

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
from aiohttp import web

from velesio.errors import BadRequest, Conflict, WorkerLost
from velesio.http import dispatch
from velesio.http.access.limits import ADMISSION, Admission
from velesio.http.dispatch import Answers
from velesio.http.gateway import ARRIVED, BODY, CREDENTIAL, GATEWAY, JOB_ID, QUEUED, REPLAYED, TALK, Gateway
from velesio.http.origin import Origin
from velesio.http.recording import recorded
from velesio.jobs import Delta, Event, Job
from velesio.queue.client import Ticket
from velesio.queue.outputs import Restarted, Said, follow

HEADER = "Idempotency-Key"
_KEY = re.compile(r"[!-~](?:[ -~]{0,253}[!-~])?")


def key_of(request: web.Request) -> str:
    """The request's key; empty if it has none.

    Raises:
        BadRequest: it is none that can be used.
    """
    given = request.headers.getall(HEADER, [])
    if not given:
        return ""
    # A string of a structured field stands in quotes; most clients leave them out.
    key = given[0].strip().removeprefix('"').removesuffix('"')
    if len(given) > 1 or not _KEY.fullmatch(key):
        raise BadRequest(f"Header '{HEADER}': send one key of 1 to 255 printable ASCII characters", param=HEADER)
    return key


async def enqueue(admission: Admission, job: Job, key: str, fingerprint: str, index: int = 0) -> Ticket:
    """Queue the job with that index of a request, or find the earlier one with the same key.

    Raises:
        KeyReused: the key belongs to another request.
        Conflict: the earlier job is not kept any more.
    """
    ticket = await admission.queue(job, idempotency_key=f"{index}:{key}" if key else "", fingerprint=fingerprint)
    if ticket.duplicate and await admission.jobs.record(ticket.id) is None:
        raise Conflict(
            f"the answer to the earlier request with this {HEADER} is not kept any more; use another key", param=HEADER
        )
    return ticket


@asynccontextmanager
async def answers_to(
    request: web.Request, jobs: Sequence[Job], *, first: int = 0, origin: bytes | None = None
) -> AsyncIterator[Answers]:
    """Queues `jobs` and gives their answers; leaving cancels those that are not final. With an `Idempotency-Key`: the
    answers of the jobs that the key names, which nobody's leaving cancels. Where a request's jobs come one by one,
    `first` is their number. `origin` is what a job keeps of the request, packed; None: the body as it came.

    Raises:
        VelesioError: a job could not be queued; those queued before it are cancelled, or found by the key again.
    """
    key = key_of(request)
    context = _answers_of(request, jobs, key, first, origin) if key else dispatch.answers_to(request, jobs)
    async with context as answers:
        yield answers


@asynccontextmanager
async def _answers_of(
    request: web.Request, jobs: Sequence[Job], key: str, first: int, kept: bytes | None
) -> AsyncIterator[Answers]:
    gateway = request.app[GATEWAY]
    origin = Origin(request.path, request[BODY])
    if kept is None:
        # The answer to several jobs cannot be fetched as one, so that they have no origin.
        kept = origin.packed() if len(jobs) == 1 else b""
    background = [msgspec.structs.replace(job, gateway="", stream=True, request=kept) for job in jobs]
    same = origin.fingerprint()
    admission = request.get(ADMISSION) or await Admission.of(request, jobs)
    tickets = [await enqueue(admission, job, key, same, index) for index, job in enumerate(background, first)]
    request[QUEUED] = True
    if all(ticket.duplicate for ticket in tickets):
        request[REPLAYED] = True
    if len(tickets) == 1:
        request[JOB_ID] = tickets[0].id
    async with AsyncExitStack() as stack:
        followed = [_Followed(gateway, ticket.id, strict=jobs[0].stream) for ticket in tickets]
        for each in followed:
            stack.push_async_callback(each.close)
        known = [msgspec.structs.replace(job, id=ticket.id) for job, ticket in zip(jobs, tickets, strict=True)]
        answers = Answers(known, followed, {index: job.id for index, job in enumerate(known)}, request[ARRIVED])
        answers.memory = None if REPLAYED in request else request.get(TALK)
        gateway.began(answers, request[CREDENTIAL].id)
        stack.callback(gateway.ended, answers)
        stack.push_async_callback(answers.close)
        async with recorded(request, known):
            yield answers


class _Followed:
    """A job's events from its log, as if they had been sent here."""

    def __init__(self, gateway: Gateway, job_id: str, *, strict: bool) -> None:
        """`strict`: what was given cannot be taken back, so that a job that begins anew is lost to this client."""
        self._said = follow(gateway.broker, job_id)
        self._strict = strict
        self._given = False

    def __aiter__(self) -> "_Followed":
        return self

    async def __anext__(self) -> list[Event]:
        while True:
            if events := self._events(await anext(self._said)):
                return events

    def _events(self, batch: Sequence[Said]) -> list[Event]:
        events: list[Event] = []
        for said in batch:
            if not isinstance(said.event, Restarted):
                events.append(said.event)
            elif self._strict and (self._given or any(isinstance(event, Delta) for event in events)):
                raise WorkerLost
        self._given = self._given or any(isinstance(event, Delta) for event in events)
        return events

    async def close(self) -> None:
        """Stop listening."""
        await self._said.aclose()
