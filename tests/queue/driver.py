"""The scripts called directly, over a synchronous client, with the clock in the test's hand."""

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import redis

from velesio.config import QueueSection
from velesio.queue import scripts, wire
from velesio.queue.keys import Keys

DAY = 86_400_000


class Taken(NamedTuple):
    id: str
    attempt: int
    crashes: int
    entry: str
    releases: int
    fields: list[bytes]


class Driver:
    """One installation's scripts. Times are ms; every call takes `self.now`."""

    def __init__(self, client: redis.Redis, queue: QueueSection, prefix: str = "t") -> None:
        self.client = client
        self.keys = Keys(prefix)
        self.root = self.keys.root
        self.scripts = scripts.load(queue)
        self.now = 1_000_000_000_000

    def run(self, name: str, *arguments: Any) -> Any:
        script = self.scripts[name]
        try:
            return self.client.evalsha(script.sha, 1, self.root, *arguments)
        except redis.exceptions.NoScriptError:
            return self.client.eval(script.text, 1, self.root, *arguments)

    def enqueue(
        self,
        job: str,
        *,
        tenant: str = "a",
        priority: int = 1,
        model: str = "m",
        cost: float = 1.0,
        weight: float = 1.0,
        ttl: int = DAY,
        gateway: str = "",
        stream: int = 0,
        prefixes: Iterable[str] = (),
        idempotency: str = "",
        fingerprint: str = "",
        delay: int = 0,
    ) -> str:
        self.answer = self.run(
            "enqueue", job, self.now, "text", model, priority, tenant, weight, cost, ttl, gateway, stream,
            b"payload", " ".join(prefixes), idempotency, fingerprint, delay,
        )  # fmt: skip
        return self.answer[0].decode()

    def take(
        self,
        owner: str = "w",
        room: int | dict[str, int] = 1,
        *,
        running: int = 0,
        prefixes: Iterable[str] = (),
        known: Iterable[str] | None = None,
    ) -> list[Taken]:
        rooms = room if isinstance(room, dict) else {"m": room}
        models = [item for model, size in rooms.items() for item in ("text", model, size)]
        hashes = list(prefixes)
        leases, more, _ = self.run(
            "take", owner, self.now, running, int(known is not None), len(rooms), *models, len(hashes), *hashes,
            *(known or ()),
        )  # fmt: skip
        self.more = [queue.decode() for queue in more]
        return [Taken(job.decode(), att, crash, entry.decode(), rel, f) for job, att, crash, entry, rel, f in leases]

    def finish(self, lease: Taken, owner: str = "w", state: str = "done", *, dead: int = 0) -> str:
        return self.run(
            "finish", owner, lease.id, lease.attempt, self.now, state, b"result", dead, wire.message([])
        ).decode()

    def retry(self, lease: Taken, owner: str = "w", delay: int = 1000) -> str:
        return self.run("retry", owner, lease.id, lease.attempt, self.now, delay, b"result", wire.message([])).decode()

    def release(self, lease: Taken, owner: str = "w") -> str:
        return self.run("release", owner, lease.id, lease.attempt, self.now).decode()

    def cancel(self, job: str, reason: str = "asked") -> str:
        return self.run("cancel", job, self.now, reason).decode()

    def requeue(self, job: str, terms: bytes = b"") -> Any:
        answer = self.run("requeue", job, self.now, DAY, terms)
        return answer.decode() if isinstance(answer, bytes) else answer

    def beat(self, *leases: Taken, owner: str = "w") -> tuple[list[str], dict[str, str]]:
        held = [item for lease in leases for item in (lease.id, lease.attempt, "")]
        gone, orders, *_ = self.run("beat", owner, self.now, b"\x90", b"\x80", 0, *held)
        texts = [item.decode() for item in orders]
        return [job.decode() for job in gone], dict(zip(texts[::2], texts[1::2], strict=True))

    def sweep(self) -> int:
        return self.run("sweep", self.now, 1)

    def expire(self, *leases: Taken, model: str = "m") -> None:
        """Let leases run out: their entries have been idle for a day, and somebody was there all the time."""
        self.client.hset(f"{self.root}watch", mapping={"since": 1, "looked": round(time.time() * 1000)})
        self.client.expire(f"{self.root}watch", 60)
        for lease in leases:
            stream = f"{self.root}f:text:{model}"
            for pending in self.client.xpending_range(stream, "w", lease.entry, lease.entry, 1):
                owner, entry = pending["consumer"], pending["message_id"]
                self.client.xclaim(stream, "w", owner, 0, [entry], idle=DAY, justid=True)

    def state(self, job: str) -> str:
        value = self.client.hget(self.keys.job(job), "st")
        return value.decode() if value else ""

    def field(self, job: str, name: str) -> str:
        value = self.client.hget(self.keys.job(job), name)
        return value.decode() if value is not None else ""

    def events(self, gateway: str) -> list[wire.Note]:
        return self.notes(self.keys.replies(gateway))

    def notes(self, stream: str) -> list[wire.Note]:
        entries = self.client.execute_command("XRANGE", stream, "-", "+")
        return [note for _, fields in entries for note in wire.read_message(fields[b"b"])]

    def open_gateway(self, gateway: str) -> None:
        self.run("listen", gateway, "0-0", 15_000, 60_000)
