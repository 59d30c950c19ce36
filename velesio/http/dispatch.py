"""From params to events: queues the jobs of one request, gives their events, cancels what nobody waits for."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import msgspec
import structlog
from aiohttp import web

from velesio import metrics
from velesio.errors import (
    JobFailed,
    VelesioError,
    from_code,
)
from velesio.http import media
from velesio.http.access import priorities
from velesio.http.access.costs import cost_of
from velesio.http.access.limits import ADMISSION, Admission
from velesio.http.gateway import (
    ARRIVED,
    CREDENTIAL,
    GATEWAY,
    JOB_ID,
    QUEUED,
    SCALES,
    TALK,
    Gateway,
    Memory,
)
from velesio.http.recording import recorded
from velesio.jobs import (
    Aside,
    Cancelled,
    Completed,
    Delta,
    Event,
    Failed,
    ImageAside,
    Job,
    Params,
    Result,
    TextParams,
    TextResult,
)
from velesio.queue.replies import Watch

log = structlog.get_logger("velesio.http")
content = logging.getLogger("velesio.content")
"""As that of `velesio.http.wire`."""

Numbered = tuple[int, Event]
"""An event with the index of the job that it is of."""

_R = TypeVar("_R", bound=Result)


def jobs_of(request: web.Request, model: str, params: Sequence[Params], *, stream: bool) -> list[Job]:
    """A job for each of the params, on behalf of the request's credential.

    Raises:
        Unsupported: the model cannot see or hear what they bring.
        Forbidden: the key may not have jobs as urgent as the request says.
    """
    gateway = request.app[GATEWAY]
    for each in params:
        media.check_pixels(each, gateway.server.max_pixels)
        if media.files_of(each):
            media.check(gateway.registry.find(model, "text"), each)
    deadline, priority = time.time() + gateway.server.request_timeout, priorities.of_request(request)
    return [
        Job.new(
            model,
            scaled(request, each),
            tenant=request[CREDENTIAL].tenant,
            priority=priority,
            cost=cost_of(each),
            deadline=deadline,
            gateway=gateway.inbox.gateway_id,
            stream=stream,
        )
        for each in params
    ]


def scaled(request: web.Request, params: Params) -> Params:
    """`params` with the scales of adapters that are set for the model that was found, unless they have their own."""
    scales = request.get(SCALES)
    if scales is None or not isinstance(params, TextParams) or params.lora is not None:
        return params
    return msgspec.structs.replace(params, lora=scales)


@asynccontextmanager
async def answers_to(request: web.Request, jobs: Sequence[Job]) -> AsyncIterator["Answers"]:
    """Queues `jobs` and gives their answers; leaving cancels those that are not final.

    Raises:
        VelesioError: a job could not be queued; those queued before it are cancelled.
    """
    gateway = request.app[GATEWAY]
    open_jobs: dict[int, str] = {}
    async with AsyncExitStack() as stack:
        watches = [await stack.enter_async_context(gateway.inbox.watch(job)) for job in jobs]
        answers = Answers(jobs, watches, open_jobs, request[ARRIVED])
        answers.memory = request.get(TALK)
        gateway.began(answers, request[CREDENTIAL].id)
        stack.callback(gateway.ended, answers)
        stack.push_async_callback(_cancel_open, gateway, open_jobs)
        stack.push_async_callback(answers.close)
        admission = request.get(ADMISSION) or await Admission.of(request, jobs)
        for index, job in enumerate(jobs):
            # Before the call: if it is interrupted, the broker may have queued the job all the same.
            open_jobs[index] = job.id
            try:
                await admission.queue(job)
            except VelesioError:
                # Not queued; or, if the broker does not answer, cancelled by the queue when it does.
                del open_jobs[index]
                raise
        request[QUEUED] = True
        if len(jobs) == 1:
            request[JOB_ID] = jobs[0].id
        async with recorded(request, jobs):
            yield answers


async def ask(request: web.Request, model: str, params: Aside | ImageAside, kind: type[_R]) -> _R:
    """The result of one aside; a client that leaves cancels it.

    Raises:
        VelesioError: it could not be queued, or failed.
    """
    async with answers_to(request, jobs_of(request, model, [params], stream=False)) as answers:
        return checked(await answers.only(), kind)


def checked(result: Result, kind: type[_R]) -> _R:
    """`result`, if it is of that kind.

    Raises:
        JobFailed: it is another, as that of a worker of another release may be.
    """
    if not isinstance(result, kind):
        raise JobFailed(f"the worker answered with {type(result).__name__} instead of {kind.__name__}")
    return result


async def _cancel_open(gateway: Gateway, open_jobs: dict[int, str]) -> None:
    if open_jobs:
        await gateway.see_through(_cancel(gateway, list(open_jobs.values())))


async def _cancel(gateway: Gateway, job_ids: Sequence[str]) -> None:
    for job_id in job_ids:
        try:
            await gateway.queue.cancel(job_id, "nobody waits for the answer")
        except VelesioError as error:
            # The queue cancels this one later; the deadline ends the others.
            log.warning("job not cancelled", job_id=job_id, code=error.code)
            return


class Answers:
    """The events of a request's jobs, as an async iterator of non-empty batches, never with a failure in them:
    the first failed job raises its error, after what came before it."""

    def __init__(
        self,
        jobs: Sequence[Job],
        sources: Sequence[AsyncIterator[list[Event]]],
        open_jobs: dict[int, str],
        arrived: float,
    ) -> None:
        self.ids = [job.id for job in jobs]
        self.results: dict[int, Result] = {}
        """By index, as the jobs get done."""
        self.memory: Memory | None = None
        """Keeps the first job's result before anybody is told of it."""
        alone = sources[0] if len(sources) == 1 else None
        self._source = _Single(alone) if isinstance(alone, Watch) else _Merged(sources)
        self._open = open_jobs
        self._first: list[Numbered] | None = None
        self._error: VelesioError | None = None
        self._aborted: VelesioError | None = None
        self._pace = _Pace(jobs[0].model, arrived)

    async def begin(self) -> None:
        """Wait for the first event, before any header is sent.

        Raises:
            VelesioError: the job was refused or failed, or its deadline passed.
        """
        self._first = await anext(self)
        if self._error is not None:
            raise self._error

    async def texts(self) -> list[TextResult]:
        """The results of text jobs, by index, when all are done.

        Raises:
            VelesioError: one failed.
        """
        async for _ in self:
            pass
        return [result for _, result in sorted(self.results.items()) if isinstance(result, TextResult)]

    async def only(self) -> Result:
        """The result of the only job, when it is done.

        Raises:
            VelesioError: it failed.
        """
        async for _ in self:
            pass
        return self.results[0]

    def abort(self, error: VelesioError) -> None:
        """Make the iteration raise `error`, now or at its next step. Once more does nothing."""
        if self._aborted is None:
            self._aborted = error
            self._source.fail(error)

    async def close(self) -> None:
        """Stop listening."""
        await self._source.close()

    def __aiter__(self) -> "Answers":
        return self

    async def __anext__(self) -> list[Numbered]:
        if self._first is not None:
            batch, self._first = self._first, None
            return batch
        if self._aborted is not None:
            raise self._aborted
        if self._error is not None:
            raise self._error
        if not self._open:
            raise StopAsyncIteration
        batch = self._sift(await self._source.__anext__())
        if self.memory is not None and 0 in self.results:
            memory, self.memory = self.memory, None
            await memory.keep(self.results[0])
        return batch

    def _sift(self, batch: list[Numbered]) -> list[Numbered]:
        for place, (index, event) in enumerate(batch):
            if type(event) is Delta:
                continue
            if isinstance(event, Completed):
                self.results[index] = event.result
                if content.isEnabledFor(logging.DEBUG) and isinstance(event.result, TextResult):
                    content.debug("answer: %s", event.result.text)
                del self._open[index]
            elif isinstance(event, Failed | Cancelled):
                del self._open[index]
                self._error = error_of(event)
                batch = batch[:place]
                break
        self._pace.observe(batch)
        if not batch and self._error is not None:
            raise self._error
        return batch


