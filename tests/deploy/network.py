"""A network of hosts on one machine: namespaces on a switch, each with an address; any cable can be cut."""

import os
import shutil
from collections.abc import Callable, Sequence
from typing import Self

import pytest

from tests.chaos.namespaces import ip, must, within

_NET = "10.213.78"


class Network:
    """Hosts by name, all in one subnet."""

    def __init__(self, names: Sequence[str]) -> None:
        self._switch = f"velesio-{os.getpid()}-switch"
        self._numbers = {name: number for number, name in enumerate(names, 1)}

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            pytest.skip("network namespaces need root and iproute2 (apt-get install iproute2)")
        if (made := ip("netns", "add", self._switch)).returncode:
            pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip()}")
        try:
            must("-n", self._switch, "link", "add", "switch", "type", "bridge")
            must("-n", self._switch, "link", "set", "switch", "up")
            for name in self._numbers:
                self._add(name)
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def address(self, name: str) -> str:
        return f"{_NET}.{self._numbers[name]}"

    def on(self, name: str) -> tuple[str, ...]:
        """Put before a command that is to run on that host."""
        return ("ip", "netns", "exec", self._space(name))

    def cut(self, name: str) -> None:
        """The host's cable is out at the switch: it only notices by silence."""
        must("-n", self._switch, "link", "set", f"port{self._numbers[name]}", "down")

    def mend(self, name: str) -> None:
        must("-n", self._switch, "link", "set", f"port{self._numbers[name]}", "up")

    def run(self, name: str, work: Callable[[], None]) -> None:
        """Does `work` on that host, and so all that it starts, threads and processes."""
        within(self._space(name), work)

    def _add(self, name: str) -> None:
        space, port = self._space(name), f"port{self._numbers[name]}"
        must("netns", "add", space)
        must("link", "add", port, "netns", self._switch, "type", "veth", "peer", "name", "eth0", "netns", space)
        must("-n", self._switch, "link", "set", port, "master", "switch", "up")
        must("-n", space, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
        must("-n", space, "link", "set", "eth0", "up")
        must("-n", space, "link", "set", "lo", "up")

    def _remove(self) -> None:
        for space in (*map(self._space, self._numbers), self._switch):
            ip("netns", "delete", space)

    def _space(self, name: str) -> str:
        return f"velesio-{os.getpid()}-{name}"
