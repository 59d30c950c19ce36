"""Contestants, the driver's side: one process group from its start to its end, ordered about by lines of JSON."""

import contextlib
import json
import os
import signal
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from benches import protocol
from benches.venvs import ROOT

_GREETING = protocol.STARTING + 30
_SLACK = 60.0
"""Seconds that an order may take beyond its own duration."""
_ENDING = 15.0
_WORDS = 400
"""Characters of a failed contestant's log that are shown."""


class ContestantFailed(Exception):
    """A contestant died, said something else than was asked, or nothing."""


class Entrant(msgspec.Struct, frozen=True, kw_only=True):
    """One row to be measured."""

    name: str
    module: str
    venv: str = ""
    """The rival whose venv it runs in; empty: Velesio's own."""
    variant: str = ""
    """Handed to the module, which knows what it means."""
    as_documented: bool = True


class Turn:
    """A contestant's processes, and the orders to them. The worker has done a job when `with` has been entered."""

    def __init__(self, entrant: Entrant, python: Path, url: str, log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(python), "-m", entrant.module],
                cwd=ROOT,
                env=_environment(entrant, url),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                start_new_session=True,  # a process group: whatever a library starts ends with it
            )
        self.greeting: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            self.greeting = self._read(_GREETING)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def serial(self, jobs: int, seconds: float) -> list[float]:
        """Milliseconds of each of up to `jobs` jobs, one after another."""
        answer = self._ask({"order": "serial", "jobs": jobs, "seconds": seconds})
        return [float(taken) for taken in answer["milliseconds"]]

    def flood(self, in_flight: int, seconds: float) -> tuple[int, float]:
        """How many jobs were done, and in how many seconds."""
        answer = self._ask({"order": "flood", "in_flight": in_flight, "seconds": seconds})
        return int(answer["jobs"]), float(answer["seconds"])

    def _ask(self, order: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise ContestantFailed(f"it ended early. {self._said()}") from None
        return self._read(order["seconds"] + _SLACK)

    def _read(self, within: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        alarm = threading.Timer(within, self._kill)
        alarm.start()
        try:
            line = self._process.stdout.readline()
        finally:
            alarm.cancel()
            alarm.join()
        if not line:
            raise ContestantFailed(f"{self._end_of(within)}. {self._said()}")
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError:
            raise ContestantFailed(f"it said {line!r}") from None
        return answer

    def _end_of(self, within: float) -> str:
        """Why its output ended: the alarm's kill leaves a status, too."""
        try:
            status = self._process.wait(_ENDING)
        except subprocess.TimeoutExpired:
            return "it closed its output"
        return f"it said nothing for {within:.0f} s" if status == -signal.SIGKILL else f"it ended with status {status}"

    def _said(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"Its last words: {' | '.join(line.strip() for line in lines[-2:])[-_WORDS:] or 'none'}"

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _end(self) -> None:
        """End of file asks it to end; what is left of its group after that is killed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING)
        self._kill()
        self._process.wait()
        self._process.stdout.close()


def _environment(entrant: Entrant, url: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("VELESIO_", "dramatiq_"))}
    return inherited | {
        protocol.URL_VARIABLE: url,
        protocol.VARIANT_VARIABLE: entrant.variant,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
