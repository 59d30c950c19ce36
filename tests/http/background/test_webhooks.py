"""Webhooks: the end of a background job is told, signed, until it was heard; nowhere else than allowed."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from aiohttp import web

from tests.http.background.test_jobs import FOREVER, NATIVE, SLOW, ended, queued
from tests.http.conftest import SPECS, StartSite, counted, until
from velesio.config import KeySection, WebhookSection
from velesio.http.background.webhooks import pause_of, secret_of, signature
from velesio.queue.broker import Broker
from velesio.queue.hooks import Hooks

SECRET = "correct horse battery staple"
KEYS = (KeySection(name="a", token="key-a", tenant="one"), KeySection(name="b", token="key-b", tenant="two"))


class Heard(NamedTuple):
    headers: Mapping[str, str]
    body: bytes


class Receiver:
    """A server that is told, with an answer for each call, the last one for all that follow."""

    def __init__(self, *statuses: int) -> None:
        self.heard: list[Heard] = []
        self.statuses = list(statuses) or [200]
        self.address = ""

    async def hear(self, request: web.Request) -> web.Response:
        self.heard.append(Heard(request.headers.copy(), await request.read()))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        return web.Response(status=status, headers={"Location": "/elsewhere"} if status == 302 else {})


@asynccontextmanager
async def receiving(*statuses: int) -> AsyncIterator[Receiver]:
    receiver = Receiver(*statuses)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.hear)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.address = f"http://127.0.0.1:{runner.addresses[0][1]}/hook?token=t"
    try:
        yield receiver
    finally:
        await runner.cleanup()


def section(**options: object) -> WebhookSection:
    given = {"hosts": ("127.0.0.1:*",), "private": True, "secret": SECRET, "retry_delay": 0.01}
    return WebhookSection(**{**given, **options})  # type: ignore[arg-type]


def check(heard: Heard, tenant: str) -> None:
    """As Standard Webhooks' libraries do, with the secret that the tenant was given."""
    secret = base64.b64decode(secret_of(SECRET, tenant).removeprefix("whsec_"))
    signed = f"{heard.headers['webhook-id']}.{heard.headers['webhook-timestamp']}.".encode() + heard.body
    expected = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    assert heard.headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(heard.headers["webhook-timestamp"]) - time.time()) < 60


async def test_the_end_is_told_and_signed(start_site: StartSite) -> None:
    """One message with the job's state; the tenant's own secret proves it; the prompt and the answer stay here."""
    async with receiving() as receiver:
        site = await start_site(keys=KEYS, webhooks=section())
        job = await queued(site, NATIVE | {"webhook": receiver.address}, X_Api_Key="key-b")
        await until(lambda: receiver.heard)
        [heard] = receiver.heard
        check(heard, "two")
        told = json.loads(heard.body)
        assert told["type"] == "job.completed"
        assert (told["data"]["id"], told["data"]["state"], told["data"]["error"]) == (job, "done", None)
        assert heard.headers["webhook-id"] == f"msg_{job}_1"
        assert b"one two three" not in heard.body
        assert (await site.get(f"/v1/jobs/{job}/result", X_Api_Key="key-b")).status == 200
        assert (await site.get(f"/v1/jobs/{job}/result", X_Api_Key="key-a")).status == 404


async def test_failures_and_cancellations_are_told_with_their_reason(start_site: StartSite) -> None:
    """In the same shape as the job's own address tells them."""
    async with receiving() as receiver:
        site = await start_site(specs=(*SPECS, SLOW), webhooks=section())
        failing = {"url": "/completion", "body": {"prompt": "[[fail no such luck]]"}, "webhook": receiver.address}
        job = await queued(site, failing)
        await until(lambda: receiver.heard)
        told = json.loads(receiver.heard[0].body)
        assert told["type"] == "job.failed"
        assert told["data"]["error"] == (await ended(site, job))["error"]
        body = {**FOREVER["body"], "model": "slow"}
        job = await queued(site, {**FOREVER, "body": body, "webhook": receiver.address})
        await site.ask("DELETE", f"/v1/jobs/{job}")
        await until(lambda: len(receiver.heard) == 2)
        assert json.loads(receiver.heard[1].body)["type"] == "job.cancelled"


