"""What the handlers share: the queue's gateway side, the keys, and whether new work is taken."""

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import structlog
from aiohttp import web

from velesio.config import DownloadSection, FetchSection, SdapiSection, ServerSection, SessionSection, WebhookSection
from velesio.errors import KeyRevoked, ShuttingDown, VelesioError
from velesio.http.access.keys import Credential, KeyRing
from velesio.http.access.visitors import networks
from velesio.http.monitoring.broker import BrokerMetrics
from velesio.http.monitoring.lookout import Lookout
from velesio.http.monitoring.pace import Pace
from velesio.jobs import Result
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.credentials import KeyRecord
from velesio.queue.limits import Line
from velesio.queue.recordings import Recorder
from velesio.queue.registry import Registry
from velesio.queue.replies import Inbox
from velesio.queue.tenants import Tenant

log = structlog.get_logger("velesio.http")

LOADING = "the first model is being loaded"
NO_MODEL = "no worker serves a model"


T = TypeVar("T")


class Stream(Protocol):
    """Something that a client is being told."""

    def abort(self, error: VelesioError) -> None:
        """End it with `error`, at its next step."""


class Memory(Protocol):
    """Where an answer is kept for the requests that follow it."""

    async def keep(self, result: Result) -> None:
        """Keep it."""


class Feed(NamedTuple):
    """Whom an answer without an end is for."""

    credential: Credential
    scope: str
    timer: asyncio.TimerHandle | None = None
    """Ends it with its key."""


