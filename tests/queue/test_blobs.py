"""Large inputs and results, in the broker and in files, from the gateway to the worker and back."""

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.queue.worker import Worker, done, serving, text, until, working
from velesio import config
from velesio.config import BlobSection, QueueSection, RedisSection
from velesio.errors import BodyTooLarge, JobNotFound, KeyReused, QueueFull
from velesio.jobs import Cancelled, Delta, Failed, JobState
from velesio.queue import wire
from velesio.queue.blobs import GONE, BlobGone, _InFiles
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.outputs import follow

SMALL = {"max_payload": 1000, "max_result": 1000}
LARGE = "Lorem ipsum dolor sit amet. " * 4000
STORES = pytest.mark.parametrize("store", ["broker", "files"])


@pytest.fixture
async def open_broker(broker: Broker, valkey_url: str, tmp_path: Path) -> AsyncIterator[Callable[..., object]]:
    """A broker with a store and a budget: `await open_broker("files", budget=…, max_result=…)`."""
    opened: list[Broker] = []

    async def open_one(
        store: str = "broker", *, max_bytes: int = 2**20, budget: int = 2**22, **queue: object
    ) -> Broker:
        opened.append(
            await Broker.connect(
                RedisSection(url=valkey_url),
                QueueSection(**(SMALL | queue)),
                blobs=BlobSection(max_bytes=max_bytes, budget=budget),
                folder=tmp_path / "blobs" if store == "files" else None,
            )
        )
        return opened[-1]

    yield open_one
    for one in opened:
        await one.close()


@asynccontextmanager
async def both(broker: Broker):
    async with serving(broker) as gateway, working(broker) as worker:
        yield gateway, worker


async def blob_keys(broker: Broker) -> list[str]:
    return sorted(key.decode() for key in await broker.command("KEYS", broker.keys.blob("*").replace("{", "\\{")))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "blobs").glob("*") if path.name != ".lock")


async def stored(broker: Broker, folder: Path) -> int:
    """How many blobs there are."""
    return len(await blob_keys(broker)) + len(files(folder))


async def held(broker: Broker) -> int:
    """What the broker's blobs take in truth; the count that the scripts keep must say the same."""
    sizes = [await broker.command("STRLEN", key) for key in await blob_keys(broker)]
    assert int(await broker.command("HGET", f"{broker.keys.root}bs", "") or 0) == sum(sizes)
    assert await broker.command("ZCARD", f"{broker.keys.root}bx") == len(sizes)
    return sum(sizes)


@STORES
async def test_large_input_and_result_travel_whole(open_broker, store: str, tmp_path: Path) -> None:
    """Worker, reader and record see them as if they were small; the records hold only references; the input goes with
    the end of the job."""
    broker = await open_broker(store)
    async with both(broker) as (gateway, worker):
        job = gateway.job(LARGE, request=LARGE.encode())
        answer = asyncio.create_task(gateway.ask(job))
        lease = await worker.one()
        assert lease.job.params == job.params
        assert await gateway.queue.params(job.id) == job.params
        assert await stored(broker, tmp_path) == 2
        assert await worker.leases.settle(lease, done(LARGE * 2))
        assert await answer == [done(LARGE * 2)]
        record = await gateway.queue.record(job.id)
        assert (record.state, record.result) == (JobState.DONE, done(LARGE * 2))
        assert await gateway.queue.params(job.id) is None
        assert await gateway.queue.request(job.id) == LARGE.encode()
        assert await stored(broker, tmp_path) == 2  # the request and the result
        assert await broker.command("MEMORY", "USAGE", broker.keys.job(job.id)) < 4000
        [summary] = await gateway.queue.recent(JobState.DONE)
        assert (summary.id, summary.result) == (job.id, None)


async def test_small_jobs_have_no_blobs(open_broker, tmp_path: Path) -> None:
    """Up to max_payload and max_result, everything stays in the record."""
    broker = await open_broker("files", max_payload=200_000, max_result=300_000)
    async with both(broker) as (gateway, worker):
        answer = asyncio.create_task(gateway.ask(job := gateway.job(LARGE)))
        await worker.leases.settle(await worker.one(), done(LARGE))
        assert await answer == [done(LARGE)]
        assert await stored(broker, tmp_path) == 0
        assert (await gateway.queue.record(job.id)).result == done(LARGE)


