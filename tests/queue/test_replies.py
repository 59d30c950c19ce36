"""From the worker's events to the gateway's watch."""

import asyncio
import time

import pytest

from tests.queue.worker import collect, done, serving, text, until, working
from velesio.errors import BrokerUnavailable, DeadlineExceeded
from velesio.jobs import Cancelled, Delta, Failed, JobState, Started
from velesio.queue.transcript import WORKER_LOST

QUICK = {"lease": 0.5, "beat": 0.1, "reclaim_interval": 0.1}


async def test_a_stream_arrives_in_order_and_ends(broker) -> None:
    """What is published arrives in order, once, with the final event last."""
    async with serving(broker) as gateway, working(broker) as worker:
        job = gateway.job(stream=True)
        answer = asyncio.create_task(gateway.ask(job))
        lease = await worker.one()
        events = [Started(3), *[Delta(f"{number} ", (number,)) for number in range(50)]]
        for event in events:
            worker.publisher.publish(lease, event)
        final = done("".join(f"{number} " for number in range(50)), tuple(range(50)))
        assert await worker.leases.settle(lease, final)
        assert await answer == [*events, final]


async def test_who_wants_no_stream_gets_the_result_only(broker) -> None:
    """Without `stream` nothing but the final event travels."""
    async with serving(broker) as gateway, working(broker) as worker:
        answer = asyncio.create_task(gateway.ask(gateway.job()))
        lease = await worker.one()
        worker.publisher.publish(lease, Delta("x"))
        await worker.leases.settle(lease, done("x"))
        assert await answer == [done("x")]


async def test_many_jobs_share_one_stream(broker) -> None:
    """Answers of jobs that run at once reach each its own watch."""
    async with serving(broker) as gateway, working(broker) as worker:
        jobs = [gateway.job(f"{number}", stream=True) for number in range(40)]
        answers = [asyncio.create_task(gateway.ask(job)) for job in jobs]
        settled = 0
        while settled < len(jobs):
            for lease in await worker.take(8):
                worker.publisher.publish(lease, Delta(lease.job.params.prompt))
                await worker.leases.settle(lease, done(lease.job.params.prompt))
                settled += 1
        for number, answer in enumerate(answers):
            assert await answer == [Delta(f"{number}"), done(f"{number}")]


async def test_a_defect_in_reading_is_not_the_end(broker, monkeypatch) -> None:
    """Whatever is raised for one message, the inbox asks for the next."""
    async with serving(broker) as gateway, working(broker) as worker:
        deliver, failed = gateway.inbox._deliver, asyncio.Event()

        def once(body: bytes) -> None:
            if failed.is_set():
                return deliver(body)
            failed.set()
            raise TypeError

        monkeypatch.setattr(gateway.inbox, "_deliver", once)
        await broker.command("XADD", broker.keys.replies(gateway.name), "*", "m", b"")
        answer = asyncio.create_task(gateway.ask(gateway.job()))
        await failed.wait()
        await worker.leases.settle(await worker.one(), done("x"))
        assert await answer == [done("x")]


async def test_a_watch_ends_at_its_deadline(broker) -> None:
    """If nothing final comes, not even from the broker, the watch raises DeadlineExceeded by itself."""
    async with serving(broker) as gateway:
        job = gateway.job(deadline=time.time() - 60)
        async with gateway.inbox.watch(job) as watch:
            with pytest.raises(DeadlineExceeded):
                await collect(watch)


async def test_a_job_that_nobody_takes_fails_at_its_deadline(connect) -> None:
    """The broker ends it, with the code of the error."""
    broker = await connect(**QUICK)
    async with serving(broker) as gateway:
        [final] = await gateway.ask(gateway.job(deadline=time.time() + 0.3))
        assert isinstance(final, Failed)
        assert final.code == "deadline_exceeded"


async def test_a_cancelled_job_ends_its_watch(broker) -> None:
    """Cancelled while it waits: the watch hears it from the broker."""
    async with serving(broker) as gateway:
        job = gateway.job()
        answer = asyncio.create_task(gateway.ask(job))
        await until(lambda: gateway.queue.record(job.id))
        assert await gateway.queue.cancel(job.id, "enough")
        assert await answer == [Cancelled("enough")]


