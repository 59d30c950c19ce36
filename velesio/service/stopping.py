"""When a process stops: told by a signal, or since a part of it has died."""

import asyncio
import signal
from typing import Any

import structlog

log = structlog.get_logger("velesio.service")


class StopSignal:
    """SIGTERM or SIGINT: the first asks for a drain, the second for an end at once. What cannot go on drains too."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self.failed = False
        """Whether a part of the process has died."""
        self._signalled = False
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._received, number)

    def _received(self, number: int) -> None:
        if self._signalled:
            log.warning("second signal: ending at once", signal=signal.Signals(number).name)
            self.hurried.set()
        else:
            log.info("draining; a second signal ends at once", signal=signal.Signals(number).name)
            self._signalled = True
            self.asked.set()

    def fail(self, part: str, error: BaseException) -> None:
        """A part without which the process is of no use has died: whoever watches the process starts it anew."""
        log.critical("a part has died; draining", part=part, exc_info=error)
        self.failed = True
        self.asked.set()

    def watch(self, task: "asyncio.Task[Any]") -> None:
        """Has the process end if `task` raises."""

        def ended(task: "asyncio.Task[Any]") -> None:
            if not task.cancelled() and (error := task.exception()):
                self.fail(task.get_name(), error)

        task.add_done_callback(ended)
