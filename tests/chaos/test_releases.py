"""Releases beside each other: what a newer or an older one writes into the broker is read, or refused without harm."""

import asyncio
import time
from typing import Any

import msgspec
import pytest

from tests.chaos.cluster import QUICK, echo
from tests.chaos.conftest import MakeBroker
from tests.chaos.stream import Stream, asks, says
from tests.end_to_end.process import Start, eventually
from tests.queue.worker import collect, done, serving, working
from velesio.backends.base import ModelCard
from velesio.config import QueueSection, RedisSection
from velesio.jobs import (
    Cancelled,
    Chat,
    Completed,
    Completion,
    Control,
    Delta,
    Failed,
    Hires,
    Image,
    ImageResult,
    Inpaint,
    Job,
    Preview,
    Progress,
    Sampling,
    Started,
    TextResult,
    Timings,
    Usage,
    is_final,
)
from velesio.queue import wire
from velesio.queue.broker import Broker
from velesio.queue.client import JobQueue
from velesio.queue.registry import Registry, WorkerInfo

TEXT = TextResult("a b", (1, 2), "word", "b", Usage(3, 2, 1), Timings(1.0, 2.0), slot=3, seed=4, prompt="p")
CANNY = Control(model="canny", weight=0.5)
PARAMS = [
    Completion(
        "a", sampling=Sampling(temperature=0.5, logit_bias=((5, 1.0), ("x", None))), max_tokens=7, stop=("stop",)
    ),
    Chat([{"role": "user", "content": "a"}], sampling=Sampling(seed=3), template_kwargs={"x": 1}),
    Image("a", width=128, seed=9),
    Image("a", init=(b"png",), inpaint=Inpaint(b"mask", content="noise"), hires=Hires(1.5), controls=(CANNY,)),
]
EVENTS = [
    Started(5),
    Delta("x", (1, 2), 2),
    Progress(1, 20),
    Preview(b"png", 1, 5, 20),
    Completed(TEXT),
    Completed(ImageResult((b"png",), (1,))),
    Failed("job_failed", "why", retry=True, details={"n": 1}),
    Cancelled("why"),
]
CARD = ModelCard(name="m", backend="echo", capability="text", aliases=("n",), slots=3, can_continue=True, meta={"n": 1})
INFO = WorkerInfo(id="w", host="h", pid=7, slots=3, jobs=["j"], info={"loaded": ["m"]})


def foreign(value: Any, *, newer: bool) -> Any:
    """`value` as another release writes it: a newer one with more fields in every struct, an older one without those
    fields at the end (of arrays) or anywhere (of maps) that have their default."""
    if isinstance(value, msgspec.Struct):
        tag, fields = value.__struct_config__.tag, msgspec.structs.fields(value)
        present = [foreign(getattr(value, field.name), newer=newer) for field in fields]
        plain = [
            field.default is not msgspec.NODEFAULT and getattr(value, field.name) == field.default for field in fields
        ]
        if value.__struct_config__.array_like:
            while not newer and plain and plain[-1]:
                plain.pop()
                present.pop()
            return [*([] if tag is None else [tag]), *present, *([{"more": [1, 2]}] if newer else [])]
        found = {
            field.encode_name: item
            for field, item, default in zip(fields, present, plain, strict=True)
            if newer or not default
        }
        return found | ({} if tag is None else {"type": tag}) | ({"more": {"than": "known"}} if newer else {})
    if isinstance(value, list | tuple):
        return [foreign(item, newer=newer) for item in value]
    return value


def written(value: Any, *, newer: bool) -> bytes:
    return msgspec.msgpack.encode(foreign(value, newer=newer))


@pytest.mark.parametrize("newer", [True, False], ids=["newer", "older"])
@pytest.mark.parametrize("params", PARAMS, ids=lambda params: type(params).__name__)
def test_params_of_another_release_are_read(params: Any, newer: bool) -> None:
    """Unknown fields are passed over, missing ones have their defaults."""
    assert wire.read_params(written(params, newer=newer)) == params


