"""The first key: made at the first start of a server that asks for keys and has none, and left in a file."""

from pathlib import Path

import structlog

from velesio.queue.broker import Broker
from velesio.queue.credentials import Credentials, KeyRecord

log = structlog.get_logger("velesio.http")

FILE = "first-key"


async def make(broker: Broker, pepper: bytes, folder: Path) -> Path | None:
    """A key with every scope, in a file that only this user can read; None: there are keys already.

    Raises:
        BrokerUnavailable
        OSError: the file cannot be written; then there is no key either.
    """
    credentials = Credentials(broker, pepper, "first start")
    if await credentials.all():
        return None
    path = _prepared(folder)
    issued = await credentials.create(KeyRecord(id="", name="first", scopes=("text", "images", "admin")))
    _write(path, issued.token)
    log.warning("this server asks for keys and had none: a first one was made", file=str(path), id=issued.record.id)
    return path


def _prepared(folder: Path) -> Path:
    """An empty file that nobody else can read, before there is a key that it could not take."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    return path


def _write(path: Path, token: str) -> None:
    path.write_text(f"{token}\n", encoding="utf-8")
