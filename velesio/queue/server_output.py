"""Server output: what an embedded server says, on its way into our log."""

import asyncio
import contextlib
import os
import re
from collections import deque

import structlog

log = structlog.get_logger(__name__)


class ServerOutput:
    """The server's standard output: its lines go to our log, the last ones are kept to explain a failure."""

    _LINE = re.compile(r"^\d+:\w .* \d\d:\d\d:\d\d\.\d+ ([.*#-]) (.*)$")
    _HARMLESS = ("Memory overcommit must be enabled", "is now ready to exit")

    def __init__(self) -> None:
        self.last: deque[str] = deque(maxlen=15)
        """Its last lines."""
        self.writer = -1
        """Where the server writes to."""
        self._reader = -1
        self._rest = b""

    def open(self) -> None:
        """Makes the pipe and reads it whenever this event loop finds something in it."""
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        # If our event loop is held up and the pipe is full, lines get lost; the server never waits for us.
        os.set_blocking(self.writer, False)
        asyncio.get_running_loop().add_reader(self._reader, self.read)

    def close(self) -> None:
        """Reads what is left and closes the pipe."""
        if self._reader >= 0:
            self.read()
            asyncio.get_running_loop().remove_reader(self._reader)
            os.close(self._reader)
            os.close(self.writer)
            self._reader = self.writer = -1

    def read(self) -> None:
        """Takes all that is in the pipe now."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self._reader, 65536):
                *lines, self._rest = (self._rest[-65536:] + chunk).split(b"\n")
                for line in lines:
                    self._pass_on(line.decode(errors="replace").rstrip())

    def _pass_on(self, line: str) -> None:
        if not line:
            return
        self.last.append(line)
        match = self._LINE.match(line)
        level, text = match.groups() if match else ("*", line)
        if level == "#" and not any(words in text for words in self._HARMLESS):
            log.warning("valkey says", line=text)
        else:
            log.debug("valkey says", line=text)
