"""Hooks: who wants to be told of a job's end, kept in the broker until somebody has been told.

The script that ends a job makes its hook due; any gateway takes what is due and says what became of it. A gateway that
dies in between loses nothing: its message is due again for the others.
"""

import asyncio
from collections.abc import Iterable
from typing import Any

import msgspec
import structlog

from velesio.jobs import Final
from velesio.queue import wire
from velesio.queue.broker import Broker

log = structlog.get_logger(__name__)

_SPARE = 86400.0
"""Seconds beyond a job's deadline for which its hook is kept; from its end on, the scripts decide."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One end of one job, for one address."""

    job: str
    url: str
    tenant: str
    model: str
    state: str
    """done, failed or cancelled."""
    number: int
    """Of the job's ends: one that is queued again has several."""
    tries: int
    """This one counted."""
    created: float
    ended: float
    """Unix seconds, as `created`."""
    trace: str = ""
    """A traceparent, of the request that queued the job."""
    result: Final | None = None
    """Why it was not done."""


class Hooks:
    """The hooks of one installation."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def hang(
        self, job_id: str, url: str, seconds: float, *, tenant: str, model: str, created: float, trace: str = ""
    ) -> None:
        """Have the address told of the end of a job, which comes within `seconds`. Called before the job is queued: a
        job that ended at once would find no hook otherwise.

        Raises:
            BrokerUnavailable
        """
        key, life = self._key(job_id), round(seconds + _SPARE)
        fields = {"url": url, "ten": tenant, "model": model, "created": f"{created:.3f}", "trace": trace}
        parts = [part for pair in fields.items() for part in pair]
        ask = self._broker.command
        await asyncio.gather(ask("HSET", key, *parts), ask("EXPIRE", key, life))

    async def unhang(self, job_id: str) -> None:
        """Forget a hook, since its job was not queued."""
        await self._broker.command("DEL", self._key(job_id))

    async def due(self, most: int, seconds: float) -> list[Message]:
        """Messages to be delivered within `seconds`, at most so many."""
        found = await self._broker.run("tell", 0, most, round(seconds * 1000), retry=False)
        return read_messages(found)

    async def told(self, message: Message, again: float | None = None) -> bool:
        """It was delivered, or given up; or it is tried `again` in so many seconds. False: it is not this one's any
        more."""
        wait = -1 if again is None else round(again * 1000)
        return bool(await self._broker.run("told", message.job, message.number, message.tries, 0, wait))

    def _key(self, job_id: str) -> str:
        return self._broker.keys.hook(job_id)


def read_messages(found: Iterable[Any]) -> list[Message]:
    """What is due, without what cannot be read: one hook that a newer release has hung must not keep all others
    waiting."""
    messages = []
    for job, fields in found:
        try:
            messages.append(_message(job.decode(), fields))
        except (ValueError, KeyError) as error:
            log.warning("a hook cannot be read", job_id=job.decode(errors="replace"), error=repr(error))
    return messages


def _message(job_id: str, pairs: Any) -> Message:
    items = pairs.items() if isinstance(pairs, dict) else zip(pairs[::2], pairs[1::2], strict=True)
    f = {name.decode(): value for name, value in items}
    return Message(
        job=job_id,
        url=f["url"].decode(),
        tenant=f["ten"].decode(),
        model=f["model"].decode(),
        state=f["st"].decode(),
        number=int(f["number"]),
        tries=int(f["tries"]),
        created=float(f["created"]),
        ended=int(f["end"]) / 1000,
        trace=f["trace"].decode(),
        result=wire.read_final(f["r"]) if f["r"] and not wire.is_reference(f["r"]) else None,
    )
