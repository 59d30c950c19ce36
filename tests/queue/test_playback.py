"""What a log tells its readers, whatever happened to the workers that wrote it and to the readers themselves."""

from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from velesio.jobs import Cancelled, Completed, Delta, Event, Failed, ImageResult, Preview, Progress, Started, TextResult
from velesio.queue import wire
from velesio.queue.playback import Playback, Restarted, Said

TEXT = "The quick brown fox jumps over the lazy dog."
DONE = Completed(TextResult(TEXT, tuple(map(ord, TEXT))))
BEGIN = wire.Note("j", 0, -1, wire.Anew())


def note(attempt: int, seq: int, event: Event | wire.Recall | wire.Anew) -> wire.Note:
    return wire.Note("j", attempt, seq, event)


def told(notes: Iterable[wire.Note], after: int = 0, life: int = 0) -> list[Said]:
    playback = Playback(after, life)
    return [said for each in notes for said in playback.read(each)]


def text(said: Iterable[Said]) -> str:
    """The text that a reader ends up with."""
    whole = ""
    for each in said:
        if isinstance(each.event, Restarted):
            whole = ""
        elif isinstance(each.event, Delta):
            whole += each.event.text
    return whole


class Log:
    """A log as workers write it: each token is a character, each attempt begins where the log says."""

    def __init__(self) -> None:
        self.notes = [BEGIN]
        self.attempt = self.life = self.seq = self.at = 0
        self.zombie: tuple[int, int, int] | None = None
        self.next_worker(can_continue=True)

    def next_worker(self, *, can_continue: bool) -> None:
        """The worker dies, in the middle of something, and another one goes on or begins anew."""
        self.zombie = (self.attempt, self.seq, self.at)
        self.attempt += 1
        self.seq = self.at = 0
        sent: tuple[int, ...] | None = None
        if self.attempt > 1 and can_continue:
            self.notes.append(note(self.attempt, -1, wire.Recall()))
            playback = Playback()
            for each in self.notes[:-1]:
                playback.read(each)
            sent = playback.recall(self.attempt)
        if self.attempt > 1 and sent is None:
            self.life = self.attempt - 1
            self.notes = [note(self.life, -1, wire.Anew())]
        self.at = len(sent or ())
        self._write(Started(5))

    def speak(self, size: int) -> None:
        """The next few characters."""
        if piece := TEXT[self.at : self.at + size]:
            self.at += len(piece)
            self._write(Delta(piece, tuple(map(ord, piece)), self.at))

    def lose(self, size: int) -> None:
        """Characters that never arrive."""
        self.at += size
        self.seq += 1

    def haunt(self, size: int) -> None:
        """The worker before still writes."""
        if self.zombie and self.zombie[0]:
            attempt, seq, at = self.zombie
            self.notes.append(note(attempt, seq, Delta(TEXT[at : at + size].upper(), (0,) * size)))
            self.zombie = (attempt, seq + 1, at + size)

    def trim(self, size: int) -> None:
        """The oldest notes fall out."""
        self.notes = self.notes[min(size, len(self.notes) - 1) :]

    def repeat(self, _: int) -> None:
        """The last message arrives twice."""
        self.notes.append(self.notes[-1])

    def _write(self, event: Event) -> None:
        self.notes.append(note(self.attempt, self.seq, event))
        self.seq += 1


STEPS = {
    "speak": Log.speak,
    "lose": Log.lose,
    "haunt": Log.haunt,
    "trim": Log.trim,
    "repeat": Log.repeat,
    "die": lambda log, _: log.next_worker(can_continue=True),
    "restart": lambda log, _: log.next_worker(can_continue=False),
}
steps = st.lists(
    st.tuples(st.sampled_from([*STEPS, "die"] + ["speak"] * 7), st.integers(1, 9)),
    max_size=40,
)


class Reader:
    """A client that comes and goes, and keeps the last id it has seen."""

    def __init__(self) -> None:
        self.has: list[Said] = []

    def visit(self, log: Log, patience: int) -> None:
        """Reads what is there, and leaves after so many things."""
        after = self.has[-1].id if self.has else 0
        self.has += told(log.notes, after, log.life)[:patience]


@settings(max_examples=500, deadline=None)
@given(steps, st.lists(st.integers(1, 4), min_size=1, max_size=40), st.booleans())
def test_each_reader_has_the_text_once(history: list[tuple[str, int]], patience: list[int], fails: bool) -> None:
    """However often a reader leaves and comes back with its last id, while workers die and the log is trimmed, it has
    each character once and in order, growing ids, and one end."""
    log, often, late = Log(), Reader(), Reader()
    for number, (step, size) in enumerate(history):
        STEPS[step](log, size)
        if patience[number % len(patience)] % 2:
            often.visit(log, patience[number % len(patience)])
    end = Failed("job_failed", "why") if fails else DONE
    log.notes.append(note(log.attempt, log.seq, end))
    for reader in (often, late):
        for number in range(200):
            reader.visit(log, patience[number % len(patience)])
        ids = [said.id for said in reader.has]
        assert ids == sorted(set(ids))
        assert [said.event for said in reader.has if isinstance(said.event, Completed | Failed)] == [end]
        assert reader.has[-1].event == end
        assert text(reader.has) == TEXT if not fails else TEXT.startswith(text(reader.has))
    assert text(late.has) == text(often.has) or fails


