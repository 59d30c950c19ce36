"""Fairness as clients meet it: who comes late with little is not kept waiting by who came first with much."""

import asyncio
import json

import aiohttp

from tests.chaos.cluster import QUICK, echo
from tests.chaos.conftest import MakeBroker
from tests.chaos.stream import asks
from tests.end_to_end.process import Start

FREE = "limits={requests=0, concurrent=0}"
KEYS = f'keys=[{{name="a", token="key-of-a", tenant="A", {FREE}}}, {{name="b", token="key-of-b", tenant="B", {FREE}}}]'
MANY, FEW, AMONG = 1000, 10, 40


async def test_a_small_tenant_is_not_kept_waiting(start: Start, make_broker: MakeBroker) -> None:
    """A thousand jobs of A are queued, then ten of B: B's last one is served among the first forty."""
    broker = make_broker()
    common = (f"redis.url={broker.url}", *QUICK, "queue.cap=2000", "queue.tenant_cap=2000", KEYS)
    (await asyncio.to_thread(start, "worker", *common, echo(slots=1, pace=1000))).ready()
    gateway = start("gateway", *common, echo(slots=1, pace=1000)).ready()
    served: list[str] = []
    headers = {tenant: {"Authorization": f"Bearer key-of-{tenant.lower()}"} for tenant in "AB"}
    timeout = aiohttp.ClientTimeout(total=100)
    async with aiohttp.ClientSession(gateway.url, connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:

        async def ask(tenant: str) -> None:
            async with session.post("/completion", json=asks(3), headers=headers[tenant]) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()
                served.append(tenant)

        async def waiting() -> int:
            async with session.get("/queue/status", headers=headers["A"]) as answer:
                return int(json.loads(await answer.read())["depth"])

        async def queue(tenant: str, count: int, depth: int) -> list[asyncio.Task[None]]:
            tasks = [asyncio.create_task(ask(tenant)) for _ in range(count)]
            while await waiting() < depth:
                await asyncio.sleep(0.05)
            return tasks

        # The only slot is taken until everything is queued.
        blocker = await session.post(
            "/completion", json=asks(9000, "[[sleep 0.01]] ", stream=True), headers=headers["A"]
        )
        await blocker.content.readline()
        tasks = await queue("A", MANY, MANY)
        tasks += await queue("B", FEW, MANY + FEW)
        assert not served
        blocker.close()
        await asyncio.gather(*tasks)
    assert len(served) == MANY + FEW
    last = max(place for place, tenant in enumerate(served, 1) if tenant == "B")
    assert last <= AMONG, last
