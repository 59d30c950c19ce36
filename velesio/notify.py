"""systemd's notifications: that the service is ready, stops, and lives.

Only where systemd started the process (`NOTIFY_SOCKET`); see sd_notify(3). The watchdog is fed by the event loop, so
that a loop that does not turn is noticed.
"""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator


def tell(message: str) -> bool:
    """Sends `message` to systemd; False: there is none that listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.sendto(message.encode(), "\0" + address[1:] if address.startswith("@") else address)
        return True
    return False


@contextlib.asynccontextmanager
async def living() -> AsyncIterator[None]:
    """Ready from here on, alive all the time as often as systemd wants to hear it, and stopping at the end."""
    tell("READY=1")
    feeding = asyncio.create_task(_feed(_interval()))
    try:
        yield
    finally:
        feeding.cancel()
        tell("STOPPING=1")


def _interval() -> float:
    """Seconds between two signs of life: half of what systemd waits for; 0: it does not wait for any."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    try:
        return int(os.environ.get("WATCHDOG_USEC", "0")) / 2e6
    except ValueError:
        return 0.0


async def _feed(interval: float) -> None:
    while interval > 0:
        tell("WATCHDOG=1")
        await asyncio.sleep(interval)
