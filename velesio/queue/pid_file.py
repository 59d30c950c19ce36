"""Pid file: who owns a directory, trusted only while it is locked."""

import contextlib
import fcntl
import os
from pathlib import Path


class PidFile:
    """A file with its owner's pid, locked as long as the owner, or who inherited the descriptor, lives."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor = -1

    @property
    def held(self) -> bool:
        """Whether this object has the file open and locked."""
        return self.descriptor >= 0

    def acquire(self) -> bool:
        """Locks the file, which is created if need be; False if somebody else has it locked."""
        while not self.held:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The owner before may have removed the file after we opened it: then this lock locks nothing.
                if self._is_at_path(descriptor):
                    self.descriptor = descriptor
            except BlockingIOError:
                return False
            finally:
                if self.descriptor != descriptor:
                    os.close(descriptor)
        return True

    def owner(self) -> int:
        """The pid in the file; 0 if there is none (yet)."""
        try:
            return int(self._path.read_bytes())
        except (OSError, ValueError):
            return 0

    def write(self, pid: int | None) -> None:
        """Puts `pid`, or nothing, into the file."""
        os.ftruncate(self.descriptor, 0)
        if pid is not None:
            os.pwrite(self.descriptor, b"%d" % pid, 0)

    def close(self) -> None:
        """Lets go of the file; it stays locked if a child inherited it."""
        if self.held:
            os.close(self.descriptor)
            self.descriptor = -1

    def remove(self) -> None:
        """Unlinks the file, then lets go of it: in this order nobody can lock it in between and lose it."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self.close()

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False