def error_of(event: Failed | Cancelled) -> VelesioError:
    """What is raised for a job that was not done."""
    if isinstance(event, Failed):
        details = dict(event.details)
        param = details.pop("param", None)
        error = from_code(event.code, event.message, details)
        error.param = param if isinstance(param, str) else None
        return error
    return from_code("cancelled", f"the job was cancelled: {event.reason}" if event.reason else "")


class _Single:
    """One watch, which needs no task to be read: a turn of the event loop less for each token."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    async def __anext__(self) -> list[Numbered]:
        return [(0, event) for event in await self._watch.__anext__()]

    def fail(self, error: VelesioError) -> None:
        """End the iteration."""
        self._watch.fail(error)

    async def close(self) -> None:
        """Nothing to stop."""


class _Merged:
    """Several sources as one: a batch is what has come of all of them since the last one."""

    def __init__(self, sources: Sequence[AsyncIterator[list[Event]]]) -> None:
        self._ready: list[Numbered] = []
        self._error: Exception | None = None
        self._wake = asyncio.Event()
        self._pumps = [asyncio.create_task(self._pump(index, source)) for index, source in enumerate(sources)]

    async def _pump(self, index: int, source: AsyncIterator[list[Event]]) -> None:
        try:
            async for batch in source:
                self._ready.extend((index, event) for event in batch)
                self._wake.set()
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the iteration, after what has come so far."""
        self._error = error
        self._wake.set()

    async def __anext__(self) -> list[Numbered]:
        await self._wake.wait()
        self._wake.clear()
        if not self._ready and self._error is not None:
            raise self._error
        if self._error is not None:
            self._wake.set()
        batch, self._ready = self._ready, []
        return batch

    async def close(self) -> None:
        """Stop all of them."""
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)


class _Pace:
    """Measures the time to the first text and between texts, on this process's monotonic clock."""

    def __init__(self, model: str, arrived: float) -> None:
        self._first = metrics.time_to_first_token.labels(model)
        self._between = metrics.inter_token.labels(model)
        self._arrived = arrived
        self._last: dict[int, float] = {}

    def observe(self, batch: Sequence[Numbered]) -> None:
        """Count the texts in a batch that has just come; those of one job that come together are one."""
        now = time.monotonic()
        for index, event in batch:
            last = self._last.get(index)
            if type(event) is not Delta or last == now:
                continue
            if last is not None:
                self._between.observe(now - last)
            elif not self._last:
                self._first.observe(now - self._arrived)
            self._last[index] = now