async def test_a_lost_worker_is_continued_without_a_seam(connect) -> None:
    """The next attempt is told which tokens the reader has; the dead one is not heard any more."""
    broker = await connect(**QUICK)
    async with serving(broker) as gateway, working(broker, "second") as second:
        first = await _dying_worker(broker, gateway)
        lease = first.lease
        first.worker.publisher.publish(lease, Delta("one ", (1,)))
        first.worker.publisher.publish(lease, Delta("two ", (2,)))
        await until(lambda: first.watch.transcript.length == 8)
        await first.worker.die()
        again = await second.one()
        assert (again.attempt, again.crashes, again.job.sent) == (2, 1, (1, 2))
        first.worker.publisher.publish(lease, Delta("zombie ", (9,)))
        second.publisher.publish(again, Delta("three", (3,)))
        assert await second.leases.settle(again, done("one two three", (1, 2, 3)))
        assert not await first.worker.leases.settle(lease, done("zombie"))
        events = await collect(first.watch)
        assert [event.text for event in events[:-1]] == ["one ", "two ", "three"]
        assert events[-1] == done("one two three", (1, 2, 3))
        await first.close()


async def test_a_stream_that_cannot_be_continued_ends(connect) -> None:
    """A backend that starts anew ends the stream with worker_lost, and the new attempt is cancelled."""
    broker = await connect(**QUICK)
    async with serving(broker) as gateway, working(broker, "second", can_continue=False) as second:
        first = await _dying_worker(broker, gateway)
        first.worker.publisher.publish(first.lease, Delta("one ", (1,)))
        await until(lambda: first.watch.transcript.length == 4)
        await first.worker.die()
        again = await second.one()
        second.publisher.publish(again, Started())
        assert (await collect(first.watch))[-1] == WORKER_LOST
        await until(lambda: second.aborted)
        assert second.aborted == [(again.job.id, "worker_lost")]
        await second.leases.settle(again, Cancelled())
        await first.close()


async def test_text_without_tokens_cannot_be_continued(connect) -> None:
    """If the reader's text came without its tokens, the job fails as worker_lost, for the reader and in the record."""
    broker = await connect(**QUICK)
    async with serving(broker) as gateway, working(broker, "second") as second:
        first = await _dying_worker(broker, gateway)
        first.worker.publisher.publish(first.lease, Delta("one "))
        await until(lambda: first.watch.transcript.length == 4)
        await first.worker.die()
        while (await gateway.queue.record(first.lease.job.id)).state is not JobState.FAILED:
            assert await second.take(wait=0.2) == []
        assert (await collect(first.watch))[-1] == WORKER_LOST
        await first.close()


async def test_a_gone_gateway_does_not_stop_its_jobs(connect) -> None:
    """A job whose gateway died is done from the beginning; its result is kept."""
    broker = await connect(**QUICK)
    async with working(broker, "second") as second:
        async with serving(broker, "gone") as gateway:
            first = await _dying_worker(broker, gateway)
            first.worker.publisher.publish(first.lease, Delta("one ", (1,)))
            await first.worker.die()
        again = await second.one()
        assert again.job.sent == ()
        assert await second.leases.settle(again, done("all"))
        assert (await gateway.queue.record(again.job.id)).result == done("all")
        await first.close()


async def test_a_gateway_that_came_back_late_is_still_asked(connect) -> None:
    """After an outage the sign of life may be missing while the gateway lives: it is asked all the same."""
    broker = await connect(**QUICK)
    async with serving(await connect(lease=60.0, beat=30.0)) as gateway, working(broker, "second") as second:
        first = await _dying_worker(broker, gateway)
        first.worker.publisher.publish(first.lease, Delta("one ", (1,)))
        await until(lambda: first.watch.transcript.length == 4)
        await broker.command("DEL", broker.keys.gateway("g"))
        await first.worker.die()
        again = await second.one()
        assert again.job.sent == (1,)
        await second.leases.settle(again, done("one "))
        await first.close()


async def test_a_gateway_that_does_not_answer_is_not_overtaken(connect) -> None:
    """If the gateway lives but stays silent, the job is given back: beginning anew could repeat text."""
    broker = await connect(**QUICK)
    async with serving(broker) as gateway, working(broker, "second") as second:
        await broker.run("listen", "mute", "0-0", 60_000, 60_000)
        first = await _dying_worker(broker, gateway, job=text(stream=True, gateway="mute"))
        await first.worker.die()
        assert await second.take(wait=1.0) == []

        async def given_back() -> bool:
            assert await second.take(wait=0.2) == []
            return await broker.command("HGET", broker.keys.job(first.lease.job.id), "rel") != b"0"

        await until(given_back, 8)
        await gateway.queue.cancel(first.lease.job.id)
        await first.close()


async def test_a_background_job_is_continued_from_its_log(connect) -> None:
    """Without a gateway the events go to the output log, and a later attempt goes on after what stands there."""
    broker = await connect(**QUICK)
    async with serving(broker) as gateway, working(broker, "second") as second:
        first = await _dying_worker(broker, gateway, job=text(stream=True))
        first.worker.publisher.publish(first.lease, Delta("one ", (1,)))
        log = broker.keys.output(first.lease.job.id)

        async def written() -> bool:
            return await broker.command("XLEN", log) > 1  # the first marks its beginning

        await until(written)
        await first.worker.die()
        again = await second.one()
        assert again.job.sent == (1,)
        await second.leases.settle(again, done("one two"))
        await first.close()