@STORES
async def test_a_streamed_text_ends_with_its_large_result(open_broker, store: str) -> None:
    """Deltas as ever, and what the stream lacked comes with the result from the blob."""
    broker = await open_broker(store)
    async with both(broker) as (gateway, worker):
        answer = asyncio.create_task(gateway.ask(gateway.job("x", stream=True)))
        lease = await worker.one()
        worker.publisher.publish(lease, Delta("Lorem ", (1,), 1))
        await worker.leases.settle(lease, done(LARGE, (1, 2)))
        first, rest, final = await answer
        assert (first.text + rest.text, final) == (LARGE, done(LARGE, (1, 2)))


@STORES
async def test_an_output_log_is_read_whole(open_broker, store: str) -> None:
    """Readers of a background job get the result from the blob; when it is gone they are told so."""
    broker = await open_broker(store)
    async with working(broker) as worker:
        await JobQueue(broker).enqueue(job := text(LARGE, stream=True))
        await worker.leases.settle(await worker.one(), done(LARGE, (1,)))

        async def read() -> list[object]:
            return [said.event async for batch in follow(broker, job.id) for said in batch]

        assert await read() == [Delta(LARGE, (1,), 0), done(LARGE, (1,))]
        await broker.command("DEL", broker.keys.output(job.id))
        assert (await read())[-1] == done(LARGE, (1,))
        await broker.command("HSET", broker.keys.job(job.id), "r", wire.reference(wire.Stored("broker", "none")))
        with pytest.raises(JobNotFound, match="not kept any more"):
            await read()


async def test_a_lost_final_event_is_found_in_the_record(open_broker) -> None:
    """A watch that heard nothing asks the record, which names the blob."""
    broker = await open_broker(lease=0.5, beat=0.1, reclaim_interval=0.1)
    async with both(broker) as (gateway, worker):
        job = gateway.job("x")
        async with gateway.inbox.watch(job) as watch:
            await gateway.queue.enqueue(job)
            lease = await worker.one()
            real, gateway.inbox._deliver = gateway.inbox._deliver, lambda body: None
            await worker.leases.settle(lease, done(LARGE))
            assert [event async for batch in watch for event in batch] == [done(LARGE)]
            gateway.inbox._deliver = real


async def test_a_reader_who_comes_too_late_is_told(open_broker, client) -> None:
    """A final event whose blob is gone ends the watch with a failure."""
    broker = await open_broker()
    async with serving(broker) as gateway:
        job = gateway.job("x")
        async with gateway.inbox.watch(job) as watch:
            note = wire.Note(job.id, 1, 0, wire.Stored("broker", "none", 1))
            await broker.command("XADD", broker.keys.replies("g"), "*", "b", wire.message([wire.encode(note)]))
            assert [event async for batch in watch for event in batch] == [GONE]


@STORES
async def test_an_input_goes_however_the_job_ends(open_broker, store: str, tmp_path: Path) -> None:
    """Cancelled while it waits, cancelled while it runs, over its deadline: no input stays, in files after a sweep."""
    broker = await open_broker(store)
    queue = JobQueue(broker)
    async with working(broker) as worker:
        await queue.enqueue(waiting := text(LARGE))
        await queue.cancel(waiting.id)
        await queue.enqueue(running := text(LARGE))
        lease = await worker.one()
        await queue.cancel(running.id)
        await worker.leases.settle(lease, Cancelled())
        await queue.enqueue(text(LARGE, deadline=time.time() - 1))
        assert await worker.take(wait=0.05) == []
        await aged(broker, tmp_path)
        assert await stored(broker, tmp_path) == 1  # a failed job can be queued again
        for key in await broker.command("LRANGE", f"{broker.keys.root}end:failed", 0, -1):
            await broker.command("DEL", broker.keys.job(key.decode()))
        await aged(broker, tmp_path)
        assert not files(tmp_path)


async def aged(broker: Broker, folder: Path) -> None:
    """As if every file were an hour old and it were time to sweep."""
    for path in files(folder):
        os.utime(path, (time.time() - 3600,) * 2)
    for store in broker.blobs._stores.values():
        if isinstance(store, _InFiles):
            store._swept = 0.0
            await store.sweep()


@STORES
async def test_a_failed_job_runs_again_with_its_input(open_broker, store: str, tmp_path: Path) -> None:
    """The input of a dead letter stays as long as its record, and goes when the job is done at last."""
    broker = await open_broker(store)
    queue = JobQueue(broker)
    async with working(broker) as worker:
        await queue.enqueue(job := text(LARGE))
        await worker.leases.settle(await worker.one(), Failed("job_failed", "x"))
        await aged(broker, tmp_path)
        assert await stored(broker, tmp_path) == 1
        for key in await blob_keys(broker):
            assert await broker.command("TTL", key) == pytest.approx(broker.settings.failed_ttl, abs=5)
        assert await queue.requeue(job.id)
        for key in await blob_keys(broker):
            assert await broker.command("TTL", key) == pytest.approx(broker.settings.deadline + 600, abs=5)
        lease = await worker.one()
        assert lease.job.params == job.params
        await worker.leases.settle(lease, done())
        assert await stored(broker, tmp_path) == 0