@given(st.integers(0, len(TEXT) + 2))
def test_a_reader_goes_on_from_any_character(place: int) -> None:
    """An id inside a piece of text gives the rest of the piece: pieces may have been cut elsewhere before."""
    notes = [
        BEGIN,
        note(1, 0, Started(3)),
        note(1, 1, Delta(TEXT[:20])),
        note(1, 2, Delta(TEXT[20:])),
        note(1, 3, DONE),
    ]
    assert text(told(notes, place)) == TEXT[max(0, place - 1) :]
    assert told(notes, place)[-1].event == DONE


def test_the_end_is_told_once() -> None:
    """A reader that has the final event is told nothing more."""
    notes = [BEGIN, note(1, 0, Delta("x")), note(1, 1, Cancelled("no"))]
    last = told(notes)[-1].id
    assert told(notes, last) == []
    assert told(notes[2:], last) == []


def test_a_job_begun_anew_says_so() -> None:
    """Who has something is told that it is void, who has nothing is not; ids grow."""
    notes = [note(2, -1, wire.Anew()), note(3, 0, Delta("new"))]
    fresh, known = told(notes, life=2), told(notes, after=4, life=2)
    assert [said.event for said in fresh] == [Delta("new")]
    assert [said.event for said in known] == [Restarted(), Delta("new")]
    live = Playback()
    had = [*live.read(BEGIN), *live.read(note(1, 0, Delta("old")))]
    assert [said.event for said in live.read(notes[0])] == [Restarted()]
    assert live.read(note(2, 0, Delta("zombie"))) == []
    assert live.read(notes[1])[0].id == known[-1].id > known[0].id > had[-1].id


def test_an_id_of_a_life_that_the_broker_forgot_counts_for_nothing() -> None:
    """After a broker lost its memory a reader may know more than there is: it is told to begin again."""
    notes = [BEGIN, note(1, 0, Delta("x"))]
    [known] = told([note(2, -1, wire.Anew()), note(3, 0, Delta("x"))], life=2)
    assert [said.event for said in told(notes, after=known.id)] == [Restarted(), Delta("x")]


def test_a_log_without_its_end_is_ended_by_the_record() -> None:
    """What the log did not give comes with the final event, in the life that the record names."""
    live = Playback()
    for each in (BEGIN, note(1, 0, Delta(TEXT[:9]))):
        live.read(each)
    assert [said.event for said in live.end(0, DONE)] == [Delta(TEXT[9:], DONE.result.tokens), DONE]
    late = Playback(after=10)
    assert text(late.end(0, DONE)) == TEXT[9:]
    anew = Playback(after=10)
    assert [said.event for said in anew.end(2, DONE)] == [Restarted(), Delta(TEXT, DONE.result.tokens), DONE]


def test_a_piece_without_text_is_not_told() -> None:
    """Tokens that give no text (yet) have no place of their own."""
    notes = [BEGIN, note(1, 0, Started(1)), note(1, 1, Delta("", (7,))), note(1, 2, Delta("a", (8,)))]
    assert [said.event for said in told(notes)] == [Started(1), Delta("a", (8,))]


def test_the_first_attempt_of_a_life_goes_on_after_nothing() -> None:
    """A worker that asks a log at its beginning has all to say; a log without its beginning cannot tell."""
    playback = Playback()
    assert playback.recall(1) is None
    playback.read(note(2, -1, wire.Anew()))
    assert playback.recall(3) == ()
    playback.read(note(3, 0, Delta("a", (1,))))
    assert playback.recall(4) == (1,)


def test_previews_have_no_place() -> None:
    """They are told where they stand, to readers that have not got that far: the next one replaces each."""
    done, preview = Completed(ImageResult((b"png",))), Preview(b"p", 0, 2, 4)
    notes = [BEGIN, note(1, 1, Progress(1, 4)), note(1, 2, preview), note(1, 3, Progress(2, 4)), note(1, 4, done)]
    said = told(notes)
    assert [each.event for each in said] == [Progress(1, 4), preview, Progress(2, 4), done]
    assert said[1].id == 0
    assert [each.event for each in told(notes, after=said[0].id)] == [preview, Progress(2, 4), done]
    assert [each.event for each in told(notes, after=said[2].id)] == [done]
    assert told(notes, after=said[3].id) == []


def test_progress_never_goes_back() -> None:
    """A picture that is begun again shows progress only where it gets further than before."""
    done = Completed(ImageResult((b"png",)))
    notes = [
        BEGIN,
        note(1, 1, Progress(1, 4)),
        note(1, 2, Progress(2, 4)),
        note(2, 0, Progress(1, 4)),
        note(2, 1, Progress(3, 4)),
        note(2, 2, done),
    ]
    said = told(notes)
    assert [each.event for each in said] == [Progress(1, 4), Progress(2, 4), Progress(3, 4), done]
    for number, each in enumerate(said):
        assert told(notes, each.id) == said[number + 1 :]
