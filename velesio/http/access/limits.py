"""Limits as requests meet them: admission of a request's jobs, and what its headers tell."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from velesio.config import Limits
from velesio.errors import BrokerUnavailable, VelesioError
from velesio.http.access.costs import tokens_of
from velesio.http.access.keys import LOCAL, Credential
from velesio.http.gateway import CREDENTIAL, GATEWAY, LINES, Gateway
from velesio.jobs import Image, ImageAside, Job, Params
from velesio.queue.client import JobRecord, Ticket
from velesio.queue.limits import WINDOWS, Line, RateLimited, Subject, Terms

_UNKNOWN_MS = 1000
"""What a job of a model is taken to need of its engine before any has ended."""
_NONE = Limits()
_MONTHLY = {"t": "T", "i": "I", "g": "G"}
_UNITS = {"tokens": "tokens", "concurrent": "concurrent-requests", "images": "images", "gpu_seconds": "seconds"}


def subjects_of(gateway: Gateway, credential: Credential, model: str, *, waits: bool = True) -> tuple[Subject, ...]:
    """Whose limits a request has; without `waits` it is none of those that run at a time."""
    limits, tenant = gateway.keys.limits, gateway.keys.tenant(credential.tenant)
    own = limits.local if credential is LOCAL else _over(credential.limits, limits.key)
    subjects = (
        Subject("key", credential.id, own),
        Subject("tenant", tenant.name, _over(tenant.limits, limits.tenant)),
        Subject("model", model, _over(limits.models.get(model, _NONE), limits.model)),
    )
    return subjects if waits else tuple(map(_unhurried, subjects))


@functools.lru_cache(maxsize=1024)
def _over(own: Limits, default: Limits) -> Limits:
    return own.over(default)


def _counted(subject: Subject) -> Subject:
    """Without limits of requests."""
    return msgspec.structs.replace(
        subject, limits=msgspec.structs.replace(subject.limits, requests=None, concurrent=None)
    )


def _unhurried(subject: Subject) -> Subject:
    return msgspec.structs.replace(subject, limits=msgspec.structs.replace(subject.limits, concurrent=None))


class Admission:
    """One request's: the first of its jobs that is queued is charged for all, by what they are taken to use."""

    def __init__(self, request: web.Request, jobs: Sequence[Job], subjects: tuple[Subject, ...], ms: int) -> None:
        """`ms` of an engine's time are what each job is taken to need."""
        gateway, credential = request.app[GATEWAY], request[CREDENTIAL]
        tenant = gateway.keys.tenant(credential.tenant)
        self._request = request
        self.jobs = gateway.queue
        self._left = estimates(jobs, subjects, ms)
        self._charged = 0
        self._begun = False
        self._terms = Terms(
            key=credential.id,
            weight=tenant.weight,
            tenant_cap=tenant.waiting,
            subjects=subjects,
            whole=_sum(self._left.values()),
            jobs=len(jobs),
            slot=jobs[0].id,
        )

    @classmethod
    async def of(
        cls, request: web.Request, jobs: Sequence[Job], *, waits: bool = True, beside: bool = False
    ) -> "Admission":
        """Of jobs for one model. `waits`: the client is answered when they are done. `beside`: the request has jobs
        for other models, too, with which it was counted for key and tenant."""
        gateway = request.app[GATEWAY]
        subjects = subjects_of(gateway, request[CREDENTIAL], jobs[0].model, waits=waits)
        if beside:
            subjects = (*map(_counted, subjects[:-1]), subjects[-1])
        return cls(request, jobs, subjects, await _usual_ms(gateway, jobs[0], subjects))

    @classmethod
    def within(cls, request: web.Request, job: Job) -> "Admission":
        """Of a further job of a request that was charged with all that it is to cost."""
        found = cls(request, [job], (), 0)
        found._begun = True
        return found

    async def queue(self, job: Job, **options: Any) -> Ticket:
        """Queue one of the jobs; if it is refused, what was charged for those that are not queued is given back.

        Raises:
            VelesioError: as `JobQueue.enqueue`.
        """
        own = self._left[job.id]
        index, admitted = int(self._begun), self._charged > 0
        terms = msgspec.structs.replace(self._terms, own=own, index=index, admitted=admitted)
        try:
            ticket = await self.jobs.enqueue(job, terms=terms, **options)
        except VelesioError as error:
            if isinstance(error, RateLimited):
                self._request[LINES] = error.lines
            await self._give_back()
            raise
        del self._left[job.id]
        if not self._begun:
            self._begun, self._charged = True, 0 if ticket.duplicate else ticket.charged
            self._request[LINES] = ticket.lines
        return ticket

    async def queue_again(self, job_id: str) -> bool:
        """Queue a job that has failed again, charged as a new request for it. False: it has not failed, or cannot be.

        Raises:
            RateLimited, BrokerUnavailable
        """
        [own] = self._left.values()
        try:
            ticket = await self.jobs.requeue(job_id, msgspec.structs.replace(self._terms, own=own))
        except RateLimited as error:
            self._request[LINES] = error.lines
            raise
        if ticket is not None:
            self._request[LINES] = ticket.lines
        return ticket is not None

    async def _give_back(self) -> None:
        if not self._charged:
            return
        terms = msgspec.structs.replace(self._terms, own=_sum(self._left.values()), index=1, admitted=True)
        try:
            await self.jobs.refund(terms, len(self._left), self._charged)
        except BrokerUnavailable:
            return  # it counts until its time has passed


