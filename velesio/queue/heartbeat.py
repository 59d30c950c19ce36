"""Heartbeat: renews a worker and its leases from a thread of its own, over a connection of its own.

Engines hold the interpreter lock and event loops stall; a lease must not run out because of that.
"""

import random
import threading
from collections.abc import Callable, Sequence

import redis
import structlog

from velesio.queue.broker import Broker
from velesio.queue.line import OUTAGES

log = structlog.get_logger(__name__)

_AT_ONCE = 100
_TOLERATED = 5
"""Beats in a row that may fail by a defect, as a race of threads may make one fail."""

Held = Sequence[tuple[str, int, int | str]]
"""Job ids, attempts, and the milliseconds from the lease to the first output, empty before it."""
Lost = Sequence[tuple[str, int]]
"""Job ids and attempts."""


class Report:
    """What a beat found: leases that are gone, jobs to abort with the reason, an order to the worker itself, and
    wishes about its models, encoded."""

    def __init__(self, lost: Lost, aborts: Sequence[tuple[str, str]], order: str, wishes: Sequence[bytes] = ()) -> None:
        self.lost = lost
        self.aborts = aborts
        self.order = order
        self.wishes = wishes


class Heartbeat:
    """Beats until it is closed. `held` and `describe` are called, and `report` and `die` call, in the thread."""

    def __init__(
        self,
        broker: Broker,
        owner: str,
        held: Callable[[], Held],
        describe: Callable[[], tuple[bytes, bytes]],
        report: Callable[[Report], None],
        *,
        die: Callable[[Exception], None],
    ) -> None:
        """`describe` gives the cards and the worker's own description, both encoded; `die(error)` is called when
        one beat after the other fails, not because the broker is away, but by a defect."""
        self._script = broker.scripts["beat"]
        self._root = broker.keys.root
        self._interval = broker.settings.beat
        self._client = broker.address.thread()
        self._owner = owner
        self._held = held
        self._describe = describe
        self._report = report
        self._die = die
        self._failures = 0
        self._stopping = False
        self._news = True
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin with a beat that tells everybody."""
        self._thread.start()

    def now(self) -> None:
        """Beat at once and tell everybody that something about this worker changed."""
        self._news = True
        self._wake.set()

    def stop(self) -> None:
        """Beat no more."""
        self._stopping = True
        self._wake.set()

    def join(self) -> None:
        """Wait for the thread's end; blocks for up to the client's timeout."""
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._beat()
            except OUTAGES:
                self._beat_again_soon()
            except Exception as error:
                log.exception("a beat failed")
                self._failures += 1
                if self._failures == _TOLERATED:
                    self._die(error)
                self._beat_again_soon()
            else:
                self._failures = 0
                self._wake.wait(self._interval)
            self._wake.clear()

    def _beat_again_soon(self) -> None:
        self._news = True  # perhaps nobody heard it
        self._wake.wait(random.uniform(0.2, 0.4) * min(self._interval, 2.0))  # noqa: S311

    def _beat(self) -> None:
        held = self._held()
        attempts = {job_id: attempt for job_id, attempt, _ in held}
        cards, info = self._describe()
        news, self._news = self._news, False
        lost: list[tuple[str, int]] = []
        aborts: list[tuple[str, str]] = []
        order, wishes = b"", list[bytes]()
        for start in range(0, max(1, len(held)), _AT_ONCE):
            leases = [item for lease in held[start : start + _AT_ONCE] for item in lease]
            gone, orders, order, wishes = self._call(self._owner, 0, cards, info, int(news and not start), *leases)
            lost += [(job.decode(), attempts[job.decode()]) for job in gone]
            aborts += [(job.decode(), why.decode()) for job, why in zip(orders[::2], orders[1::2], strict=True)]
        self._report(Report(lost, aborts, order.decode(), wishes))

    def _call(self, *arguments: str | bytes | int) -> tuple[list[bytes], list[bytes], bytes, list[bytes]]:
        try:
            found = self._client.evalsha(self._script.sha, 1, self._root, *arguments)
        except redis.exceptions.NoScriptError:
            found = self._client.eval(self._script.text, 1, self._root, *arguments)
        gone, orders, order, wishes = found
        return gone, orders, order, wishes
