"""Transcript: which events of a job its reader accepts, so that each piece of the answer is seen exactly once.

Three things can spoil the sequence: a message delivered twice (dropped by its number), a message lost (the missing
text comes with the final event), and several attempts of one job, the earlier of which may still be writing (fenced
off by the attempt number). Pure; used by the gateway's inbox and for reading output logs.
"""

from velesio.jobs import Completed, Delta, Event, Failed, Progress, Started, TextResult, is_final

WORKER_LOST = Failed(
    code="worker_lost",
    message="The worker that was producing this answer died, and the answer cannot be continued.",
)


class Transcript:
    """What one reader has accepted of one job."""

    __slots__ = ("_expected", "_gap", "_progress", "_started", "attempt", "ended", "length", "lost", "stream", "tokens")

    def __init__(self, stream: bool) -> None:
        """`stream`: whether the reader wants every piece of text, not only the result."""
        self.stream = stream
        self.attempt = 0
        self.ended = False
        self.lost = False
        """Whether it ended because a new attempt began anew, which may then be cancelled."""
        self.length = 0
        """Characters accepted."""
        self.tokens: list[int] = []
        """Tokens whose text was accepted."""
        self._expected = 0
        self._gap = False
        self._started = False
        self._progress = 0

    def accept(self, attempt: int, seq: int, event: Event) -> list[Event]:
        """The events for the reader that this one gives: none, one, or a repaired piece before it."""
        if self.ended or attempt < self.attempt:
            return []
        if attempt > self.attempt:
            if self.length and not _stopped(event):
                return self._lose()  # begun anew, not continued; the reader has text of another beginning
            self._begin(attempt)
        if is_final(event):
            return [*self._missing(event), *self._end(event)]
        return self._next(seq, event)

    def recall(self, attempt: int) -> tuple[int, ...] | None:
        """Fence off the attempts before `attempt`, which continues after the tokens returned.

        None: it cannot, since text was accepted whose tokens are unknown, or it is itself fenced off.
        """
        if self.ended or attempt <= self.attempt or (self.length and not self.tokens):
            return None
        self._begin(attempt)
        return tuple(self.tokens)

    def _begin(self, attempt: int) -> None:
        self.attempt = attempt
        self._expected = 0
        self._gap = False

    def _lose(self) -> list[Event]:
        self.lost = True
        return self._end(WORKER_LOST)

    def _end(self, event: Event) -> list[Event]:
        self.ended = True
        return [event]

    def _next(self, seq: int, event: Event) -> list[Event]:
        if seq < self._expected:
            return []
        self._gap = self._gap or seq > self._expected
        self._expected = seq + 1
        if isinstance(event, Delta):
            return self._text(event)
        if isinstance(event, Progress):
            return self._further(event)
        if isinstance(event, Started):
            again, self._started = self._started, True
            return [] if again else [event]
        return [event]

    def _text(self, event: Delta) -> list[Event]:
        if self._gap:
            return []  # what comes after a hole waits for the final event
        if event.predicted and event.predicted < len(self.tokens) + len(event.tokens):
            return self._lose()  # its worker never got the answer to its recall, and began anew
        self.length += len(event.text)
        self.tokens.extend(event.tokens)
        return [event]

    def _further(self, event: Progress) -> list[Event]:
        if event.done <= self._progress:
            return []  # a new attempt starts again; the reader sees it when it gets further than the last
        self._progress = event.done
        return [event]

    def _missing(self, event: Event) -> list[Event]:
        if not self.stream or not isinstance(event, Completed) or not isinstance(event.result, TextResult):
            return []
        text, tokens = event.result.text[self.length :], event.result.tokens[len(self.tokens) :]
        if not text:
            return []
        self.length += len(text)
        return [Delta(text, tokens, event.result.usage.completion_tokens)]


def _stopped(event: Event) -> bool:
    """Whether the event ends the job without text."""
    return is_final(event) and not isinstance(event, Completed)
