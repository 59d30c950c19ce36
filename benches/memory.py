"""What is held: memory of processes; memory and processor time of Valkey, as it tells."""

import asyncio
import contextlib
from collections.abc import Iterable
from pathlib import Path

import psutil
import redis

from velesio.queue.embedded import find_running


def held(processes: Iterable[psutil.Process]) -> float:
    """MiB that processes hold together, shared pages divided among their users; one that has ended: nothing."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_full_info().pss
    return round(total / 2**20, 1)


def used(url: str) -> float:
    """MiB of a server's `used_memory`."""
    with redis.Redis.from_url(url) as client:
        return round(int(client.info("memory")["used_memory"]) / 2**20, 2)


def computed(url: str) -> float:
    """Seconds that a server has computed."""
    with redis.Redis.from_url(url) as client:
        spent = client.info("cpu")
        return float(spent["used_cpu_user"]) + float(spent["used_cpu_sys"])


def used_by_embedded(data_dir: Path) -> float:
    """The same of the Valkey that a Velesio runs in its `data_dir`."""
    return used(asyncio.run(find_running(data_dir)))
