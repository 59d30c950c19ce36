"""Reads the levels of the soak's servers: from /proc, from their metrics, from the broker."""

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import psutil
import redis.asyncio

from benches.soak_levels import Held, Levels, families, family_of
from benches.soak_load import Load
from benches.soak_servers import Victim
from benches.text_servers import Running

_IDLE = 90.0
"""Seconds in which everything must have ended when nobody asks any more."""
_NAMES = {
    "sequences": "velesio_engine_sequences",
    "cells": "velesio_engine_cells_running",
    "inflight": "velesio_worker_jobs",
}


class Watch:
    """All of the servers, and the load on them."""

    def __init__(
        self,
        server: Running,
        home: Path,
        victim: Victim,
        load: Load,
        *,
        session: aiohttp.ClientSession,
        broker: "redis.asyncio.Redis",
    ) -> None:
        """`home` is the server's folder."""
        self._server = server
        self._home = home
        self._victim = victim
        self._load = load
        self._session = session
        self._broker = broker
        self._began = self._looked = time.monotonic()
        self._computed: dict[int, float] = {}
        self.samples: list[Levels] = []

    def begin(self) -> None:
        """The load begins."""
        self._began = time.monotonic()

    async def look(self, *, keys: bool = False, resting: bool = False) -> Levels:
        """The levels of this moment, kept as a sample; `keys`: those in the broker, too, a walk through all of them."""
        process, *children = self._server.family()
        broker = next(child for child in children if "valkey" in child.name())
        victim = self._victim.process
        metrics = await self._metrics()
        async with self._session.get("/queue/status") as answer:
            status = await answer.json()
        counted, sizes = await self._keys() if keys else ({}, {})
        temporary = _sizes(self._home.parent / "tmp")
        level = Levels(
            seconds=round(time.monotonic() - self._began, 1),
            resting=resting,
            server=held(process),
            broker=held(broker),
            worker=_held_by(victim),
            used_mib=round((await self._broker.info("memory"))["used_memory"] / 2**20, 3),
            cores=self._cores([process, *children, *([victim] if victim else [])]),
            temp_files=len(temporary),
            temp_mib=round(sum(temporary) / 2**20, 2),
            data_files=len(_sizes(self._home / "data")),
            pending=status["pending"] + status["active"],
            requests=sum(self._load.done.values()) + sum(self._load.failed.values()),
            kills=self._victim.kills,
            keys=counted,
            key_kib=sizes,
            **{name: metrics.get(metric, 0.0) for name, metric in _NAMES.items()},
        )
        self.samples.append(level)
        return level

    async def idle(self) -> None:
        """Until nothing waits or runs any more, or until that has taken too long."""
        end = time.monotonic() + _IDLE
        while time.monotonic() < end:
            async with self._session.get("/queue/status") as answer:
                status = await answer.json()
            metrics = await self._metrics()
            if not (status["pending"] or status["active"] or any(metrics.get(name) for name in _NAMES.values())):
                return
            await asyncio.sleep(0.2)

    async def _metrics(self) -> dict[str, float]:
        """Sums of the server's metrics, by name."""
        found: dict[str, float] = {}
        async with self._session.get("/metrics") as answer:
            for line in (await answer.text()).splitlines():
                if not line.startswith("#"):
                    name, value = line.rsplit(" ", 1)
                    name = name.partition("{")[0]
                    found[name] = found.get(name, 0.0) + float(value)
        return found

    def _cores(self, processes: list[psutil.Process]) -> float:
        """That they used since the last time; of one that is new, since it began."""
        now = time.monotonic()
        before, self._computed, since, self._looked = self._computed, {}, self._looked, now
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                self._computed[process.pid] = times.user + times.system
        used = sum(seconds - before.get(pid, 0.0) for pid, seconds in self._computed.items())
        return round(used / max(now - since, 1e-3), 3)

    async def _keys(self) -> tuple[dict[str, int], dict[str, float]]:
        """How many keys of each family there are, and how many KiB they take."""
        names = [key async for key in self._broker.scan_iter(count=1000)]
        async with self._broker.pipeline(transaction=False) as pipeline:
            for name in names:
                pipeline.pttl(name)
                pipeline.memory_usage(name)
            found = await pipeline.execute()
        lives, sizes = found[::2], found[1::2]
        taken: dict[str, float] = {}
        for name, size in zip(names, sizes, strict=True):
            family = family_of(name.decode())
            taken[family] = taken.get(family, 0.0) + (size or 0) / 1024
        counted = families([(name.decode(), life) for name, life in zip(names, lives, strict=True)])
        return counted, {name: round(size, 1) for name, size in sorted(taken.items())}


def held(process: psutil.Process) -> Held:
    """What a process holds at this moment."""
    links = list(_links(process.pid))
    return Held(
        memory_mib=round(process.memory_info().rss / 2**20, 2),
        threads=process.num_threads(),
        files=len(links),
        sockets=sum(link.startswith("socket:") for link in links),
        deleted=sum(link.endswith(" (deleted)") for link in links),
    )


def _held_by(victim: psutil.Process | None) -> Held | None:
    if victim is not None:
        with contextlib.suppress(psutil.Error, OSError):
            return held(victim)
    return None


def _links(pid: int) -> Iterator[str]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield str(entry.readlink())


def _sizes(folder: Path) -> list[int]:
    """Bytes of each file below a folder."""
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found.append((Path(place) / name).lstat().st_size)
    return found