async def again(request: web.Request, record: JobRecord) -> bool:
    """Queue a failed job again on behalf of its client, whose limits it counts against as any request does; what it
    uses is entered where the job's first attempts were. False: it has not failed, or cannot be queued again.

    Raises:
        RateLimited, BrokerUnavailable
    """
    params = await request.app[GATEWAY].queue.params(record.id)
    if params is None:
        return False
    job = Job.new(record.model, params, tenant=record.tenant)
    return await (await Admission.of(request, [job], waits=False)).queue_again(record.id)


ADMISSION = web.RequestKey("admission", Admission)
"""Set where a request's jobs are queued one by one."""


def estimates(jobs: Sequence[Job], subjects: Sequence[Subject], ms: int) -> dict[str, dict[str, int]]:
    """What each job is taken to use, by letter; one that asks for more than a limit allows at all is taken to use all
    of it, so that it can be done once nothing else is."""
    asked = {job.id: _amounts(job.params, ms) for job in jobs}
    asked[jobs[0].id]["r"] = 1
    allowed: dict[str, int] = {}
    for subject in subjects:
        for letter, limit in subject.packed()[1].items():
            allowed[letter] = min(limit, allowed.get(letter, limit))
    for letter, total in _sum(asked.values()).items():
        if letter in allowed and total > allowed[letter]:
            for amounts in asked.values():
                amounts[letter] = amounts.get(letter, 0) * allowed[letter] // total
    return asked


def _amounts(params: Params, ms: int) -> dict[str, int]:
    amounts = {"g": ms}
    if isinstance(params, Image):
        amounts["i"] = params.batch
    elif isinstance(params, ImageAside):
        amounts["i"] = len(params.pictures)
    else:
        amounts["t"] = tokens_of(params)
    return amounts | {_MONTHLY[letter]: amount for letter, amount in amounts.items()}


def _sum(many: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for amounts in many:
        for letter, amount in amounts.items():
            total[letter] = total.get(letter, 0) + amount
    return total


async def _usual_ms(gateway: Gateway, job: Job, subjects: Sequence[Subject]) -> int:
    """How long such jobs take lately; asked only where somebody counts it."""
    if not any(subject.packed()[1].keys() & {"g", "G"} for subject in subjects):
        return _UNKNOWN_MS
    known = await gateway.broker.command("GET", gateway.broker.keys.ran(job.capability, job.model))
    return _UNKNOWN_MS if known is None else max(1, round(float(known)))


def headers_of(lines: Sequence[Line]) -> Mapping[str, str]:
    """What is told of limits: of each kind the one with least left, and all of them as policies."""
    if not lines:
        return {}
    headers = {}
    least: dict[str, Line] = {}
    for line in lines:
        if line.limit not in least or line.left < least[line.limit].left:
            least[line.limit] = line
    for name, line in least.items():
        suffix = _suffix(name)
        headers[f"X-RateLimit-Limit-{suffix}"] = f"{line.allowed:.15g}"
        headers[f"X-RateLimit-Remaining-{suffix}"] = f"{line.left:.15g}"
        headers[f"X-RateLimit-Reset-{suffix}"] = str(_whole(line.reset))
    headers["RateLimit-Policy"] = ", ".join(_policy(line.subject, line.limit, line.allowed) for line in lines)
    headers["RateLimit"] = ", ".join(
        f"{_name(line.subject, line.limit)};r={int(line.left)};t={_whole(line.reset)}" for line in lines
    )
    return headers


@functools.cache
def _suffix(name: str) -> str:
    return "-".join(part.capitalize() for part in name.split("_"))


@functools.lru_cache(maxsize=1024)
def _policy(subject: str, limit: str, allowed: float) -> str:
    window = f";w={WINDOWS[limit]}" if limit in WINDOWS else ""
    unit = _UNITS.get(limit.removeprefix("month_"))
    return f"{_name(subject, limit)};q={int(allowed)}{window}" + (f';qu="{unit}"' if unit else "")


@functools.cache
def _name(subject: str, limit: str) -> str:
    return f'"{subject}-{limit.replace("_", "-")}"'


def _whole(seconds: float) -> int:
    return max(0, -int(-seconds // 1))