async def test_it_is_told_until_it_was_heard(start_site: StartSite) -> None:
    """Errors and redirects, which are not followed, are tried again: the same id and body, a signature of the day."""
    async with receiving(500, 302, 429, 204) as receiver:
        site = await start_site(webhooks=section())
        before = counted("velesio_webhooks_total", outcome="retried")
        await queued(site, NATIVE | {"webhook": receiver.address})
        await until(lambda: len(receiver.heard) == 4, within=10)
        assert len({heard.headers["webhook-id"] for heard in receiver.heard}) == 1
        assert len({heard.body for heard in receiver.heard}) == 1
        for heard in receiver.heard:
            check(heard, "default")
        await until(lambda: counted("velesio_webhooks_total", outcome="retried") == before + 3)


async def test_a_gateway_that_dies_leaves_the_message_to_others(start_site: StartSite, broker: Broker) -> None:
    """One took it and never said what became of it: when its time is over, another delivers the same message."""
    async with receiving() as receiver:
        hooks, job = Hooks(broker), "0" * 32
        await hooks.hang(job, receiver.address, 60, tenant="default", model="parrot", created=1.0)
        key, tell = broker.keys.hook(job), f"{broker.keys.root}tell"
        await broker.command("HSET", key, "st", "done", "end", 1000, "number", 1, "tries", 0, "r", "")
        await broker.command("ZADD", tell, 1, job)
        await broker.command("EXPIRE", tell, 60)
        [taken] = await hooks.due(1, 0.5)
        await start_site(webhooks=section())
        await until(lambda: receiver.heard)
        assert receiver.heard[0].headers["webhook-id"] == f"msg_{job}_1"
        assert not await hooks.told(taken), "the one that was too slow has nothing to say"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://example.org/x", "'example.org' is not allowed: this server's webhooks.hosts does not name it"),
        ("https://localhost/x", "not allowed"),
        ("file:///etc/passwd", "whole address"),
        ("", ""),
        (7, "expected a string"),
    ],
)
async def test_other_hosts_are_refused_before_the_job_is_queued(start_site: StartSite, url: object, said: str) -> None:
    """400 with the field and the remedy; nothing is queued."""
    site = await start_site(webhooks=section())
    answer = await site.post("/v1/jobs", NATIVE | {"webhook": url})
    if not said:
        assert answer.status == 202
        await ended(site, answer.json()["id"])
        return
    assert answer.status == 400
    assert "Field 'webhook'" in answer.json()["error"]["message"]
    assert said in answer.json()["error"]["message"]
    assert (await site.get("/v1/jobs")).json()["data"] == []


async def test_names_of_private_addresses_are_never_called(start_site: StartSite) -> None:
    """`localhost` is in the list and `private` is not on: the connection finds out what the name stands for."""
    async with receiving() as receiver:
        site = await start_site(webhooks=section(hosts=("localhost:*",), private=False, attempts=1))
        before = counted("velesio_webhooks_total", outcome="given_up")
        address = receiver.address.replace("http://127.0.0.1", "https://localhost")
        await queued(site, NATIVE | {"webhook": address})
        await until(lambda: counted("velesio_webhooks_total", outcome="given_up") == before + 1)
        assert receiver.heard == []


async def test_a_repeated_request_hangs_no_second_hook(start_site: StartSite) -> None:
    """An idempotency key names one job, which has one hook."""
    async with receiving() as receiver:
        site = await start_site(webhooks=section())
        body = NATIVE | {"webhook": receiver.address}
        job = await queued(site, body, Idempotency_Key="k")
        assert await queued(site, body, Idempotency_Key="k") == job
        await until(lambda: receiver.heard)
        hooks = await site.gateway.broker.command("KEYS", f"{site.gateway.broker.keys.root}hook:*")
        assert len(hooks) <= 1
        assert len((await site.get("/v1/jobs")).json()["data"]) == 1


def test_the_pause_doubles_up_to_a_bound() -> None:
    """With jitter downwards only; a receiver may ask for more, but not for ever; after the last try there is none."""
    times = [pause_of(section(attempts=9, retry_delay=1.0, retry_delay_max=8.0), tries) for tries in range(1, 10)]
    assert times[-1] is None
    for pause, longest in zip(times, (1, 2, 4, 8, 8, 8, 8, 8), strict=False):
        assert pause is not None
        assert longest / 2 <= pause <= longest
    assert pause_of(section(retry_delay=1.0), 1, asked=100.0) == 100.0
    assert pause_of(section(retry_delay=1.0, retry_delay_max=50.0), 1, asked=100.0) == 50.0


def test_the_signature_is_standard_webhooks() -> None:
    """The example of the specification."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert secret_of(SECRET, "one") != secret_of(SECRET, "two")
