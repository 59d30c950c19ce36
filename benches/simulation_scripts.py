"""The queue's scripts, called directly on a real server, with the clock in the caller's hand and each call timed.

Every script takes the time as an argument, for which production gives 0: the server's own clock. Two things follow the
server's clock alone, since no script is told of them: how long a lease has been silent, and times to live. The first is
set from here when a lease's time is up (`run_out`); the second are longer than any run.
"""

import socket
import time
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import hiredis
import msgspec

from velesio.config import QueueSection
from velesio.jobs import Completed, TextResult
from velesio.queue import scripts, wire
from velesio.queue.keys import Keys
from velesio.queue.line import Argument, pack

MODEL = "simulated"
_QUEUE = f"text:{MODEL}"
_GATEWAY = "gateway"
_TTL = 3_600_000
_NEVER = 3000.0
"""Seconds of silence after which the server itself would take a lease for lost: only `run_out` shall decide that."""
_PAYLOAD, _CARD = b"p" * 400, b"c" * 300
"""As large as a prompt of 70 words is, and what a worker with two models says of itself."""
_PATIENCE = 30.0


class Leased(NamedTuple):
    """What `take` tells of a lease."""

    id: str
    attempt: int
    crashes: int
    entry: bytes


class Scripts:
    """One installation. Times are in ms, and `now` is the time of every call."""

    def __init__(self, url: str, settings: QueueSection, now: int) -> None:
        self.now = now
        self.samples: dict[str, list[int]] = {}
        """Nanoseconds of each call, from here to the server and back, by what was called."""
        self._root = Keys("simulation").root
        self._scripts = scripts.load(msgspec.structs.replace(settings, lease=_NEVER))
        address = urlsplit(url)
        self._socket = socket.create_connection((address.hostname or "", address.port or 0), _PATIENCE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = hiredis.Reader()
        result = wire.encode(Completed(TextResult("r" * 400)))
        self._ending = (
            b"done",
            result,
            0,
            wire.message([wire.encode(wire.Note("0" * 22, 1, 9, Completed(TextResult(""))))]),
        )
        for script in self._scripts.values():
            self.command("SCRIPT", "LOAD", script.text)
        self.watched()
        self._read = "0-0"

    def close(self) -> None:
        """Hangs up."""
        self._socket.close()

    def enqueue(self, job: str, tenant: str, weight: float, cost: float) -> bool:
        """False: the queue, or the tenant's part of it, is full."""
        answer = self._run(
            "enqueue", job, self.now, "text", MODEL, 1, tenant, weight, cost, _TTL, _GATEWAY, 1, _PAYLOAD, "", "", "", 0
        )  # fmt: skip
        return bool(answer[0] == b"OK")

    def take(self, owner: str, running: int, room: int) -> tuple[list[Leased], bool]:
        """The leases, and whether more jobs wait."""
        leases, more, _ = self._run("take", owner, self.now, running, 0, 1, "text", MODEL, room, 0)
        return [Leased(job.decode(), attempt, crashes, entry) for job, attempt, crashes, entry, *_ in leases], bool(
            more
        )

    def finish(self, owner: str, lease: Leased) -> bool:
        """False: somebody else has the job by now."""
        state, result, dead, message = self._ending
        answer = self._run("finish", owner, lease.id, lease.attempt, self.now, state, result, dead, message)
        return bool(answer == b"OK")

    def beat(self, owner: str, leases: Sequence[Leased]) -> set[str]:
        """Renews the leases; answers the ids of those that are lost."""
        held = [word for lease in leases for word in (lease.id, lease.attempt, "")]
        lost = self._run("beat", owner, self.now, _CARD, _CARD, 0, *held)[0]
        return {job.decode() for job in lost}

    def sweep(self, *, turn: bool = True) -> None:
        """Housekeeping; without its turn the script sees that somebody has been there, and does nothing."""
        self._run("sweep", self.now, int(turn), name="sweep" if turn else "sweep, not its turn")

    def listen(self) -> None:
        """The gateway reads all that was sent to it, and its beat renews its stream."""
        entries = self.command("XREVRANGE", f"{self._root}r:{_GATEWAY}", "+", "-", "COUNT", 1)
        self._read = entries[0][0].decode() if entries else "0-0"
        self._run("listen", _GATEWAY, self._read, _TTL, _TTL)

    def answered(self, jobs: Sequence[str]) -> None:
        """The gateway's clients have the ends of these jobs (200 at most)."""
        self._run("answered", _GATEWAY, *jobs)

    def woken(self) -> bool:
        """Whether there was a token for an idle worker."""
        return self._timed("wake", pack(("LPOP", f"{self._root}wake:{_QUEUE}"))) is not None

    def run_out(self, leases: Sequence[Leased]) -> None:
        """Their time is up: their entries have been silent for it, while leases were looked after."""
        self.watched()
        stream = f"{self._root}f:{_QUEUE}"
        for lease in leases:
            pending = self.command("XPENDING", stream, "w", lease.entry, lease.entry, 1)
            for _, owner, _, _ in pending:
                self.command("XCLAIM", stream, "w", owner, 0, lease.entry, "IDLE", _TTL, "JUSTID")

    def watched(self) -> None:
        """Leases have been looked after for long, without a gap."""
        looked = round(time.time() * 1000)
        self.command("HSET", f"{self._root}watch", "since", 1, "looked", looked)
        self.command("PEXPIRE", f"{self._root}watch", _TTL)

    def left(self) -> tuple[int, int]:
        """Jobs that wait and that run, as the scripts count them."""
        waiting, running = (self.command("HVALS", f"{self._root}cnt:{kind}") for kind in ("q", "r"))
        return sum(map(int, waiting)), sum(map(int, running))

    def places(self) -> int:
        """Places in which a job still stands: waiting, running, scheduled, or with a deadline."""
        root = self._root
        sets = [f"{root}w:{_QUEUE}:{priority}" for priority in range(3)] + [f"{root}sched", f"{root}dl"]
        return sum(self.command("ZCARD", key) for key in sets) + int(self.command("XLEN", f"{root}f:{_QUEUE}"))

    def state(self, job: str) -> str:
        """Of a job; empty: it is not there."""
        found = self.command("HGET", f"{self._root}j:{job}", "st")
        return found.decode() if found else ""

    def round_trip(self, times: int) -> None:
        """Notes as `ping` what a call costs that does nothing."""
        for _ in range(times):
            self._timed("ping", pack(("PING",)))

    def command(self, *words: Argument) -> Any:
        """The answer to any command."""
        return self._ask(pack(words))

    def _run(self, script: str, *arguments: Argument, name: str = "") -> Any:
        return self._timed(name or script, pack(("EVALSHA", self._scripts[script].sha, 1, self._root, *arguments)))

    def _timed(self, name: str, packed: bytes) -> Any:
        began = time.perf_counter_ns()
        answer = self._ask(packed)
        self.samples.setdefault(name, []).append(time.perf_counter_ns() - began)
        return answer

    def _ask(self, packed: bytes) -> Any:
        self._socket.sendall(packed)
        while (answer := self._reader.gets()) is False:
            if not (received := self._socket.recv(65536)):
                raise ConnectionError("the server hung up")
            self._reader.feed(received)
        if isinstance(answer, Exception):
            raise answer
        return answer
