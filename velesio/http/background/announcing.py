"""Announcing: a background job is noted in its tenant's list, and its webhook hung, before it is queued."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from velesio import tracing
from velesio.errors import BrokerUnavailable, VelesioError
from velesio.http.background.webhooks import WEBHOOKS
from velesio.http.gateway import GATEWAY, REPLAYED
from velesio.jobs import Job
from velesio.queue.hooks import Hooks
from velesio.queue.ledger import Ledger


@asynccontextmanager
async def announced(request: web.Request, job: Job, webhook: str) -> AsyncIterator[None]:
    """Notes a job in its tenant's list, and who is to be told of its end, before it is queued inside the block: it may
    end at once. If it is not queued, or was queued before, both are forgotten.

    Raises:
        BadRequest: the webhook cannot be told.
    """
    hooks, shelf = request.app[WEBHOOKS].hooks, Ledger(request.app[GATEWAY].broker, job.tenant)
    if webhook:
        url = request.app[WEBHOOKS].check(webhook, "webhook")
        seconds = job.deadline - time.time()
        await hooks.hang(
            job.id, url, seconds, tenant=job.tenant, model=job.model, created=time.time(), trace=tracing.current()
        )
    await shelf.enter(job.id)
    try:
        yield
    except BrokerUnavailable:
        raise  # it may be queued all the same
    except VelesioError:
        await _forget(hooks, shelf, job.id)
        raise
    if REPLAYED in request:
        await _forget(hooks, shelf, job.id)


async def _forget(hooks: Hooks, shelf: Ledger, job_id: str) -> None:
    with contextlib.suppress(BrokerUnavailable):  # what is left of them expires
        await asyncio.gather(hooks.unhang(job_id), shelf.strike(job_id))
