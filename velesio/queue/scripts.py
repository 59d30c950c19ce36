"""Lua scripts: each is the settings, what it uses of `lua/limits.lua` and `lua/common.lua`, and its own file.

Settings are part of the text, so a call carries only what differs from call to call, and two installations with
different settings can share a server: they have different scripts.
"""

import hashlib
import re
from importlib.resources import files

import msgspec

from velesio.config import BlobSection, QueueSection

NAMES = (
    "alter",
    "answered",
    "beat",
    "cancel",
    "converse",
    "enqueue",
    "finish",
    "forget",
    "leave",
    "listen",
    "measure",
    "overview",
    "pause",
    "place",
    "refund",
    "release",
    "requeue",
    "restart",
    "retry",
    "status",
    "sweep",
    "take",
    "tell",
    "told",
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
    settings = f"local S = {_table(_settings(queue, blobs or BlobSection()))}"
    shared = _parts((folder / "limits.lua").read_text(encoding="utf-8"))
    shared |= _parts((folder / "common.lua").read_text(encoding="utf-8"))
    return {
        name: _script(name, settings, shared, (folder / f"{name}.lua").read_text(encoding="utf-8")) for name in NAMES
    }


def _script(name: str, settings: str, shared: dict[str, str], body: str) -> Script:
    shebang, _, rest = body.partition("\n")
    text = "\n".join((shebang, settings, *_used(shared, rest), rest))
    return Script(name, text, hashlib.sha1(text.encode()).hexdigest())  # noqa: S324 - the server names scripts so


def _parts(common: str) -> dict[str, str]:
    """The names that a text defines, in their order, each with its definition."""
    pieces = re.split(r"^(?=local )", common, flags=re.MULTILINE)[1:]
    return {re.match(r"local (?:function )?(\w+)", piece)[1]: piece for piece in pieces}  # type: ignore[index]


def _used(shared: dict[str, str], body: str) -> list[str]:
    """The definitions that a script needs, by itself or through others: the server runs all of its text at each call,
    and making a function costs it as much as a command."""
    used: list[str] = []
    for name, piece in reversed(shared.items()):
        if any(re.search(rf"\b{name}\b", text) for text in (body, *used)):
            used.insert(0, piece)
    return used


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
        "answered_ttl": _ms(queue.answered_ttl),
        "result_ttl": _ms(queue.result_ttl),
        "failed_ttl": _ms(queue.failed_ttl),
        "idempotency_ttl": _ms(queue.idempotency_ttl),
        "dead_letters": queue.dead_letters,
        "reply_length": queue.reply_length,
        "output_length": queue.output_length,
        "look_ahead": queue.look_ahead,
        "look_ahead_wait": _ms(queue.look_ahead_wait),
        "blob_budget": blobs.budget,
        "usage_days": queue.usage_days,
        "usage_hours": queue.usage_hours,
        "usage_rows": queue.usage_rows,
        "audit_length": queue.audit_length,
    }


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _table(values: dict[str, float]) -> str:
    return "{" + ", ".join(f"{name} = {value}" for name, value in values.items()) + "}"
