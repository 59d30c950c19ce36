"""What the parts of one process are made from."""

import os
import secrets
import socket
from contextlib import AsyncExitStack
from typing import Literal, NamedTuple, Protocol, TypeVar

from velesio.config import Config
from velesio.queue.broker import Broker
from velesio.queue.replies import Publisher
from velesio.service.stopping import StopSignal

Role = Literal["all", "gateway", "worker"]


class Part(Protocol):
    """Something that runs for as long as the process does."""

    async def start(self) -> None:
        """Begin."""

    async def close(self) -> None:
        """End."""


_P = TypeVar("_P", bound=Part)


class Process(NamedTuple):
    """One process in its role."""

    config: Config
    role: Role
    broker: Broker
    stop: StopSignal
    stack: AsyncExitStack
    """What is to be done at the end, the last thing first."""
    publisher: Publisher

    async def started(self, part: _P) -> _P:
        """`part`, begun; it ends before those that were begun earlier."""
        await part.start()
        self.stack.push_async_callback(part.close)
        return part


def own_name() -> str:
    """What a process is called: as no other, whichever machine it runs on."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