async def test_a_job_that_the_broker_forgot_is_queued_again(connect) -> None:
    """After a flush a job whose reader has seen nothing runs again; one that was half told ends the watch."""
    broker = await connect(**QUICK)
    async with serving(broker) as gateway, working(broker) as worker:
        fresh = asyncio.create_task(gateway.ask(gateway.job("fresh", stream=True)))
        half = asyncio.create_task(gateway.ask(gateway.job("half", stream=True)))
        leases = [await worker.one(), await worker.one()]
        [told] = [lease for lease in leases if lease.job.params.prompt == "half"]
        worker.publisher.publish(told, Delta("some"))
        await until(lambda: gateway.inbox._watches[told.job.id].transcript.length)
        await broker.command("FLUSHALL")
        await until(lambda: len(worker.aborted) == 2)
        for lease in leases:
            assert not await worker.leases.settle(lease, Cancelled())
        again = await worker.one()
        assert again.job.params.prompt == "fresh"
        await worker.leases.settle(again, done("ok"))
        assert (await fresh)[-1] == done("ok")
        with pytest.raises(BrokerUnavailable):
            await half


async def test_a_lost_final_event_is_found(connect) -> None:
    """If the end of a job never reaches the stream, the gateway finds it in the record."""
    broker = await connect(**QUICK)
    async with serving(broker) as gateway, working(broker) as worker:
        job = gateway.job()
        answer = asyncio.create_task(gateway.ask(job))
        lease = await worker.one()
        await broker.run(
            "finish", worker.leases.owner, job.id, lease.attempt, 0, "done", _encoded(done("x")), 0, b"\x90"
        )
        assert await asyncio.wait_for(answer, 5) == [done("x")]


async def test_a_full_stream_loses_no_text(connect) -> None:
    """What the stream had to drop before the gateway read it comes with the final event."""
    broker = await connect(reply_length=1)
    async with serving(broker) as gateway, working(broker) as worker:
        answer = asyncio.create_task(gateway.ask(gateway.job(stream=True)))
        lease = await worker.one()
        worker.publisher.publish(lease, Delta("a" * 100))
        await worker.publisher.rest(lease)  # this one gets lost
        worker.publisher.publish(lease, Delta("b" * 100))
        await worker.leases.settle(lease, done("a" * 100 + "b" * 100))
        events = await answer
        assert "".join(event.text for event in events[:-1]) == "a" * 100 + "b" * 100


async def test_closing_ends_the_watches(broker) -> None:
    """A gateway that closes tells its watches, and leaves neither stream nor liveness behind."""
    async with serving(broker) as gateway:
        job = gateway.job()
        answer = asyncio.create_task(gateway.ask(job))
        await until(lambda: gateway.queue.record(job.id))
    with pytest.raises(BrokerUnavailable):
        await answer
    assert await broker.command("EXISTS", broker.keys.replies("g"), broker.keys.gateway("g")) == 0
    await gateway.queue.cancel(job.id)


def _encoded(final) -> bytes:
    from velesio.queue import wire

    return wire.encode(final)


class _Dying:
    def __init__(self, worker, lease, watch) -> None:
        self.worker, self.lease, self.watch = worker, lease, watch

    async def close(self) -> None:
        await self.worker.publisher.close()
        self.watch.close()


async def _dying_worker(broker, gateway, job=None) -> _Dying:
    """A worker that holds a streamed job and can be killed; the other worker has not asked for work yet."""
    from tests.queue.worker import Worker

    worker = Worker(broker, "first")
    await worker.leases.start()
    job = job or gateway.job(stream=True)
    watch = gateway.inbox.watch(job)
    await gateway.queue.enqueue(job)
    return _Dying(worker, await worker.one(), watch)


async def test_a_result_that_was_told_is_not_kept(connect) -> None:
    """When the client has its answer, the next beat of its gateway frees the broker of it."""
    broker = await connect(beat=0.1)
    async with serving(broker) as gateway, working(broker) as worker:
        job = gateway.job(stream=True)
        asking = asyncio.create_task(gateway.ask(job))
        await worker.leases.settle(await worker.one(), done("a"))
        assert (await asking)[-1] == done("a")

        async def forgotten() -> bool:
            return not await broker.command("HEXISTS", broker.keys.job(job.id), "r")

        await until(forgotten)
        assert await broker.command("PTTL", broker.keys.job(job.id)) <= 60_000