async def test_a_job_without_its_input_is_not_requeued(open_broker) -> None:
    """A dead letter whose blob has expired stays one."""
    broker = await open_broker()
    queue = JobQueue(broker)
    async with working(broker) as worker:
        await queue.enqueue(job := text(LARGE))
        await worker.leases.settle(await worker.one(), Failed("job_failed", "x"))
    await broker.command("DEL", broker.keys.blob(job.id))
    assert not await queue.requeue(job.id)
    assert (await queue.record(job.id)).state is JobState.FAILED


@STORES
async def test_a_job_whose_input_is_gone_fails_and_nothing_else(open_broker, store: str, tmp_path: Path) -> None:
    """Its reader is told why; the worker takes the next job."""
    broker = await open_broker(store)
    async with serving(broker) as gateway:
        lost, next_one = gateway.job(LARGE), gateway.job(LARGE)
        answers = []
        for job in (lost, next_one):
            answers.append(asyncio.create_task(gateway.ask(job)))
            await until(lambda job=job: gateway.queue.record(job.id))
        await broker.command("DEL", broker.keys.blob(lost.id))
        for path in files(tmp_path):
            if path.name.startswith(lost.id):
                path.write_bytes(b"damaged")
        async with working(broker) as worker:
            lease = await worker.one()
            assert lease.job.params == next_one.params
            await worker.leases.settle(lease, done("y"))
        [failed] = await answers[0]
        assert failed.code == "job_failed"
        assert "not there any more" in failed.message
        assert await answers[1] == [done("y")]


async def test_files_that_a_worker_does_not_share(open_broker) -> None:
    """Its jobs fail with the option that is wrong."""
    near, far = await open_broker("files"), await open_broker("broker")
    async with serving(near) as gateway, working(far):
        worker_takes = asyncio.create_task(gateway.ask(gateway.job(LARGE)))
        async with working(far, "second") as second:
            assert await second.take(wait=0.5) == []
            [failed] = await asyncio.wait_for(worker_takes, 5)
        assert "blobs.store" in failed.message


async def test_a_broker_that_is_away_while_an_input_is_fetched(open_broker) -> None:
    """The job is handed over once more, as the same attempt."""
    broker = await open_broker()
    await JobQueue(broker).enqueue(job := text(LARGE))
    async with working(broker) as worker:
        from velesio.errors import BrokerUnavailable

        real = broker.command

        def fail_once(*arguments, **options):
            if arguments[0] != "GET":
                return real(*arguments, **options)
            broker.command = real

            async def fails():
                raise BrokerUnavailable

            return fails()

        broker.command = fail_once
        lease = await worker.one()
        assert (lease.job.params, lease.attempt) == (job.params, 1)
        await worker.leases.settle(lease, done())


@STORES
async def test_an_input_that_is_too_large_is_refused(open_broker, store: str, tmp_path: Path) -> None:
    """413 with the option's name, for params and for the request; nothing is stored."""
    queue = JobQueue(broker := await open_broker(store, max_bytes=5000))
    for job in (text("x" * 5001), text(request=b"x" * 5001)):
        with pytest.raises(BodyTooLarge, match=r"blobs\.max_bytes"):
            await queue.enqueue(job)
        assert await queue.record(job.id) is None
    assert await stored(broker, tmp_path) == 0


@STORES
async def test_a_result_without_room_fails_its_job(open_broker, store: str) -> None:
    """Larger than one may be, or than what is left of the budget: the job ends with the reason, and the next one is
    served."""
    broker = await open_broker(store, max_bytes=20_000, budget=30_000)
    async with both(broker) as (gateway, worker):
        for size, end in ((15_000, None), (15_001, "blobs.budget"), (20_001, "blobs.max_bytes"), (100, None)):
            answer = asyncio.create_task(gateway.ask(gateway.job("x")))
            assert await worker.leases.settle(await worker.one(), final := done("x" * size))
            [got] = await answer
            if end is None:
                assert got == final
            else:
                assert got.code == "out_of_memory"
                assert end in got.message


