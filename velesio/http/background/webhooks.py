"""Webhooks: tells other servers of the ends of background jobs, signed, until they have heard it.

The messages wait in the broker (`queue.hooks`), so that any gateway delivers what another one left. Headers and
signature are those of the Standard Webhooks specification: `webhook-id`, `webhook-timestamp` and `webhook-signature`,
which is `v1,` and the HMAC-SHA256 of `id.timestamp.body` in base64. Each tenant has a secret of its own, made from the
server's, so that no tenant can sign for another.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import random
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp
import structlog
from aiohttp import hdrs, web

from velesio import metrics
from velesio.config import WebhookSection
from velesio.errors import BrokerUnavailable, Forbidden
from velesio.http.addresses import allowed
from velesio.http.dispatch import error_of
from velesio.http.families import OPENAI
from velesio.http.outbound import Outbound
from velesio.http.wire import bad_field, encode
from velesio.jobs import Cancelled, Failed
from velesio.queue.hooks import Hooks, Message
from velesio.queue.tasks import Loop, stop

log = structlog.get_logger("velesio.http")

PREFIX = "whsec_"
OPTION = "webhooks.hosts"
_PAUSE = 0.5
_AT_ONCE = 16
_SPARE = 5.0
"""Seconds beyond the time for one try after which another gateway tries."""
_TYPES = {"done": "job.completed", "failed": "job.failed", "cancelled": "job.cancelled"}


def secret_of(secret: str, tenant: str) -> str:
    """The secret with which a tenant checks what it is sent, as Standard Webhooks' libraries read it."""
    return PREFIX + base64.b64encode(_key(secret, tenant)).decode()


def _key(secret: str, tenant: str) -> bytes:
    return hmac.digest(secret.encode(), f"webhook\0{tenant}".encode(), hashlib.sha256)


def signature(key: bytes, name: str, timestamp: int, body: bytes) -> str:
    """Of one message."""
    digest = hmac.digest(key, f"{name}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


def body_of(message: Message) -> dict[str, Any]:
    """What is sent: that the job has ended, and how. Its result is fetched with the key, at `/v1/jobs/{id}/result`."""
    ended = datetime.fromtimestamp(message.ended, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    job: dict[str, Any] = {
        "id": message.job,
        "object": "job",
        "state": message.state,
        "model": message.model,
        "created": message.created,
        "ended": message.ended,
        "error": None,
    }
    if isinstance(message.result, Failed | Cancelled):
        job |= OPENAI.body(error_of(message.result))
    return {"type": _TYPES[message.state], "timestamp": ended, "data": job}


def pause_of(section: WebhookSection, tries: int, asked: float | None = None) -> float | None:
    """Seconds until the next try, after so many; None: there is none. `asked` is what the receiver wants."""
    if tries >= section.attempts:
        return None
    delay = min(section.retry_delay_max, section.retry_delay * 2.0 ** (tries - 1))
    # The jitter spreads what failed together.
    return max(delay * random.uniform(0.5, 1), min(asked or 0.0, section.retry_delay_max))  # noqa: S311


class Webhooks:
    """One gateway's part in the deliveries."""

    def __init__(self, section: WebhookSection, hooks: Hooks) -> None:
        self.hooks = hooks
        self._section = section
        self._out = Outbound(private=section.private, timeout=section.timeout, connections=_AT_ONCE)
        self._loop = Loop("webhooks", self._turn, pause=_PAUSE)
        self._under_way: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Deliver what is due, if any host is allowed."""
        if self._section.hosts:
            self._loop.start()

    async def close(self) -> None:
        """Stop; what was under way is delivered by another gateway, or by this one when it is back."""
        await self._loop.close()
        await stop(*self._under_way)
        await self._out.close()

    def check(self, url: Any, path: str) -> str:
        """The address, if it may be told.

        Raises:
            BadRequest: naming the field at `path`.
        """
        if not isinstance(url, str) or not url:
            raise bad_field(path, "expected an address, like https://hooks.example.org/velesio")
        try:
            return str(allowed(url, self._section.hosts, private=self._section.private, option=OPTION))
        except Forbidden as error:
            raise bad_field(path, error.message) from None

    async def _turn(self) -> None:
        room = _AT_ONCE - len(self._under_way)
        if room <= 0:
            await asyncio.wait(self._under_way, return_when=asyncio.FIRST_COMPLETED)
            return
        for message in await self.hooks.due(room, self._section.timeout + _SPARE):
            task = asyncio.create_task(self._deliver(message), name=f"webhook {message.job}")
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _deliver(self, message: Message) -> None:
        status, asked = await self._try(message)
        outcome, again = "delivered", None
        if not 200 <= status < 300:
            # 410: the receiver wants no more of these.
            again = None if status == 410 else pause_of(self._section, message.tries, asked)
            outcome = "given_up" if again is None else "retried"
        metrics.child(metrics.webhooks, outcome).inc()
        write = log.warning if outcome == "given_up" else log.info
        write("webhook", outcome=outcome, job_id=message.job, status=status, tries=message.tries)
        with contextlib.suppress(BrokerUnavailable):  # it is due again when the time for this try is over
            await self.hooks.told(message, again)

    async def _try(self, message: Message) -> tuple[int, float | None]:
        """The status that was answered, 0 for none, and in how many seconds the receiver wants to be asked again."""
        try:
            url = allowed(message.url, self._section.hosts, private=self._section.private, option=OPTION)
        except Forbidden as error:  # the list was changed since
            log.info("webhook not allowed any more", job_id=message.job, error=error.message)
            return 410, None
        body = encode(body_of(message))
        try:
            async with self._out.ask("POST", url, body, self._headers(message, body)) as response:
                return response.status, _seconds(response.headers.get(hdrs.RETRY_AFTER, ""))
        except (OSError, TimeoutError, aiohttp.ClientError, ValueError) as error:
            log.debug("webhook not reached", job_id=message.job, error=type(error).__name__)
            return 0, None

    def _headers(self, message: Message, body: bytes) -> dict[str, str]:
        name, now = f"msg_{message.job}_{message.number}", int(time.time())
        headers = {
            "Content-Type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(_key(self._section.secret, message.tenant), name, now, body),
        }
        return headers | ({"traceparent": message.trace} if message.trace else {})


def _seconds(text: str) -> float | None:
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 9 else None


WEBHOOKS = web.AppKey("webhooks", Webhooks)
