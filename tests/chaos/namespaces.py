"""Two network namespaces as two hosts, with a cable between them that can be cut or made slow."""

import asyncio
import ctypes
import os
import shutil
import subprocess
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import pytest

_CLONE_NEWNET = 0x40000000
_NET = "10.213.77"


class Hosts:
    """The namespaces `a` and `b`, each with a loopback of its own, and one address for the cable."""

    def __init__(self) -> None:
        self.a, self.b = (f"velesio-{os.getpid()}-{side}" for side in "ab")
        self.address = {"a": f"{_NET}.1", "b": f"{_NET}.2"}
        self.inside_b = ("ip", "netns", "exec", self.b)
        """Put before a command that is to run on host b."""

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            pytest.skip("network namespaces need root and iproute2 (apt-get install iproute2)")
        if (made := ip("netns", "add", self.a)).returncode:
            pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip()}")
        try:
            self._connect()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _connect(self) -> None:
        must("netns", "add", self.b)
        must("link", "add", "cable", "netns", self.a, "type", "veth", "peer", "name", "cable", "netns", self.b)
        for name, side in ((self.a, "a"), (self.b, "b")):
            must("-n", name, "address", "add", f"{self.address[side]}/24", "dev", "cable")
            must("-n", name, "link", "set", "cable", "up")
            must("-n", name, "link", "set", "lo", "up")

    def _remove(self) -> None:
        # The cable goes with its ends.
        for name in (self.a, self.b):
            ip("netns", "delete", name)

    def unplug(self) -> None:
        """The cable is out: b notices at its own end, a only by silence."""
        must("-n", self.b, "link", "set", "cable", "down")

    def plug(self) -> None:
        must("-n", self.b, "link", "set", "cable", "up")

    def swallow(self) -> None:
        """Packets vanish on their way, in both directions, and nobody is told."""
        for name, other in ((self.a, "b"), (self.b, "a")):
            neighbour = ("neighbour", "replace", self.address[other], "lladdr", "02:00:00:00:00:99", "dev", "cable")
            must("-n", name, *neighbour, "nud", "permanent")

    def deliver(self) -> None:
        for name, other in ((self.a, "b"), (self.b, "a")):
            must("-n", name, "neighbour", "delete", self.address[other], "dev", "cable")

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` in an event loop on host a; the processes that it starts are there too."""
        within(self.a, lambda: asyncio.run(work()))


def within(name: str, work: Callable[[], None]) -> None:
    """Do `work` in a thread inside a namespace; the threads and processes that it starts are there too."""
    failure: list[BaseException] = []

    def inside() -> None:
        try:
            enter(name)
            work()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]


def enter(name: str) -> None:
    """Puts the calling thread, and what it starts, into a namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        if libc.setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter the namespace {name}")
    finally:
        os.close(descriptor)


def ip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs iproute2."""
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)


def must(*arguments: str) -> None:
    """Runs iproute2, which must succeed."""
    done = ip(*arguments)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
