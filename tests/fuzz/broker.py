"""What the broker holds, as a newer release, another program or a damaged disk might have left it."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from tests.fuzz.source import Source
from tests.fuzz.target import Target
from velesio.backends.base import ModelCard
from velesio.errors import Unreadable
from velesio.http.origin import Origin
from velesio.jobs import Chat, Completed, Completion, Delta, Failed, ImageResult, Job, Progress, Started, TextResult
from velesio.queue import (
    accounts,
    audit,
    choices,
    entries,
    hooks,
    records,
    registry,
    series,
    sessions,
    transcript,
    wire,
    wishes,
)
from velesio.queue.credentials import KeyRecord, Secret
from velesio.queue.playback import Playback
from velesio.queue.recordings import Recording
from velesio.queue.tenants import Tenant
from velesio.states import ModelState, Wish

_pack = msgspec.msgpack.encode


def _read_messages(data: bytes) -> None:
    """A reader of replies and one of a background job's log go on behind whatever they read."""
    notes = wire.read_message(data)
    heard, log = transcript.Transcript(stream=True), Playback()
    for note in notes:
        log.read(note)
        if not isinstance(note.event, wire.Recall | wire.Anew | wire.Stored):
            heard.accept(note.attempt, note.seq, note.event)


def _messages() -> Iterator[bytes]:
    events = (
        *(
            Started(3),
            Delta("é", (1, 2), 2),
            Progress(1, 20),
            wire.Recall(),
            wire.Anew(),
            wire.Stored("broker", "x", 9),
        ),
        *(
            Failed("job_failed", "no"),
            Completed(TextResult("yes", (1,))),
            Completed(ImageResult((b"\x89PNG",), (7,), width=8, height=8)),
        ),
    )
    notes = [_pack(wire.Note("job", 1, number, event)) for number, event in enumerate(events)]
    yield wire.message(notes)
    yield from (wire.message([note, _pack(("job", 1, 9, (77, "new")))]) for note in notes)


_RECORD = {
    "st": b"running",
    "ten": b"default",
    "model": b"m",
    "cap": b"text",
    "prio": b"1",
    "att": b"2",
    "crash": b"0",
    "rel": b"1",
    "wrk": b"w",
    "enq": b"1700000000000",
    "beg": b"1700000000001",
    "tok": b"",
    "end": b"",
    "dl": b"1700000600000",
    "gw": b"",
    "stream": b"1",
    "life": b"0",
    "reason": b"",
    "r": _pack(Failed("a", "b")),
    "past": _pack([("lost", 1, 2, 1, "w", "")]),
}


def _fields(source: Source, whole: dict[str, bytes]) -> dict[str, bytes | None]:
    """A record of which some fields are missing, and some are something else."""
    found: dict[str, bytes | None] = dict(whole)
    for _ in range(source.number(3)):
        name = source.pick(list(whole))
        found[name] = source.pick((None, b"", b"-1", b"nan", b"1e999", b"9" * 5000, b"\xff", b"done", source.rest()))
    return found


def _read_record(data: bytes) -> None:
    fields = _fields(Source(data), _RECORD)
    records.read_record("j", records.FIELDS, [fields.get(name) for name in records.FIELDS])


def _read_job(data: bytes) -> None:
    source = Source(data)
    job = Job.new("m", Completion("x"))
    whole = {
        "cap": b"text",
        "model": b"m",
        "prio": b"1",
        "ten": b"t",
        "cost": b"1.5",
        "dl": b"1700000000000",
        "gw": b"g",
    }
    whole |= {"stream": b"1", "enq": b"1700000000000", "p": _pack(job.params), "trace": b""}
    wire.read_job(b"j", [value or b"" for value in _fields(source, whole).values()])


_HOOK = {
    "url": b"https://x/",
    "ten": b"t",
    "model": b"m",
    "st": b"done",
    "number": b"1",
    "tries": b"1",
    "created": b"1.5",
    "end": b"1700000000000",
    "trace": b"",
    "r": _pack(Completed(TextResult("x"))),
}


def _read_hook(data: bytes) -> None:
    fields = _fields(Source(data), _HOOK)
    hooks.read_messages(
        [(b"j", [part for name, value in fields.items() if value is not None for part in (name.encode(), value)])]
    )


