"""Records: what the broker knows of jobs and queues, read from its hashes."""

import pytest

from velesio.errors import Unreadable
from velesio.jobs import Failed, JobState, Priority
from velesio.queue import wire
from velesio.queue.records import FIELDS, Episode, JobRecord, ModelDepth, read_depth, read_record

NEW = {
    "st": b"q", "ten": b"t", "model": b"m", "cap": b"text", "prio": b"1", "att": b"0", "crash": b"0", "rel": b"0",
    "wrk": b"", "enq": b"1500", "dl": b"9000",
}  # fmt: skip
"""A job that was just queued: what every job has."""
OLD = NEW | {
    "st": b"failed", "cap": b"image", "prio": b"2", "att": b"5", "crash": b"1", "rel": b"2", "wrk": b"w",
    "beg": b"2500", "tok": b"3000", "end": b"4250", "r": wire.encode(Failed("code", "words")), "gw": b"",
    "stream": b"1", "life": b"3", "past": wire.encode([("lost", 1, 2, 4, "w", "why"), ("requeued", 3, 4, 5)]),
    "reason": b"why\xff",
}  # fmt: skip
"""One that everything has happened to."""


def read(fields: dict[str, bytes]) -> JobRecord | None:
    return read_record("j", tuple(fields), tuple(fields.values()))


def test_a_new_job_has_what_every_job_has() -> None:
    """What has not happened yet is 0 or nothing, whether its fields are there or not."""
    wanted = JobRecord(
        id="j",
        state=JobState.QUEUED,
        tenant="t",
        model="m",
        capability="text",
        priority=Priority.NORMAL,
        enqueued=1.5,
        deadline=9.0,
    )
    assert read(NEW) == wanted
    assert read_record("j", FIELDS, [NEW.get(name) for name in FIELDS]) == wanted
    assert read(NEW | dict.fromkeys(("beg", "tok", "end", "r", "past"), b"")) == wanted


def test_an_old_job_has_all_that_was_told_of_it() -> None:
    """Attempts are the leases that count; times are seconds; bytes that are no text do not hide the rest."""
    assert read(OLD) == JobRecord(
        id="j",
        state=JobState.FAILED,
        tenant="t",
        model="m",
        capability="image",
        priority=Priority.BATCH,
        attempts=3,
        leases=5,
        crashes=1,
        worker="w",
        enqueued=1.5,
        started=2.5,
        first=3.0,
        ended=4.25,
        deadline=9.0,
        result=Failed("code", "words"),
        logged=True,
        life=3,
        reason="why\ufffd",
        past=(Episode("lost", 1, 2, 4, "w", "why"), Episode("requeued", 3, 4, 5)),
    )


@pytest.mark.parametrize(
    ("gateway", "stream", "logged"), [(b"", b"1", True), (b"", b"0", False), (b"g", b"1", False), (b"g", b"0", False)]
)
def test_a_job_is_logged_if_it_streams_to_no_gateway(gateway: bytes, stream: bytes, logged: bool) -> None:
    """Its events go to an output log then."""
    record = read(NEW | {"gw": gateway, "stream": stream})
    assert record is not None
    assert record.logged is logged


def test_no_hash_is_no_job() -> None:
    """Whatever was asked for."""
    assert read_record("j", FIELDS, [None] * len(FIELDS)) is None


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"st": b"new"}, "'new' is not a valid JobState"),
        ({"prio": b"9"}, "9 is not a valid Priority"),
        ({"att": b"many"}, "b'many'"),
        ({"past": b"\xc1"}, "Unreadable"),
    ],
)
def test_what_cannot_be_read_says_why(fields: dict[str, bytes], why: str) -> None:
    """A record of a newer release, or of a foreign hand, is an error of its own with the reason."""
    with pytest.raises(Unreadable) as refusal:
        read(NEW | fields)
    assert why in f"{refusal.value!r} {refusal.value}"
    assert str(refusal.value).startswith(str(Unreadable.__doc__))


def test_a_hash_without_its_fields_cannot_be_read() -> None:
    """One that lost a field, or an answer of another length than was asked for."""
    with pytest.raises(Unreadable, match="'ten'"):
        read({"st": b"q"})
    with pytest.raises(Unreadable, match="ValueError"):
        read_record("j", ("st", "ten"), [b"q"])


def test_a_queue_is_read_in_its_order() -> None:
    """Waiting by priority, running, the age of its head, ends by kind, its pause; names may have colons."""
    line = [b"image:a:b", 1, 2, 3, 4, 5500, 6, 7, 8, 9250]
    assert read_depth(line) == ModelDepth(
        model="a:b",
        capability="image",
        waiting=(1, 2, 3),
        running=4,
        oldest=5.5,
        done=6,
        failed=7,
        cancelled=8,
        paused=9.25,
    )
    assert read_depth([b"text:m", *line[1:]]).capability == "text"