class Gateway:
    """One HTTP server's parts and the answers that it is giving."""

    def __init__(
        self,
        *,
        queue: JobQueue,
        inbox: Inbox,
        registry: Registry,
        broker: Broker,
        keys: KeyRing,
        server: ServerSection,
        llamacpp_origins: Sequence[str] = (),
        tell_tenants: bool = False,
        webhooks: WebhookSection = WebhookSection(),  # noqa: B008 - frozen, as the following
        fetch: FetchSection = FetchSection(),  # noqa: B008
        sessions: SessionSection = SessionSection(),  # noqa: B008
        sdapi: SdapiSection = SdapiSection(),  # noqa: B008
        downloads: DownloadSection = DownloadSection(),  # noqa: B008
    ) -> None:
        self.queue = queue
        self.inbox = inbox
        self.registry = registry
        self.broker = broker
        self.keys = keys
        self.server = server
        self.trusted_proxies = networks(server.trusted_proxies)
        self.webhooks = webhooks
        self.fetch = fetch
        self.sessions = sessions
        self.downloads = downloads
        self.tell_tenants = tell_tenants
        """Whether metrics name tenants."""
        self.llamacpp_origins = llamacpp_origins
        """Origins of web pages that may read what the port for llama.cpp's clients answers."""
        self.sdapi = sdapi
        self.ports: dict[int, str] = {}
        """Further ports: whose clients look there by default."""
        self.pace = Pace()
        self.lookout = Lookout(broker, registry)
        self.metrics = BrokerMetrics(broker, self.lookout, registry)
        self.draining = False
        self.answers: set[Stream] = set()
        self._owners: dict[Stream, str] = {}
        self._endless: dict[Stream, Feed] = {}
        self._idle = asyncio.Event()
        self._background: set[asyncio.Task[Any]] = set()

    async def unready(self) -> list[str]:
        """Why this gateway should get no requests; empty: it is ready."""
        if self.draining:
            return ["the server is shutting down"]
        reasons = []
        if not await self._broker_answers():
            reasons.append("the broker does not answer")
        if not self.registry.cards():
            reasons.append(NO_MODEL)
        elif all(worker.info.get("loading") for worker in self.registry.workers() if worker.state == "ready"):
            reasons.append(LOADING)
        return reasons

    async def _broker_answers(self) -> bool:
        try:
            async with asyncio.timeout(1.0):
                return await self.broker.ping()
        except (TimeoutError, VelesioError, OSError):
            return False

    def drain(self) -> None:
        """Take no new jobs: `/readyz` is 503 and so is every request for one. Answers under way go on, but for those
        that have no end."""
        self.draining = True
        for feed in tuple(self._endless):
            feed.abort(ShuttingDown())

    async def finish(self, timeout: float) -> None:  # noqa: ASYNC109  the answers left then get an end of their own
        """Wait until every answer has ended; end those that are left after `timeout` seconds with `ShuttingDown` and
        cancel their jobs."""
        self.drain()
        if not await self._quiet(timeout):
            for answers in tuple(self.answers):
                answers.abort(ShuttingDown())
            await self._quiet(5.0)
        if self._background:
            await asyncio.wait(self._background, timeout=5.0)

    async def _quiet(self, timeout: float) -> bool:  # noqa: ASYNC109
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        while self.answers:
            self._idle.clear()
            try:
                async with asyncio.timeout_at(end):
                    await self._idle.wait()
            except TimeoutError:
                return False
        return True

    def tell(self, feed: Stream, credential: Credential, scope: str = "") -> None:
        """Remember an answer that has no end, for a key that needs that scope for it: nobody waits for it when the
        server stops, and it ends when its key would be refused what it tells, whatever `access.on_revoke` says.

        Raises:
            ShuttingDown
        """
        if self.draining:
            raise ShuttingDown
        self.answers.add(feed)
        self._endless[feed] = Feed(credential, scope)
        self._check(feed)

    def began(self, answers: Stream, key: str) -> None:
        """Remember an answer, and the id of the key that asked for it."""
        self.answers.add(answers)
        self._owners[answers] = key
        if self.keys.ended(key):
            answers.abort(KeyRevoked())

    def enrol(self, keys: Mapping[str, KeyRecord], tenants: Mapping[str, Tenant]) -> None:
        """Take over the keys and tenants that the broker knows. Answers of keys that are revoked end where that is
        wanted, feeds in any case."""
        self.keys.update(keys, tenants)
        for answers, key in tuple(self._owners.items()):
            if self.keys.ended(key):
                answers.abort(KeyRevoked())
        for feed in tuple(self._endless):
            self._check(feed)

    def _check(self, feed: Stream) -> None:
        if (known := self._endless.get(feed)) is None:
            return
        if known.timer is not None:
            known.timer.cancel()
        if (reason := self.keys.objection(known.credential, known.scope)) is not None:
            feed.abort(reason)
        elif (left := self.keys.seconds_left(known.credential)) is not None:
            timer = asyncio.get_running_loop().call_later(left, self._check, feed)
            self._endless[feed] = known._replace(timer=timer)

    def ended(self, answers: Stream) -> None:
        """Forget an answer that has ended."""
        self.answers.discard(answers)
        self._owners.pop(answers, None)
        if (feed := self._endless.pop(answers, None)) is not None and feed.timer is not None:
            feed.timer.cancel()
        self._idle.set()

    async def see_through(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` to its end even if the caller is cancelled meanwhile."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._seen_through)
        return await asyncio.shield(task)

    def _seen_through(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.debug("work ended with an error", error=str(error))  # told to the caller, if it is still there


GATEWAY = web.AppKey("gateway", Gateway)
LLAMACPP = "llamacpp"
"""The port where llama.cpp's clients look."""


def port_name(request: web.Request) -> str:
    """Whose port a request came to; empty: the server's own."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return request.app[GATEWAY].ports.get(name[1], "") if isinstance(name, tuple) else ""


CREDENTIAL = web.RequestKey("credential", Credential)
ARRIVED = web.RequestKey("arrived", float)
"""Monotonic seconds."""
REQUEST_ID = web.RequestKey("request_id", str)
TALK = web.RequestKey("talk", Memory)
"""Set where the answer belongs to a session."""
TRACE = web.RequestKey("trace", str)
"""The traceparent of what the request causes, if anybody traces it."""
QUEUED = web.RequestKey("queued", bool)
"""Set once the request's jobs are in the queue."""
JOB_ID = web.RequestKey("job_id", str)
"""Set where one job answers the request."""
BODY = web.RequestKey("body", bytes)
"""The body as it came, once it is read."""
LINES = web.RequestKey("lines", tuple[Line, ...])
"""What the limits that were looked at say."""
REPLAYED = web.RequestKey("replayed", bool)
"""Set where the answer is that of an earlier request."""
RECORDER = web.RequestKey("recorder", Recorder)
"""Set where what is streamed is kept for a client that comes back."""
SCALES = web.RequestKey("scales", tuple[tuple[int, float], ...])
"""Scales of the found model's adapters, where clients have set them."""
