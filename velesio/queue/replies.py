"""Replies: events from workers to the gateway that waits for them, over one stream for each gateway.

A writer sends whatever has accumulated while its previous message was on its way: no timer, which would only add
latency. A gateway reads its stream on one connection and hands each watch its events, each exactly once.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Iterable
from types import TracebackType
from typing import Any, Self

import structlog

from velesio.errors import BrokerUnavailable, DeadlineExceeded, VelesioError
from velesio.jobs import Event, Job, JobState, is_final
from velesio.queue import wire
from velesio.queue.blobs import GONE
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.line import OUTAGES, pack
from velesio.queue.publisher import Publisher
from velesio.queue.tasks import Loop, spawn, stop
from velesio.queue.transcript import WORKER_LOST, Transcript

__all__ = ["Inbox", "Publisher", "Watch"]

log = structlog.get_logger(__name__)

_GRACE = 5.0
"""Seconds after its deadline in which the broker itself may end a job."""
_BLOCK = 5.0
_LIFETIME = 15.0
"""Seconds that the sign of life lasts at least: a connection that died silently is noticed after ten."""
_ANSWERED = 200
"""Ends that readers have, told to the broker together."""
_TRIM = 8 * 1024 * 1024
"""Bytes read between two beats after which the stream is trimmed at once: pictures are large."""
_RECALL_TTL = 30_000
_STREAM_TTL = 180_000
"""Milliseconds: how long a gateway may be cut off before what it was sent is dropped."""


class Watch:
    """The events of one job: an async context manager and an async iterator of non-empty batches.

    The last batch ends with a final event. Leaving the context forgets the job without cancelling it.
    """

    def __init__(self, inbox: "Inbox", job: Job, deadline: float) -> None:
        self.job = job
        self.transcript = Transcript(job.stream)
        self.deadline = deadline
        """Unix seconds."""
        self.heard = time.monotonic()
        self._inbox = inbox
        self._batch: list[Event] = []
        self._error: VelesioError | None = None
        self._over = False
        self._waiter: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget the job."""
        self._inbox.forget(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Event]:
        """The next events.

        Raises:
            BrokerUnavailable: the broker lost the job for good.
            DeadlineExceeded: nothing final came before the deadline.
        """
        while not self._batch:
            if self._over:
                raise StopAsyncIteration
            if self._error:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        batch, self._batch = self._batch, []
        self._over = is_final(batch[-1])
        return batch

    def feed(self, attempt: int, seq: int, event: Event) -> None:
        """Hand over an event as it came."""
        self.heard = time.monotonic()
        accepted = self.transcript.accept(attempt, seq, event)
        if accepted:
            self._batch.extend(accepted)
            self._wake()
            if self.transcript.ended:
                self._inbox.answered(self.job.id)

    def fail(self, error: VelesioError) -> None:
        """End the iteration, after what has come so far."""
        self._error = self._error or error
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)


