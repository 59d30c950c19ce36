"""Wire format: how jobs and events lie in the broker.

Params are msgpack maps, so that releases can add fields. A message is a msgpack array of notes, a note the array
`[job, attempt, seq, event]`; a lease's notes are numbered from 0.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from velesio.errors import Unreadable
from velesio.jobs import Cancelled, Capability, Completed, Event, Failed, Final, Job, Params, Priority


class Recall(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """A worker asks how far the earlier attempts of a job got; from now on they are fenced off."""


class Anew(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """A log begins, or begins again: what its job's attempts up to this one said is void. Written by scripts."""


class Stored(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """In place of a final event, or after `_REFERENCE` of a record's body: what lies in a blob."""

    store: str
    id: str
    size: int = 0


class Note(msgspec.Struct, frozen=True, array_like=True):
    """One event of one attempt."""

    job: str
    attempt: int
    seq: int
    event: Event | Recall | Anew | Stored


class _Foreign(msgspec.Struct, frozen=True, array_like=True):
    """A note whose event may be unknown."""

    job: str
    attempt: int
    seq: int
    event: tuple[Any, ...]


T = TypeVar("T")

DAMAGED = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What msgspec raises for bytes that do not hold what they should."""


def reader(kind: type[T] | Any) -> Callable[[bytes], T]:
    """Reads what was encoded of this kind. It raises Unreadable for what a newer release or a foreign hand has left."""
    decode = msgspec.msgpack.Decoder(kind).decode

    def read(body: bytes) -> T:
        try:
            found: T = decode(body)
        except DAMAGED as error:
            raise Unreadable(f"{Unreadable.__doc__} {error}") from None
        return found

    return read


_encoder = msgspec.msgpack.Encoder()
_notes = msgspec.msgpack.Decoder(list[Note])
_note = msgspec.msgpack.Decoder(Note)
_raw_notes = msgspec.msgpack.Decoder(list[msgspec.Raw])
_foreign = msgspec.msgpack.Decoder(_Foreign)
_final: Callable[[bytes], Final] = reader(Final)
_stored: Callable[[bytes], Stored] = reader(Stored)
_params: Callable[[bytes], Params] = reader(Params)

_REFERENCE = b"\xc1"
"""The first byte of a reference: neither msgpack nor UTF-8 ever begins with it."""

_UNREADABLE = Failed("not_supported", "The answer is from a newer release of Velesio: bring this gateway up to date.")
_FINAL_TAGS = [(kind.__struct_config__.tag,) for kind in (Completed, Failed, Cancelled)]

encode = _encoder.encode


def message(notes: Sequence[bytes]) -> bytes:
    """Encoded notes as one message."""
    return b"\xdd" + len(notes).to_bytes(4, "big") + b"".join(notes)  # msgpack: array 32


def read_message(body: bytes) -> list[Note]:
    """The notes of a message; those that a newer release writes and this one does not know are left out."""
    try:
        return _notes.decode(body)
    except DAMAGED:
        return _read_what_is_known(body)


def _read_what_is_known(body: bytes) -> list[Note]:
    known = []
    try:
        for raw in _raw_notes.decode(body):
            try:
                known.append(_note.decode(raw))
            except DAMAGED:
                known += _read_end(raw)
    except DAMAGED:
        return known
    return known


def _read_end(raw: msgspec.Raw) -> list[Note]:
    """Whoever waits for a job must learn of its end, even if it cannot be read."""
    try:
        note = _foreign.decode(raw)
    except DAMAGED:
        return []
    return [Note(note.job, note.attempt, note.seq, _UNREADABLE)] if note.event[:1] in _FINAL_TAGS else []


def reference(blob: Stored) -> bytes:
    """What stands in a record for a body that lies in a blob."""
    return _REFERENCE + encode(blob)


def is_reference(body: bytes) -> bool:
    """Whether a record's body lies elsewhere."""
    return body[:1] == _REFERENCE


def read_reference(body: bytes) -> Stored:
    """Where a record's body lies.

    Raises:
        Unreadable
    """
    return _stored(body[1:])


def read_final(body: bytes) -> Final:
    """A stored result; whoever waits for a job must learn of its end, even if it cannot be read."""
    try:
        return _final(body)
    except Unreadable:
        return _UNREADABLE


def read_params(body: bytes) -> Params:
    """A job's params as they were queued.

    Raises:
        Unreadable
    """
    return _params(body)


def read_job(job_id: bytes, fields: Sequence[Any]) -> Job:
    """The job from what `take` returns: cap, model, prio, ten, cost, dl, gw, stream, enq, p, trace.

    Raises:
        Unreadable
    """
    try:
        return _job(job_id, fields)
    except ValueError as error:
        raise Unreadable(f"{Unreadable.__doc__} {error}") from None


def _job(job_id: bytes, fields: Sequence[Any]) -> Job:
    capability, model, priority, tenant, cost, deadline, gateway, stream, _, payload, *more = fields
    kind: Capability = "image" if capability == b"image" else "text"
    return Job(
        id=job_id.decode(),
        model=model.decode(),
        capability=kind,
        params=read_params(payload),
        tenant=tenant.decode(),
        priority=Priority(int(priority)),
        cost=float(cost),
        deadline=float(deadline) / 1000,
        gateway=gateway.decode(),
        stream=stream == b"1",
        trace=more[0].decode() if more and more[0] else "",
    )


def fingerprint(job: Job, payload: bytes) -> str:
    """Equal for two requests that ask the same: what an idempotency key may be used for again."""
    about = f"{job.capability}\0{job.model}\0{int(job.stream)}\0".encode()
    return hashlib.blake2b(about + payload, digest_size=16).hexdigest()