@pytest.mark.parametrize("newer", [True, False], ids=["newer", "older"])
def test_events_of_another_release_are_read(newer: bool) -> None:
    """In a message, and finals in a record."""
    notes = [wire.Note("j", 1, number, event) for number, event in enumerate(EVENTS)]
    assert wire.read_message(wire.message([written(note, newer=newer) for note in notes])) == notes
    for event in filter(is_final, EVENTS):
        assert wire.read_final(written(event, newer=newer)) == event


def test_an_end_that_cannot_be_read_is_an_end() -> None:
    """A kind of result that this release does not know fails the job for its reader, at once."""
    unknown = [3, [9, "sound"]]
    [note] = wire.read_message(wire.message([msgspec.msgpack.encode(["j", 2, 5, unknown, "more"])]))
    assert (note.job, note.attempt, note.seq) == ("j", 2, 5)
    assert note.event.code == "not_supported"
    assert wire.read_final(msgspec.msgpack.encode(unknown)) == note.event


@pytest.mark.parametrize("newer", [True, False], ids=["newer", "older"])
async def test_workers_of_another_release_are_known(broker: Broker, newer: bool) -> None:
    """Their models are served; one of a kind that this release does not know is left out, and hides no other."""
    unknown = foreign(CARD, newer=True) | {"name": "voice", "capability": "speech"}
    cards = msgspec.msgpack.encode([foreign(CARD, newer=newer), *([unknown] if newer else [])])
    await broker.run("beat", "w", 0, cards, written(INFO, newer=newer), 1)
    memory = msgspec.msgpack.encode({"card": unknown, "seen": time.time()})
    await broker.command("HSET", f"{broker.keys.root}cards", "voice", memory)
    registry = Registry(broker)
    await registry.start()
    try:
        assert registry.find("n", "text") == CARD
        assert registry.cards() == [CARD]
        [worker] = registry.workers()
        assert msgspec.structs.replace(worker, beat=0.0, cards=[]) == INFO
    finally:
        await registry.close()
        await broker.run("leave", "w")
        await broker.command("DEL", f"{broker.keys.root}cards")


async def test_a_job_and_its_answer_between_releases(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole way: a newer gateway queues, this worker answers; a newer worker answers, this gateway listens."""
    monkeypatch.setattr(wire, "encode", lambda value: written(value, newer=True))
    async with serving(broker) as gateway, working(broker) as worker:
        job = gateway.job("hello", stream=True)
        async with gateway.inbox.watch(job) as watch:
            await gateway.queue.enqueue(job)
            assert b"than" in await broker.command("HGET", broker.keys.job(job.id), "p")
            lease = await worker.one()
            assert lease.job.params == job.params
            worker.publisher.publish(lease, Delta("he ", (1,), 1))
            assert await worker.leases.settle(lease, done("he llo", (1, 2)))
            events = await collect(watch)
    assert "".join(event.text for event in events[:-1]) == "he llo"
    assert events[-1] == done("he llo", (1, 2))


def test_a_job_from_the_future_harms_nobody(start: Start, make_broker: MakeBroker) -> None:
    """A job that this worker cannot read fails in the end, as something unsupported; the worker serves on."""
    broker = make_broker()
    common = (f"redis.url={broker.url}", *QUICK, echo(), "queue.retry_delay=0.1")
    worker = start("worker", *common).ready()
    gateway = start("gateway", *common).ready()
    neighbour = Stream(gateway, asks(100)).reaches(3)
    job_id = _queue_unreadable(broker.url)
    eventually(lambda: broker.client.hget(f"{{vel}}:j:{job_id}", "st") == "failed")
    assert neighbour.whole() == says(100)
    assert gateway.post("/completion", asks(3))[1]["content"] == says(3)
    assert worker.process.poll() is None


def _queue_unreadable(url: str) -> str:
    async def queue() -> str:
        connection = await Broker.connect(RedisSection(url=url), QueueSection())
        try:
            job = Job.new("echo", Speech("a"))
            return (await JobQueue(connection).enqueue(job)).id
        finally:
            await connection.close()

    return asyncio.run(queue())


class Speech(msgspec.Struct, frozen=True, tag="speech"):
    """What a later release may be asked for."""

    text: str