class Inbox:
    """The reply stream of one gateway. `gateway_id` must be new at each start of a process."""

    def __init__(self, broker: Broker, gateway_id: str) -> None:
        self.gateway_id = gateway_id
        self._broker = broker
        self._queue = JobQueue(broker)
        self._key = broker.keys.replies(gateway_id)
        self._watches: dict[str, Watch] = {}
        self._last = b"0-0"
        self._line = broker.address.blocking(_BLOCK)
        self._read_bytes = 0
        self._answered: list[str] = []
        """Jobs whose end has come and whose results the broker need not keep."""
        self._stopping = False
        self._reader: asyncio.Task[None] | None = None
        """Connects, while there is no connection to read from."""
        self._failures = 0
        self._errands: set[asyncio.Task[Any]] = set()
        settings = broker.settings
        self._loops = (
            Loop("gateway beat", self._beat, pause=settings.beat),
            Loop("watchdog", self._look_after, pause=min(1.0, settings.lease)),
            Loop("sweep", self._sweep, pause=settings.reclaim_interval),
        )

    async def start(self) -> None:
        """Create the stream and read it."""
        self._last, _ = await self._listen()
        self._reader = spawn(self._reach(), "inbox")
        for loop in self._loops:
            loop.start()

    async def close(self) -> None:
        """Stop reading and delete the stream: what workers still send goes nowhere."""
        self._stopping = True
        for loop in self._loops:
            await loop.close()
        await stop(self._reader, *self._errands)
        await self._line.close()
        for watch in list(self._watches.values()):
            watch.fail(BrokerUnavailable("This gateway is closing."))
        with contextlib.suppress(VelesioError):  # they expire by themselves
            await self._forget_results()
            await self._broker.command("DEL", self._key, self._broker.keys.gateway(self.gateway_id))

    def watch(self, job: Job) -> Watch:
        """Register for the events of `job`, whose `gateway` is this one, before it is queued."""
        deadline = job.deadline or time.time() + self._broker.settings.deadline
        watch = Watch(self, job, deadline)
        self._watches[job.id] = watch
        return watch

    def forget(self, watch: Watch) -> None:
        """Drop what still comes for a watch."""
        if self._watches.get(watch.job.id) is watch:
            del self._watches[watch.job.id]

    def answered(self, job_id: str) -> None:
        """Whoever waited for a job has its end. Called for the last of its events."""
        self._answered.append(job_id)
        if len(self._answered) == _ANSWERED:
            self._errand(self._forget_results())

    async def _forget_results(self) -> None:
        """Tell the broker, which otherwise keeps results for an hour; if it is away, that is what it does."""
        while self._answered:
            some, self._answered = self._answered[:_ANSWERED], self._answered[_ANSWERED:]
            await self._broker.run("answered", self.gateway_id, *some)

    async def _listen(self) -> tuple[bytes, int]:
        settings = self._broker.settings
        lifetime = round(max(3 * settings.beat, _LIFETIME) * 1000)
        arguments = (self.gateway_id, self._last, lifetime, max(_STREAM_TTL, 4 * lifetime))
        last, created = await self._broker.run("listen", *arguments)
        return last, created

    async def _beat(self) -> None:
        read = self._last
        last, created = await self._listen()
        if _order(last) < _order(read):
            self._last = b"0-0"  # the broker lost its memory and its clock went back
        if created:
            for watch in self._watches.values():
                watch.heard = 0.0  # the broker lost its memory: ask what became of the jobs
        await self._forget_results()
        for job_id in list(self._broker.doubtful):
            await self._queue.cancel(job_id)
            self._broker.doubtful.discard(job_id)

    async def _sweep(self) -> None:
        await self._broker.run("sweep", 0, 0)
        await self._broker.blobs.sweep()

    async def _reach(self, pause: float = 0.0) -> None:
        """Connect, however long it takes, and begin to read."""
        while True:
            await asyncio.sleep(pause)
            try:
                await self._line.connect()
            except OUTAGES:
                pause = self._pause()
            except Exception:  # without this connection no answer ever comes
                log.exception("the inbox cannot connect")
                pause = self._pause()
            else:
                break
        self._ask_for_more()

    def _pause(self) -> float:
        self._failures += 1
        longest: float = min(1.0, 0.05 * 2**self._failures)
        return longest * random.uniform(0.5, 1)  # noqa: S311

    def _ask_for_more(self) -> None:
        """No task waits for the answer: that would be two more turns of the event loop for each token."""
        if self._line.up and not self._stopping:
            block = round(_BLOCK * 1000)
            asked = ("XREAD", "COUNT", 256, "BLOCK", block, "STREAMS", self._key, self._last)
            self._line.send([pack(asked)], self._hear)
        elif not self._stopping:
            self._reader = spawn(self._reach(), "inbox")

    def _hear(self, found: list[Any] | BaseException) -> None:
        """What came, or what became of the connection."""
        answer = found[0] if isinstance(found, list) else found
        if isinstance(answer, BaseException):
            if not self._stopping:
                self._reader = spawn(self._reach(self._pause()), "inbox")
            return
        self._failures = 0
        try:
            self._read(next(iter(answer.values())) if answer else ())
        except Exception:  # a defect in reading one message must not silence all later ones
            log.exception("a message could not be read")
        # Whoever got something goes first: asking for more takes a while.
        asyncio.get_running_loop().call_soon(self._ask_for_more)

    def _read(self, entries: Iterable[tuple[bytes, list[bytes]]]) -> None:
        for identity, fields in entries:
            self._last = identity
            self._deliver(fields[1])
            self._read_bytes += len(fields[1])
        if self._read_bytes > _TRIM:
            self._read_bytes = 0
            self._errand(self._broker.command("XTRIM", self._key, "MINID", self._last))

    def _deliver(self, body: bytes) -> None:
        for note in wire.read_message(body):
            self.deliver(note)

    def deliver(self, note: wire.Note) -> None:
        """Hand over one event, from the stream or from a worker in this process."""
        try:
            self._dispatch(note)
        except Exception:  # one bad note must not silence all the others
            log.exception("a reply could not be delivered", job=note.job)

    def _dispatch(self, note: wire.Note) -> None:
        watch, event = self._watches.get(note.job), note.event
        if isinstance(event, wire.Recall):
            self._answer(note, watch)
        elif watch is None or isinstance(event, wire.Anew):
            return
        elif isinstance(event, wire.Stored):
            self._errand(self._fetch(watch, note.attempt, note.seq, wire.reference(event)))
        else:
            before = watch.transcript.lost
            watch.feed(note.attempt, note.seq, event)
            if watch.transcript.lost and not before:
                self._errand(self._queue.cancel(note.job, WORKER_LOST.code))

    async def _fetch(self, watch: Watch, attempt: int, seq: int, body: bytes) -> None:
        """Hand over a final event that may lie in a blob, unless the watch ends before the broker answers."""
        while self._watches.get(watch.job.id) is watch:
            try:
                watch.feed(attempt, seq, await self._broker.blobs.final(body) or GONE)
            except BrokerUnavailable:
                await asyncio.sleep(random.uniform(0.1, 0.5))  # noqa: S311
            else:
                return

    def _answer(self, note: wire.Note, watch: Watch | None) -> None:
        """Tell a worker which tokens its reader already has; nobody watching has none."""
        sent: tuple[int, ...] | None = ()
        if watch:
            if note.attempt <= watch.transcript.attempt:
                return  # the same message once more, or from a worker that was overtaken
            sent = watch.transcript.recall(note.attempt)
            if sent is None:
                watch.feed(note.attempt, 0, WORKER_LOST)
        self._errand(self._send_answer(self._broker.keys.sent(note.job, note.attempt), wire.encode(sent)))

    async def _send_answer(self, key: str, body: bytes) -> None:
        await asyncio.gather(
            self._broker.command("RPUSH", key, body), self._broker.command("PEXPIRE", key, _RECALL_TTL)
        )

    def _errand(self, work: Awaitable[Any]) -> None:
        task = spawn(_quietly(work), "inbox errand")
        self._errands.add(task)
        task.add_done_callback(self._errands.discard)

    async def _look_after(self) -> None:
        """End what is overdue; ask the broker about watches that have heard nothing for long."""
        silence = 2 * self._broker.settings.lease
        for watch in list(self._watches.values()):
            if time.time() > watch.deadline + _GRACE:
                watch.fail(DeadlineExceeded())
            elif time.monotonic() - watch.heard > silence:
                await self._ask(watch)

    async def _ask(self, watch: Watch) -> None:
        state, result, attempt = await self._broker.command(
            "HMGET", self._broker.keys.job(watch.job.id), "st", "r", "att"
        )
        watch.heard = time.monotonic()
        if state is None:
            await self._restore(watch)
        elif JobState(state.decode()).final and result:
            # The final event got lost: trimmed from the stream, or sent while the broker lost its memory.
            self._errand(self._fetch(watch, int(attempt), 0, result))

    async def _restore(self, watch: Watch) -> None:
        """The broker has lost the job: queue it again if its reader has seen nothing of it."""
        if watch.transcript.length:
            watch.fail(BrokerUnavailable("The broker lost this job."))
        else:
            await self._queue.enqueue(watch.job)


async def _quietly(work: Awaitable[Any]) -> None:
    with contextlib.suppress(VelesioError):
        await work


def _order(identity: bytes) -> tuple[int, ...]:
    return tuple(int(part) for part in identity.split(b"-"))