@STORES
async def test_the_budget_holds_under_concurrency(open_broker, store: str, tmp_path: Path) -> None:
    """However many gateways queue at once, the blobs never take more than the budget; the others are refused with 503
    and a time to come back, and have left nothing."""
    brokers = [await open_broker(store, budget=100_000, max_bytes=50_000) for _ in range(3)]
    jobs = [text("x" * 9_000) for _ in range(30)]
    answers = await asyncio.gather(
        *(JobQueue(brokers[number % 3]).enqueue(job) for number, job in enumerate(jobs)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, QueueFull)]
    assert len(answers) - len(refused) == 100_000 // 9_030
    assert all("blobs.budget" in error.message and error.retry_after >= 1 for error in refused)
    assert await stored(brokers[0], tmp_path) == len(answers) - len(refused)
    if store == "broker":
        assert await held(brokers[0]) <= 100_000
    queue = JobQueue(brokers[0])
    for job, answer in zip(jobs, answers, strict=True):
        assert (await queue.record(job.id) is None) == isinstance(answer, QueueFull)
        await queue.cancel(job.id)
    await aged(brokers[0], tmp_path)
    assert await stored(brokers[0], tmp_path) == 0
    assert await held(brokers[0]) == 0
    await queue.enqueue(again := text("x" * 9_000))
    await queue.cancel(again.id)


async def test_what_has_expired_leaves_room(open_broker) -> None:
    """Blobs that the server dropped by itself no longer count."""
    broker = await open_broker(budget=30_000, max_bytes=20_000, result_ttl=1.0)
    async with both(broker) as (gateway, worker):
        for _ in range(2):
            answer = asyncio.create_task(gateway.ask(gateway.job("x")))
            await worker.leases.settle(await worker.one(), final := done("x" * 18_000))
            assert await answer == [final]

            async def expired() -> bool:
                return not await blob_keys(broker)

            await until(expired)
    assert await broker.command("HLEN", f"{broker.keys.root}bs") == 2


async def test_every_blob_expires(open_broker) -> None:
    """Inputs ten minutes after the deadline, requests and results with their record."""
    broker = await open_broker()
    queue = JobQueue(broker)

    async def left(name: str) -> int:
        return await broker.command("TTL", broker.keys.blob(name))

    async with working(broker) as worker:
        await queue.enqueue(job := text(LARGE, deadline=time.time() + 100, request=LARGE.encode()))
        assert await left(job.id) == pytest.approx(700, abs=5)
        assert await left(f"{job.id}.q") == pytest.approx(100 + 86400, abs=5)
        await worker.leases.settle(await worker.one(), done(LARGE))
        assert await left(job.id) == -2
        assert await left(f"{job.id}.q") == await left(f"{job.id}.r") == pytest.approx(3600, abs=5)
        for index in ("bs", "bx"):
            assert await broker.command("TTL", broker.keys.root + index) > 86400


@STORES
async def test_keys_and_duplicates_mean_what_they_meant(open_broker, store: str, tmp_path: Path) -> None:
    """The same large request under its key is the first job, another is refused, and neither leaves a second blob."""
    broker = await open_broker(store)
    queue = JobQueue(broker)
    first = text(LARGE)
    assert not (await queue.enqueue(first, idempotency_key="k")).duplicate
    assert (await queue.enqueue(first)).duplicate
    again = await queue.enqueue(text(LARGE), idempotency_key="k")
    assert (again.id, again.duplicate) == (first.id, True)
    with pytest.raises(KeyReused):
        await queue.enqueue(text(LARGE + "!"), idempotency_key="k")
    assert await stored(broker, tmp_path) == 1
    assert await queue.params(first.id) == first.params
    await queue.cancel(first.id)


async def test_a_worker_that_was_overtaken_stores_nothing(open_broker) -> None:
    """A result is stored in the same step that checks the lease."""
    broker = await open_broker(lease=0.5, beat=0.1, reclaim_interval=0.1)
    dead = Worker(broker, "dead")
    await dead.leases.start()
    await JobQueue(broker).enqueue(job := text())
    old = await dead.one()
    await dead.die()
    async with working(broker) as worker:
        lease = await worker.one()
        assert not await dead.leases.settle(old, done(LARGE))
        assert await blob_keys(broker) == []
        await worker.leases.settle(lease, done(LARGE))
        assert await blob_keys(broker) == [broker.keys.blob(f"{job.id}.r")]
    await dead.publisher.close()


