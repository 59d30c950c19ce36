"""What a reader accepts, event by event."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velesio.jobs import Cancelled, Completed, Delta, Failed, Progress, Started, TextResult
from velesio.queue.transcript import WORKER_LOST, Transcript

FINAL = Completed(TextResult("abc", (1, 2, 3)))


def text_of(events: list) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def test_repeated_events_are_seen_once() -> None:
    """A message delivered again adds nothing."""
    transcript = Transcript(stream=True)
    for _ in range(2):
        seen = transcript.accept(1, 0, Delta("a", (1,)))
    assert seen == []
    assert (transcript.length, transcript.tokens) == (1, [1])


def test_a_hole_is_filled_by_the_final_event() -> None:
    """After a lost event nothing is shown until the final one, which brings all that is missing."""
    transcript = Transcript(stream=True)
    assert transcript.accept(1, 0, Delta("a", (1,))) == [Delta("a", (1,))]
    assert transcript.accept(1, 2, Delta("c", (3,))) == []
    assert transcript.accept(1, 3, FINAL) == [Delta("bc", (2, 3)), FINAL]
    assert transcript.accept(1, 3, FINAL) == []


def test_a_reader_of_the_result_only_gets_the_result() -> None:
    """Nothing is made up for a reader that wants no stream."""
    assert Transcript(stream=False).accept(1, 0, FINAL) == [FINAL]


def test_earlier_attempts_are_silent() -> None:
    """Once a later attempt has spoken, an earlier one is not heard any more, not even its end."""
    transcript = Transcript(stream=True)
    transcript.accept(1, 0, Started())
    transcript.accept(2, 0, Progress(1, 9))
    assert transcript.accept(1, 1, Delta("x")) == []
    assert transcript.accept(1, 2, FINAL) == []


def test_an_attempt_that_begins_anew_after_text_ends_the_stream() -> None:
    """Text of another beginning is never appended."""
    transcript = Transcript(stream=True)
    transcript.accept(1, 0, Delta("a", (1,)))
    assert transcript.accept(2, 0, Started()) == [WORKER_LOST]
    assert transcript.lost
    assert transcript.accept(2, 1, Delta("a")) == []


def test_an_attempt_that_ignores_its_recall_ends_the_stream() -> None:
    """A worker that got no answer and began anew counts its tokens from the start: they are not appended."""
    transcript = Transcript(stream=True)
    transcript.accept(1, 0, Delta("a", (1,), 1))
    transcript.accept(1, 1, Delta("b", (2,), 2))
    assert transcript.recall(2) == (1, 2)
    assert transcript.accept(2, 0, Delta("a", (1,), 1)) == [WORKER_LOST]
    assert transcript.lost


@pytest.mark.parametrize("event", [Cancelled("x"), Failed("worker_lost", "x")])
def test_an_end_without_text_is_heard_from_any_later_attempt(event) -> None:
    """The broker ends a job under an attempt number of its own."""
    transcript = Transcript(stream=True)
    transcript.accept(1, 0, Delta("a", (1,)))
    assert transcript.accept(2, 0, event) == [event]


def test_a_recalled_attempt_continues() -> None:
    """After a recall the old attempt is fenced and the new one goes on after the tokens accepted."""
    transcript = Transcript(stream=True)
    transcript.accept(1, 0, Delta("a", (1,)))
    assert transcript.recall(2) == (1,)
    assert transcript.accept(1, 1, Delta("zombie", (9,))) == []
    assert transcript.accept(2, 0, Delta("b", (2,))) == [Delta("b", (2,))]
    assert transcript.accept(2, 1, FINAL) == [Delta("c", (3,)), FINAL]


def test_recalls_that_cannot_be_answered() -> None:
    """Not for an attempt that is fenced off, nor after the end, nor when the tokens of the text are unknown."""
    transcript = Transcript(stream=True)
    transcript.accept(2, 0, Delta("a"))
    assert transcript.recall(2) is None
    assert transcript.recall(3) is None
    transcript.accept(2, 1, FINAL)
    assert transcript.recall(4) is None


def test_progress_never_goes_back() -> None:
    """A picture that is begun anew shows progress again when it gets further than before; it starts once."""
    transcript = Transcript(stream=True)
    assert [transcript.accept(1, n, e) for n, e in enumerate([Started(), Progress(1, 3), Progress(2, 3)])] == [
        [Started()], [Progress(1, 3)], [Progress(2, 3)],
    ]  # fmt: skip
    assert [transcript.accept(2, n, e) for n, e in enumerate([Started(), Progress(2, 3), Progress(3, 3)])] == [
        [], [], [Progress(3, 3)],
    ]  # fmt: skip


@given(
    st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=8),
    st.lists(st.integers(0, 8), max_size=3),
)
def test_any_loss_and_repetition_gives_the_whole_text(pieces, disorder, cuts) -> None:
    """Whatever is lost or repeated, and however often the work moves on, the reader sees the text exactly once."""
    transcript = Transcript(stream=True)
    seen = []
    attempt, done = 1, 0
    moves = iter(sorted(cuts))
    next_cut = next(moves, None)
    seq = 0
    noise = dict(disorder)
    while done < len(pieces):
        if next_cut is not None and done >= next_cut:
            attempt += 1
            done, seq = len(transcript.recall(attempt)), 0
            next_cut = next(moves, None)
            continue
        event = Delta(pieces[done], (done,))
        if noise.get(done) is not False:  # False: lost
            seen += transcript.accept(attempt, seq, event)
        if noise.get(done):  # True: repeated, and the attempt before goes on too
            seen += transcript.accept(attempt, seq, event)
            seen += transcript.accept(attempt - 1, seq, Delta("zombie", (99,)))
        done, seq = done + 1, seq + 1
    whole = "".join(pieces)
    seen += transcript.accept(attempt, seq, Completed(TextResult(whole, tuple(range(len(pieces))))))
    assert text_of(seen) == whole
    assert transcript.ended
