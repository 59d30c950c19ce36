"""What systemd hears, over a real socket."""

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from velesio import notify


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket that systemd would read."""
    monkeypatch.chdir(tmp_path)  # a socket's path has about 100 bytes
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind("notify")
        receiver.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", "notify")
        yield receiver


async def test_a_service_is_ready_lives_and_stops(systemd: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """With signs of life twice as often as the watchdog bites."""
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    loop, heard = asyncio.get_running_loop(), []
    async with asyncio.timeout(10), notify.living():
        while heard.count(b"WATCHDOG=1") < 3:
            heard.append(await loop.sock_recv(systemd, 100))
    while heard[-1] != b"STOPPING=1":
        heard.append(await asyncio.wait_for(loop.sock_recv(systemd, 100), 10))
    assert heard[0] == b"READY=1"
    assert set(heard[1:-1]) == {b"WATCHDOG=1"}


@pytest.mark.parametrize(("microseconds", "pid"), [("", "self"), ("20000", "1"), ("often", "self")])
async def test_no_watchdog_no_signs_of_life(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, microseconds: str, pid: str
) -> None:
    """None is set, it watches another process, or its time makes no sense."""
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "self" else pid)
    async with notify.living():
        for _ in range(5):
            await asyncio.sleep(0)
    assert [systemd.recv(100), systemd.recv(100)] == [b"READY=1", b"STOPPING=1"]


def test_without_systemd_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where its socket has gone."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    assert not notify.tell("READY=1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/nonexistent/socket")
    assert not notify.tell("READY=1")