async def test_files_are_private(open_broker, tmp_path: Path) -> None:
    """Nobody else may read them or list them, whatever the umask."""
    queue = JobQueue(await open_broker("files"))
    before = os.umask(0)
    try:
        await queue.enqueue(job := text(LARGE))
    finally:
        os.umask(before)
    [file] = files(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    await queue.cancel(job.id)


@pytest.mark.parametrize(
    "name",
    ["../secret", "/etc/passwd", ".lock", "", "a" * 65, f"../x-{'0' * 64}", f"x/y-{'0' * 64}", f"x\n-{'0' * 64}"],
)
async def test_a_hostile_name_reaches_no_file(open_broker, tmp_path: Path, name: str) -> None:
    """A reference can name blobs alone: nothing else is read or deleted, and no link is followed."""
    broker = await open_broker("files")
    (tmp_path / "blobs").mkdir(mode=0o700)
    (tmp_path / "secret").write_text("hush")
    reference = wire.reference(wire.Stored("files", name, 4))
    with pytest.raises(BlobGone):
        await broker.blobs.unpack(reference)
    await broker.blobs.drop(reference)
    assert (tmp_path / "secret").read_text() == "hush"
    with pytest.raises(ValueError, match="no name"):
        await broker.blobs.pack_input(name or "../x", "", b"x" * 2000, 10)


async def test_no_link_is_followed(open_broker, tmp_path: Path) -> None:
    """Whoever can write into the folder cannot make a worker read something else through it."""
    import hashlib

    broker = await open_broker("files")
    (tmp_path / "blobs").mkdir(mode=0o700)
    (tmp_path / "secret").write_bytes(b"hush")
    name = f"x-{hashlib.sha256(b'hush').hexdigest()}"
    (tmp_path / "blobs" / name).symlink_to(tmp_path / "secret")
    with pytest.raises(BlobGone):
        await broker.blobs.unpack(wire.reference(wire.Stored("files", name, 4)))


async def test_the_sweep_deletes_what_is_old_and_nobodys(open_broker, tmp_path: Path) -> None:
    """Files whose job still names them stay, as do fresh files and those of other people."""
    broker = await open_broker("files")
    queue = JobQueue(broker)
    await queue.enqueue(job := text(LARGE))
    folder = tmp_path / "blobs"
    for name in (f"gone-{'0' * 64}", f"gone.r-{'0' * 64}", ".new-" + "0" * 16, "notes.txt"):
        (folder / name).write_text("x")
    await aged(broker, tmp_path)
    (folder / f"fresh-{'0' * 64}").write_text("x")
    await aged_not(broker)
    assert {path.name.partition("-")[0] for path in files(tmp_path)} == {job.id, "fresh", "notes.txt"}
    await queue.cancel(job.id)


async def aged_not(broker: Broker) -> None:
    """Time to sweep, with the files as old as they are."""
    broker.blobs._store._swept = 0.0
    await broker.blobs.sweep()


async def test_a_folder_that_cannot_be_written_refuses(open_broker, tmp_path: Path) -> None:
    """503 and a line in the log, not a crash."""
    (tmp_path / "blobs").write_text("in the way")
    queue = JobQueue(await open_broker("files"))
    with pytest.raises(QueueFull, match="cannot be stored"):
        await queue.enqueue(text(LARGE))


@pytest.mark.parametrize(
    ("settings", "folder"),
    [
        ((), "data/blobs/vel"),
        (("redis.url=redis://x",), None),
        (("redis.url=redis://x", "blobs.store=files", "redis.prefix=two", "server.data_dir=/d"), "/d/blobs/two"),
        (("blobs.store=broker",), None),
    ],
)
def test_where_blobs_are(settings: tuple[str, ...], folder: str | None, tmp_path: Path) -> None:
    """Files with the embedded broker, whose processes share a machine; in the broker otherwise; or as told."""
    (tmp_path / "config.toml").write_text("")
    found = config.load(tmp_path / "config.toml", {}, settings).blob_folder
    assert found == (Path(folder) if folder else None)


async def test_a_reference_of_another_release_fails_its_job_alone(open_broker) -> None:
    """What cannot be read is a job without its input, not a worker that takes nothing."""
    broker = await open_broker()
    async with serving(broker) as gateway:
        answer = asyncio.create_task(gateway.ask(job := gateway.job(LARGE)))
        await until(lambda: gateway.queue.record(job.id))
        await broker.command("HSET", broker.keys.job(job.id), "p", b"\xc1\x93")
        async with working(broker) as worker:
            assert await worker.take(wait=0.3) == []
            [failed] = await answer
            assert "another release" in failed.message
            await gateway.queue.enqueue(text("next"))
            await worker.leases.settle(await worker.one(), done())
