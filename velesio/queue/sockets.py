"""Sockets: where an embedded server listens, in its directory or elsewhere, and whether it does."""

import asyncio
import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

from velesio.errors import ConfigError


def places(data_dir: Path) -> list[Path]:
    """Where a server of this directory may listen."""
    home = data_dir.absolute() / "valkey"
    elsewhere = _elsewhere(home)
    return [directory / "valkey.sock" for directory in (home, elsewhere) if directory == home or _is_private(elsewhere)]


def url_of(path: Path) -> str:
    """The address as clients write it."""
    return f"unix://{quote(os.fsencode(path))}"


def choose(home: Path) -> Path:
    """Where the server can listen: in `home`, else (path too long, file system without sockets) in a
    temporary directory that only this user can enter, the same one each time.

    Raises:
        ConfigError: nowhere.
    """
    path = home / "valkey.sock"
    if _can_bind(path):
        return path
    directory = _elsewhere(home)
    directory.mkdir(mode=0o700, exist_ok=True)
    if not _is_private(directory):
        raise ConfigError(f"{directory} is not a private directory of this user; remove it or set TMPDIR")
    path = directory / "valkey.sock"
    if not _can_bind(path):
        raise ConfigError(f"neither {home} nor {directory} can hold a socket; set TMPDIR to a shorter local path")
    return path


def _elsewhere(home: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"velesio-{os.geteuid()}-{digest}"


def _is_private(directory: Path) -> bool:
    """Whether only this user can enter it: anybody may have made it before us, and it could lead elsewhere."""
    try:
        found = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _can_bind(path: Path) -> bool:
    path.unlink(missing_ok=True)  # of a server that was killed
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.bind(os.fsencode(path))
        except OSError:
            return False
    path.unlink()
    return True


async def ping(path: Path) -> bytes:
    """What the server answers to PING; nothing if it does not listen or answer."""
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(b"PING\r\n")
                return await reader.readline()
            finally:
                writer.close()
    except OSError:  # TimeoutError is one
        return b""
