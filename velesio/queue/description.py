"""Description: what a worker says of itself at each beat."""

import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import structlog

from velesio import __version__
from velesio.backends.base import ModelCard
from velesio.queue import wire
from velesio.queue.registry import WorkerInfo

log = structlog.get_logger(__name__)


class Description:
    """What stays the same, and what is asked for anew each time."""

    def __init__(self, owner: str, name: str) -> None:
        self.own: Callable[[], dict[str, Any]] = dict
        """The worker's own part."""
        self._info = WorkerInfo(id=owner, name=name, host=socket.gethostname(), pid=os.getpid(), version=__version__)

    def encode(self, cards: Sequence[ModelCard], running: list[str], *, quiet: bool) -> tuple[bytes, bytes]:
        """The cards, and the rest."""
        state, slots = "quiet" if quiet else "ready", sum(card.slots for card in cards)
        info = msgspec.structs.replace(self._info, state=state, jobs=running, slots=slots)
        try:
            described = wire.encode(msgspec.structs.replace(info, info=self.own()))
        except Exception:  # whatever the worker's own description does, its leases must be renewed
            log.exception("the worker could not be described")
            described = wire.encode(info)
        return wire.encode(cards), described
