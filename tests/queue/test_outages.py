"""Gateway and worker through cuts of the wire: nothing lost, nothing seen twice."""

import asyncio

from tests.queue.proxy import Proxy
from tests.queue.worker import Worker, done, serving
from velesio.config import QueueSection, RedisSection
from velesio.jobs import Delta
from velesio.queue.broker import Broker


async def _remote(proxy: Proxy) -> Broker:
    settings = QueueSection(lease=3.0, beat=0.2, reclaim_interval=0.2)
    return await Broker.connect(RedisSection(url=proxy.url, timeout=0.5), settings)


async def _stream(worker: Worker, words: int) -> None:
    """Performs one job: a word at a time."""
    leases = []
    while not leases:
        leases = await worker.take(wait=0.2)
    [lease] = leases
    start = len(lease.job.sent)
    for number in range(start, words):
        worker.publisher.publish(lease, Delta(f"{number} ", (number,)))
        await asyncio.sleep(0.002)
    final = done("".join(f"{number} " for number in range(words)), tuple(range(words)))
    if not await worker.leases.settle(lease, final):
        await _stream(worker, words)  # it was given to somebody else, which can only be us


async def test_streams_survive_broken_connections(broker, valkey_url) -> None:
    """Connections of both sides break again and again; each answer arrives whole and once."""
    async with Proxy(valkey_url) as proxy:
        remote = await _remote(proxy)
        worker = Worker(remote)
        await worker.leases.start()
        async with serving(remote) as gateway:

            async def trouble() -> None:
                while True:
                    await asyncio.sleep(0.07)
                    proxy.drop()

            troubling = asyncio.create_task(trouble())
            for _ in range(5):
                answer = asyncio.create_task(gateway.ask(gateway.job(stream=True)))
                working = asyncio.create_task(_stream(worker, 100))
                events = await asyncio.wait_for(answer, 20)
                await asyncio.wait_for(working, 20)
                assert "".join(event.text for event in events[:-1]) == events[-1].result.text
            troubling.cancel()
        await worker.close()
        await remote.close()


async def test_an_answer_waits_for_the_broker_to_return(broker, valkey_url) -> None:
    """The worker computes on while the wire is cut; what it buffered arrives afterwards."""
    async with Proxy(valkey_url) as proxy:
        remote = await _remote(proxy)
        worker = Worker(remote)
        await worker.leases.start()
        async with serving(remote) as gateway:
            answer = asyncio.create_task(gateway.ask(gateway.job(stream=True)))
            lease = await worker.one()
            worker.publisher.publish(lease, Delta("before ", (1,)))
            await proxy.cut()
            worker.publisher.publish(lease, Delta("during ", (2,)))
            settling = asyncio.create_task(worker.leases.settle(lease, done("before during after", (1, 2, 3))))
            await asyncio.sleep(1)
            assert not settling.done()
            await proxy.mend()
            assert await asyncio.wait_for(settling, 10)
            events = await asyncio.wait_for(answer, 10)
            assert "".join(event.text for event in events[:-1]) == "before during after"
        await worker.close()
        await remote.close()
