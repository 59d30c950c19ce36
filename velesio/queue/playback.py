"""Playback: what the output log of a background job tells a reader who may have a part of it already. Pure.

Readers count in *places*, not in entries of the log: a place is how much has been said, in characters of text or steps
of a picture. An answer's text is the same however it was cut into pieces, so a reader can go on from any place, even
when the log has lost its beginning and the text comes with the end. A job that is begun anew counts from a higher
base, so ids only ever grow.
"""

from msgspec import Struct

from velesio.jobs import Delta, Event, Final, Preview, Progress, Started, is_final
from velesio.queue import wire
from velesio.queue.transcript import Transcript

_LIFE = 2**32
"""Places in one life of a job. Ids stay below 2**53, which JSON's numbers hold, for two million attempts."""
_END = _LIFE - 1
"""The place of the final event: the same for all readers, whatever part of the rest they could know."""


class Restarted(Struct, frozen=True):
    """The job began anew: whatever was said before is void."""


class Said(Struct, frozen=True):
    """What a reader is told."""

    id: int
    """Its place: a reader that comes back with this id is told what follows."""
    event: Event | Restarted


class Playback:
    """One reader's way through a log: each thing is told once, and to all readers alike."""

    def __init__(self, after: int = 0, life: int = 0) -> None:
        """`after`: the last id that the reader has, 0 for none. `life`: how many of the job's first attempts were void
        when it began as it is now (it stands in the job's record)."""
        self.whole = False
        """Whether the log has its beginning; if not, text is known only at the end."""
        self.ended = False
        self._after = after if after // _LIFE <= life else 0
        self._void = after > 0 and after // _LIFE != life
        self._start(life)

    def read(self, note: wire.Note) -> list[Said]:
        """What the next note of the log tells this reader."""
        if isinstance(note.event, wire.Anew):
            return self._begin(note.attempt)
        if isinstance(note.event, wire.Recall):
            self.recall(note.attempt)
            return []
        if isinstance(note.event, wire.Stored):
            return []  # its reader puts the event itself in its place
        if isinstance(note.event, Delta) and not self.whole:
            return []  # nobody knows what comes before it
        return self._tell(self._transcript.accept(note.attempt, note.seq, note.event))

    def recall(self, attempt: int) -> tuple[int, ...] | None:
        """Fence off the attempts before `attempt`, which goes on after the tokens returned; None: it cannot."""
        if not self.whole:
            return None
        return () if attempt == self.life + 1 else self._transcript.recall(attempt)

    def end(self, life: int, final: Final) -> list[Said]:
        """What the job's record tells beyond its log: the final event, with the text that the log did not give."""
        told = self._begin(life) if life > self.life else []
        return told + self._tell(self._transcript.accept(self._transcript.attempt, 0, final))

    def _start(self, life: int) -> None:
        self.life = life
        self._place = self._length = 0
        self._transcript = Transcript(stream=True)
        self._transcript.recall(life + 1)

    def _begin(self, life: int) -> list[Said]:
        if life < self.life:
            return []
        self.whole = True
        if life > self.life:
            self._void = self._void or self._place > 0 or self._after > 0
            self._start(life)
        return self._tell([])

    def _tell(self, events: list[Event]) -> list[Said]:
        told = []
        if self._void:
            self._void = False
            told.append(Said(self.life * _LIFE, Restarted()))
        for event in events:
            if isinstance(event, Preview):
                # No part of the answer, and so without a place: the next one replaces it.
                told += [Said(0, event)] if self._place >= self._after - self.life * _LIFE else []
                continue
            place = self._place_of(event)
            if place > self._place:
                self._place = place
                told += self._unless_known(self.life * _LIFE + place, event)
        return told

    def _place_of(self, event: Event) -> int:
        if isinstance(event, Delta):
            self._length += len(event.text)
            return 1 + self._length
        if isinstance(event, Started):
            return 1
        if isinstance(event, Progress):
            return 1 + event.done
        self.ended = is_final(event)
        return _END

    def _unless_known(self, place: int, event: Event) -> list[Said]:
        if place <= self._after:
            return []
        if isinstance(event, Delta) and place - len(event.text) < self._after:
            event = Delta(event.text[self._after - place :], (), event.predicted)
        return [Said(place, event)]
