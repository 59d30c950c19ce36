"""One streamed answer, heard in a thread of its own, so that the test can do harm meanwhile."""

import itertools
import threading
import time
from typing import Any

from tests.end_to_end.process import Server, eventually

_WORDS = ("one", "two", "three", "four", "five")


def says(tokens: int) -> str:
    """What the echo model answers to `asks(tokens)`."""
    return " ".join(word for word, _ in zip(itertools.cycle(_WORDS), range(tokens), strict=False))


def asks(tokens: int, switch: str = "", **fields: Any) -> dict[str, Any]:
    """A request of the echo model for so many words."""
    return {"prompt": f"{switch}[[tokens {tokens}]] {' '.join(_WORDS)}", **fields}


class Stream:
    """A stream of `/completion`, as far as it has come."""

    def __init__(self, server: Server, body: dict[str, Any]) -> None:
        self.text = ""
        self.events = 0
        self.error: dict[str, Any] | None = None
        self.ends = 0
        self.pause = 0.0
        """Seconds between two events, the longest."""
        self.broken: Exception | None = None
        self._server = server
        self._body = {**body, "stream": True}
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def _hear(self) -> None:
        heard = time.monotonic()
        try:
            for event in self._server.events("/completion", self._body):
                self.pause = max(self.pause, time.monotonic() - heard)
                heard = time.monotonic()
                self.events += 1
                if "error" in event:
                    self.error = event["error"]
                else:
                    self.text += event["content"]
                self.ends += "error" in event or event["stop"]
        except Exception as error:
            self.broken = error

    def reaches(self, events: int) -> "Stream":
        """Waits until so many events have come."""
        eventually(lambda: self.events >= events or not self._thread.is_alive())
        assert self.events >= events, (self.text, self.error, self.broken)
        return self

    def ended(self, within: float = 60.0) -> "Stream":
        """Waits for the end, which is one event."""
        self._thread.join(within)
        assert not self._thread.is_alive(), f"no end within {within} s after {self.text!r}"
        assert self.broken is None, repr(self.broken)
        assert self.ends == 1, (self.ends, self.text, self.error)
        return self

    def whole(self, within: float = 60.0) -> str:
        """The text, once it has ended well."""
        assert self.ended(within).error is None, self.error
        return self.text
