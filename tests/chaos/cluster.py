"""Gateways and workers around one broker, watched over: who dies is started again, and it is known why it died."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.end_to_end.process import Server

LEASE = 2.0
QUICK = (
    *(f"queue.lease={LEASE}", "queue.beat=0.5", "queue.reclaim_interval=0.5", "queue.answered_ttl=3600"),
    *("demo=false", "server.drain_timeout=3"),
)
"""Timings short enough to wait for; records stay, so that each job's end can be counted."""


def echo(slots: int = 4, pace: float = 40, name: str = "echo") -> str:
    """The setting of one echo model with `slots` jobs at once and `pace` words a second for each."""
    return f'models=[{{name="{name}", backend="echo", slots={slots}, tokens_per_second={float(pace)}, context=100000}}]'


class Cluster:
    """Some gateways and workers; each worker has a place in which it is started again when it died."""

    def __init__(
        self,
        folder: Path,
        settings: Sequence[str],
        urls: Mapping[str, str],
        places: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """`urls` maps `gateway-0`, `worker-0` … to the address at which each finds the broker; `places` to what goes
        before its command line."""
        self._folder = folder
        self._settings = settings
        self._urls = urls
        self._places = places or {}
        self.members: dict[str, Server] = {}
        self.ended: list[tuple[str, int, str]] = []
        """Name, exit status and log of every process that ended."""
        self.stopped: set[str] = set()
        """Who is stopped by SIGSTOP."""

    async def start(self) -> None:
        await asyncio.to_thread(self._start_all)

    def _start_all(self) -> None:
        for name in self._urls:
            self._spawn(name)
        for server in self.members.values():
            server.ready()

    @property
    def gateways(self) -> list[Server]:
        return [server for name, server in self.members.items() if name.startswith("gateway")]

    @property
    def workers(self) -> list[str]:
        return [name for name in self.members if name.startswith("worker")]

    def _spawn(self, name: str) -> None:
        role = name.partition("-")[0]
        settings = (f"redis.url={self._urls[name]}", *self._settings, f"worker.id={name}")
        self.members[name] = Server(role, self._folder, *settings, prefix=self._places.get(name, ()))

    def bury(self) -> list[str]:
        """Starts again who died since the last call; answers their names."""
        dead = [name for name, server in self.members.items() if server.process.poll() is not None]
        for name in dead:
            self.stopped.discard(name)
            server = self.members[name]
            self.ended.append((name, server.process.returncode, server.log()))
            server.close()
            self._spawn(name)
        return dead

    def signal(self, name: str, number: int) -> None:
        """Sends a signal to a process that may have died meanwhile."""
        process = self.members[name].process
        if process.poll() is None:
            os.kill(process.pid, number)

    def stop(self, name: str) -> None:
        self.stopped.add(name)
        self.signal(name, signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        self.stopped.discard(name)
        self.signal(name, signal.SIGCONT)

    def logs(self) -> list[str]:
        """Everything that all of them wrote."""
        return [log for _, _, log in self.ended] + [server.log() for server in self.members.values()]

    def defects(self) -> list[str]:
        """Unexpected lines of the logs: exceptions, and errors of Velesio itself."""
        return [line for log in self.logs() for line in log.splitlines() if _is_defect(line)]

    def exits(self) -> Counter[tuple[str, int]]:
        """How often each role ended with each status."""
        return Counter((name.partition("-")[0], status) for name, status, _ in self.ended)

    async def close(self) -> None:
        await asyncio.to_thread(self._close_all)

    def _close_all(self) -> None:
        for name in list(self.stopped):
            self.go_on(name)
        for server in self.members.values():
            if server.process.poll() is None:
                server.process.terminate()
        for server in self.members.values():
            server.close()


def _is_defect(line: str) -> bool:
    if line.startswith("Traceback"):
        return True
    try:
        entry = json.loads(line)
    except ValueError:
        return False
    return isinstance(entry, dict) and ("exception" in entry or entry.get("level") in {"error", "critical"})