def _read_worker(data: bytes) -> None:
    """Others are known beside a worker that cannot be read."""
    source = Source(data)
    sound = [
        b"other",
        b"1",
        _pack([ModelCard(name="n", backend="llama", capability="text")]),
        _pack(registry.WorkerInfo(id="other")),
    ]
    odd = [b"w", source.pick((b"1", b"x", b"nan", b"")), sound[2], sound[3]]
    odd[source.pick((2, 3, 0))] = source.rest()
    found = registry.read_workers([odd, sound])
    assert found[0].id == "other" or found[-1].id == "other"
    for worker in found:
        worker.models()
        worker.counts("n")


def _workers() -> Iterator[bytes]:
    info = {"models": {"n": ModelState(state="loaded")}, "counts": {"n": {"steps": 1}}}
    yield b"\0\0" + _pack(
        [
            ModelCard(name="n", backend="llama", capability="text", aliases=("a",)),
            ModelCard(name="m", backend="llama", capability="image"),
        ]
    )
    yield b"\0\1" + _pack(registry.WorkerInfo(id="w", state="ready", info=info))
    yield b"\1\2owner"


class _Table(entries.Table[Any]):
    """Without a broker."""

    def __init__(self, kind: type) -> None:
        self._decode = wire.reader(kind)


def _read_tables(data: bytes) -> None:
    for kind in (KeyRecord, Tenant):
        sound = KeyRecord(id="i", name="n") if kind is KeyRecord else Tenant(name="n")
        found = _Table(kind).read({b"sound": _pack(sound), b"odd": data, data: _pack(sound)})
        assert found["sound"] == sound
        for each in found.values():
            each.described()


def _tables() -> Iterator[bytes]:
    yield _pack(KeyRecord(id="i", name="n", models=("a*",), expires=5.0, secrets=(Secret(b"x" * 32, 7.0),)))
    yield _pack(Tenant(name="n", weight=2.0))


_REFERENCES = b"\xc1" + _pack(wire.Stored("files", "x", 9))


def _read_rest(data: bytes) -> None:
    """What is read one at a time, and said to be unreadable one at a time."""
    source = Source(data)
    readers: tuple[Callable[[bytes], object], ...] = (
        *(
            wire.read_params,
            wire.read_final,
            wire.read_reference,
            sessions.read_turn,
            recordings_read,
            audit.read_entry,
        ),
        *(lambda body: accounts.read_row("2027-01-01", source.pick((b"k\x1ft\x1fm", b"\x1f\x1f", body)), body),),
    )
    source.pick(readers)(source.rest())


def recordings_read(body: bytes) -> Recording:
    """As `Shelf.find` reads it."""
    return wire.reader(Recording)(body)


def _rest() -> Iterator[bytes]:
    chat = Chat([{"role": "user", "content": "hi"}])
    bodies = (
        *(_pack(chat), _pack(Completed(TextResult("x"))), _REFERENCES, _pack(sessions.Turn(messages=chat.messages))),
        *(
            _pack(Recording(run="r", gateway="g", jobs=("j",), started=1.0)),
            _pack(audit.Entry(actor="a", action="b", target="c")),
        ),
        *(b'{"a": 1}', _pack([1, 2, 3, 4, 5, 6, 7])),
    )
    yield from (bytes((number,)) + body for number, body in enumerate(bodies))


def _read_leniently(data: bytes) -> None:
    """What cannot be read there counts for nothing."""
    wishes.read_wishes([data])
    if origin := Origin.unpacked(data):
        assert isinstance(origin.url, str)
    choices.read_choices({b"a": data, data: b"1"})
    series.read_spans([(1, [data, b"5", b"tokens m", b"7"])])


def _lenient() -> Iterator[bytes]:
    yield _pack(Wish(number=1, model="m", loaded=True))
    yield Origin("/completion", b'{"prompt": "x"}').packed()
    yield b"17"


def _numbers() -> Iterator[bytes]:
    yield from (bytes((1, number, choice)) + _pack(Failed("a", "b")) for number in range(19) for choice in range(9))


TARGETS = (
    Target("replies", _read_messages, seeds=_messages),
    Target("records", _read_record, (Unreadable,), _numbers),
    Target("jobs", _read_job, (Unreadable,), _numbers),
    Target("hooks", _read_hook, (), _numbers),
    Target("workers", _read_worker, (), _workers),
    Target("tables", _read_tables, (), _tables),
    Target("kept", _read_rest, (Unreadable,), _rest),
    Target("lenient", _read_leniently, (), _lenient),
)
