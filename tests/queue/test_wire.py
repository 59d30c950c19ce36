"""What travels, and what older and newer releases make of it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from velesio.jobs import Cancelled, Completed, Completion, Delta, Failed, Job, Progress, Started, TextResult
from velesio.queue import wire

events = st.one_of(
    st.builds(Started, st.integers(0, 10)),
    st.builds(Delta, st.text(), st.lists(st.integers(0, 2**31)).map(tuple), st.integers(0, 99)),
    st.builds(Progress, st.integers(0, 99), st.integers(0, 99)),
    st.builds(Completed, st.builds(TextResult, st.text())),
    st.builds(Failed, st.text(), st.text(), st.booleans()),
    st.builds(Cancelled, st.text()),
    st.just(wire.Recall()),
    st.just(wire.Anew()),
)


@given(st.lists(st.builds(wire.Note, st.text(), st.integers(0, 99), st.integers(-1, 99), events), max_size=20))
def test_messages_come_back(notes: list[wire.Note]) -> None:
    """Notes encoded one by one and joined are read as they were."""
    assert wire.read_message(wire.message([wire.encode(note) for note in notes])) == notes


def test_unknown_events_are_left_out() -> None:
    """Events of a newer release do not spoil the known ones beside them."""
    known = wire.Note("j", 1, 0, Delta("x"))
    body = wire.message([wire.encode(("j", 1, 1, [77, "new"])), wire.encode(known)])
    assert wire.read_message(body) == [known]


@pytest.mark.parametrize("body", [b"", b"\xc1", b"\x81\x01"])
def test_rubbish_is_no_message(body: bytes) -> None:
    """What cannot be read gives no notes."""
    assert wire.read_message(body) == []


def test_events_made_by_scripts_are_events() -> None:
    """The scripts write finals as plain arrays with fewer fields."""
    assert wire.read_final(msgspec.msgpack.encode([4, "code", "why"])) == Failed("code", "why")
    assert wire.read_final(msgspec.msgpack.encode([5, "why"])) == Cancelled("why")


def test_a_fingerprint_tells_requests_apart() -> None:
    """The same request has the same fingerprint under any job id; another model, prompt or kind has another."""

    def of(prompt: str = "a", model: str = "m", **fields) -> str:
        job = Job.new(model, Completion(prompt), **fields)
        return wire.fingerprint(job, wire.encode(job.params))

    assert of() == of()
    assert len({of(), of("b"), of(model="n"), of(stream=True)}) == 4


@pytest.mark.parametrize("kind", [Completed, Failed, Cancelled])
def test_an_end_that_cannot_be_read_is_an_end(kind: type) -> None:
    """Whoever waits for a job learns that it is over; what a newer release tells on the way is left out."""
    tag = kind.__struct_config__.tag
    body = wire.message(
        [
            wire.encode(("j", 2, 5, [99, tag])),
            wire.encode(("j", 2, 6, [tag, {"new": 1}, {"newer": 2}])),
            wire.encode(["j", "not a note"]),
        ]
    )
    [note] = wire.read_message(body)
    assert (note.job, note.attempt, note.seq) == ("j", 2, 6)
    assert isinstance(note.event, Failed)
    assert note.event.code == "not_supported"
    assert wire.read_final(wire.encode([tag, {"new": 1}, {"newer": 2}])) == note.event
