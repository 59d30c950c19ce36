"""Lua scripts: each is the settings, `lua/common.lua` and its own file as one text.

Settings are part of the text, so a call carries only what differs from call to call, and two installations with
different settings can share a server: they have different scripts.
"""

import hashlib
from importlib.resources import files

import msgspec

from velesio.config import BlobSection, QueueSection

NAMES = (
    "beat",
    "cancel",
    "enqueue",
    "finish",
    "leave",
    "listen",
    "place",
    "release",
    "requeue",
    "restart",
    "retry",
    "status",
    "sweep",
    "take",
    "workers",
)

_ALONE_WAIT = 1.0
"""Seconds that a suspect of a crash waits before busy workers stop taking other jobs, so that it can run alone."""


class Script(msgspec.Struct, frozen=True):
    """One script as the server gets it."""

    name: str
    text: str
    sha: str


def load(queue: QueueSection, blobs: BlobSection | None = None) -> dict[str, Script]:
    """Every script, made for these settings."""
    folder = files("velesio.queue") / "lua"
    common = (folder / "common.lua").read_text(encoding="utf-8")
    head = f"local S = {_table(_settings(queue, blobs or BlobSection()))}\n{common}\n"
    return {name: _script(name, head, (folder / f"{name}.lua").read_text(encoding="utf-8")) for name in NAMES}


def _script(name: str, head: str, body: str) -> Script:
    shebang, _, rest = body.partition("\n")
    text = f"{shebang}\n{head}{rest}"
    return Script(name, text, hashlib.sha1(text.encode()).hexdigest())  # noqa: S324 - the server names scripts so


def _settings(queue: QueueSection, blobs: BlobSection) -> dict[str, float]:
    return {
        "lease": _ms(queue.lease),
        "gap": _ms(max(queue.lease / 2, 2 * queue.reclaim_interval)),
        "worker_ttl": _ms(3 * queue.beat),
        "sweep": _ms(queue.reclaim_interval / 2),
        "max_attempts": queue.max_attempts,
        "max_crashes": queue.max_crashes,
        "alone_wait": _ms(min(_ALONE_WAIT, queue.lease)),
        "retry_delay_max": _ms(queue.retry_delay_max),
        "cap": queue.cap,
        "tenant_cap": queue.tenant_cap,
        "memory_reserve": queue.memory_reserve,
        "result_ttl": _ms(queue.result_ttl),
        "failed_ttl": _ms(queue.failed_ttl),
        "idempotency_ttl": _ms(queue.idempotency_ttl),
        "dead_letters": queue.dead_letters,
        "reply_length": queue.reply_length,
        "output_length": queue.output_length,
        "look_ahead": queue.look_ahead,
        "look_ahead_wait": _ms(queue.look_ahead_wait),
        "blob_budget": blobs.budget,
    }


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _table(values: dict[str, float]) -> str:
    return "{" + ", ".join(f"{name} = {value}" for name, value in values.items()) + "}"
