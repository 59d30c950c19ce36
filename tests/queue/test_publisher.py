"""Events on their way."""

import asyncio

import pytest

from tests.queue.worker import collect, done, serving, text, until, working
from velesio.errors import BrokerUnavailable
from velesio.jobs import Completion, Delta, Job
from velesio.queue import wire
from velesio.queue.client import JobQueue
from velesio.queue.lease import Lease
from velesio.queue.publisher import Publisher


async def test_events_travel_together(broker) -> None:
    """What accumulates while a message is on its way goes out as one."""
    async with serving(broker) as gateway, working(broker) as worker:
        job = gateway.job(stream=True)
        await gateway.queue.enqueue(job)
        lease = await worker.one()
        stream = broker.keys.replies("g")
        before = await broker.command("XLEN", stream)
        for number in range(500):
            worker.publisher.publish(lease, Delta(f"{number}"))

        async def sent() -> bool:
            return lease.buffered == 0

        await until(sent)
        assert await broker.command("XLEN", stream) - before <= 5
        await worker.leases.settle(lease, done())


async def test_a_gateway_in_this_process_is_told_directly(broker) -> None:
    """Its events come before anything is awaited, in order and not through its stream; the end goes through the broker.
    Once it parts, they go through the stream again."""
    async with serving(broker) as gateway, working(broker) as worker:
        worker.publisher.join(gateway.name, gateway.inbox.deliver)
        job = gateway.job(stream=True)
        async with gateway.inbox.watch(job) as watch:
            await gateway.queue.enqueue(job)
            lease = await worker.one()
            stream = broker.keys.replies(gateway.name)
            before = await broker.command("XLEN", stream)
            for letter in "ab":
                worker.publisher.publish(lease, Delta(letter))
            assert lease.buffered == 0
            assert await broker.command("XLEN", stream) == before
            assert await anext(watch) == [Delta("a"), Delta("b")]
            worker.publisher.part(gateway.name)
            worker.publisher.publish(lease, Delta("c"))
            assert lease.buffered > 0
            await worker.leases.settle(lease, done("abc"))
            assert await collect(watch) == [Delta("c"), done("abc")]


async def test_what_waits_is_bounded(broker) -> None:
    """While the broker is away a job keeps one MiB; the rest comes with the result."""
    async with serving(broker) as gateway, working(broker) as worker:
        job = gateway.job(stream=True)
        async with gateway.inbox.watch(job) as watch:
            await gateway.queue.enqueue(job)
            lease = await worker.one()
            real = broker.command

            def away(*arguments, **options):
                raise BrokerUnavailable

            broker.command = away
            for _ in range(30):
                worker.publisher.publish(lease, Delta("x" * 100_000))
            assert lease.buffered <= 1024 * 1024
            broker.command = real
            await worker.leases.settle(lease, done("x" * 3_000_000))
            events = [event async for batch in watch for event in batch]
        assert sum(len(event.text) for event in events[:-1]) == 3_000_000


async def test_a_final_event_is_not_published(broker) -> None:
    """Finals end leases: they go to settle, which is fenced."""
    async with working(broker) as worker:
        await JobQueue(broker).enqueue(text())
        lease = await worker.one()
        with pytest.raises(ValueError, match="settle"):
            worker.publisher.publish(lease, done())
        await worker.leases.settle(lease, done())


async def test_a_job_ends_while_another_begins(broker) -> None:
    """Of two background jobs one begins just when the last events of the other have left: both get their ends."""
    publisher = Publisher(broker)
    one, two = (Lease(Job.new("m", Completion(prompt="x"), stream=True), attempt=1) for _ in range(2))
    publisher.publish(one, Delta("a"))
    outbox = publisher._outbox(one)
    await asyncio.sleep(0)
    assert outbox.sending
    resting = asyncio.create_task(publisher.rest(one))
    await asyncio.sleep(0)
    assert outbox._sent is not None
    outbox._sent.add_done_callback(lambda _: publisher.publish(two, Delta("b")))
    assert await resting == []
    assert await publisher.rest(two) in ([], [wire.encode(wire.Note(two.job.id, 1, 0, Delta("b")))])
    await publisher.close()
